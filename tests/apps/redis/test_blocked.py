"""What clients that wait are told by a leader that is none any more."""

from __future__ import annotations

import socket
from collections.abc import Callable

import redis

from mu.apps.redis import LocalRedis
from tests.apps.redis.frozen import frozen
from tests.apps.redis.workload import packed

ENGINE = ("mu-replication", "mu-background")
PATIENCE = 60.0  # seconds for anything


def test_a_deposed_leader_tells_no_blocked_client_that_nothing_came(fresh: Callable[..., LocalRedis]) -> None:
    """BLPOP's time is up at a leader that has been replaced without its notice: it answers nothing, and breaks off."""
    servers = fresh(tuning={})

    def told_when_frozen() -> bytes | None:
        old = servers.settle(PATIENCE)
        client = servers.connect(old, socket_timeout=1)
        client.delete("list")
        address = servers.addresses[old]
        with socket.create_connection((address.host, address.port), timeout=PATIENCE) as blocked:
            blocked.sendall(packed("BLPOP", "list", "4"))
            servers.wait(lambda: client.info("clients")["blocked_clients"], PATIENCE, "Nobody is blocked")
            with frozen(servers.server(old).pid, ENGINE):
                try:
                    client.get("a")
                except redis.RedisError:
                    return None  # frozen while it held what redis's own thread needs
                others = [each for each in servers.running if each != old]
                servers.wait(lambda: any(pushed(servers, each) for each in others), PATIENCE, "No other one led")
                try:
                    return blocked.recv(100)
                except ConnectionError:
                    return b""

    told: bytes | None = None
    while told is None:
        told = told_when_frozen()
    assert told == b""


def pushed(servers: LocalRedis, replica_id: int) -> bool:
    """Whether that server took an element."""
    try:
        return bool(servers.connect(replica_id, socket_timeout=0.5).rpush("list", "x"))
    except redis.RedisError:
        return False
