"""Leaders whose redis lives and does nothing: another one leads, and they come back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from mu.apps.redis import LocalRedis
from mu.apps.redis.options import Address
from tests.apps.redis.conftest import DIGEST
from tests.apps.redis.test_failover import PATIENCE, succeeds
from tests.apps.redis.workload import BUSY_SOON, packed


def test_a_leader_in_an_endless_script_is_replaced(fresh: Callable[..., LocalRedis], binary: str) -> None:
    """While a script never ends another one leads; once it is killed, its server comes back with what was decided."""
    servers = fresh(binary=binary, hung_after=2, options=(*DIGEST, *BUSY_SOON))
    old = servers.settle()
    servers.client(old).set("before", 1)
    address = servers.addresses[old]
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(packed("EVAL", "redis.call('GET', 'before') while true do end", "0"))
        others = set(servers.running) - {old}
        servers.wait(lambda: any(writes(servers, each) for each in others), PATIENCE, "No other one led")
        servers.wait(lambda: kill_script(address) and servers.info(old), PATIENCE, "The script did not end")
    assert servers.connect(servers.settle(PATIENCE)).mget("before", "meanwhile") == [b"1", b"1"]
    assert len(set(servers.digests().values())) == 1


def writes(servers: LocalRedis, replica_id: int) -> bool:
    return succeeds(lambda: servers.client(replica_id).set("meanwhile", 1))


def kill_script(address: Address) -> bool:
    """What redis answers a deposed leader's client is held back: the connection breaks."""
    with socket.create_connection((address.host, address.port), timeout=PATIENCE) as connection:
        connection.sendall(packed("SCRIPT", "KILL"))
        connection.recv(1024)
    return True


def test_a_leader_may_be_slow_for_as_long_as_it_is_told(fresh: Callable[..., LocalRedis]) -> None:
    """With 0 a leader in a long command stays the leader: the one that comes after it is the same reign's."""
    servers = fresh(hung_after=0)
    leader = servers.settle()
    with servers.connect(leader, socket_timeout=PATIENCE) as client:
        before = servers.info(leader)["mu_batches"]
        client.execute_command("DEBUG", "SLEEP", "1")
        assert client.set("a", 1)
    assert servers.info(leader)["mu_batches"] == before + 1
    assert "another one may lead" not in servers.log(leader)


def test_nobody_spins_while_a_follower_takes_no_more(fresh: Callable[..., LocalRedis]) -> None:
    """The link to a redis that hangs, and has been sent all that its connection holds, sleeps until there is room."""
    servers = fresh()
    leader = servers.settle()
    follower = next(each for each in servers.running if each != leader)
    address = servers.addresses[follower]
    with socket.create_connection((address.host, address.port), timeout=PATIENCE) as connection:
        before, began = link_seconds(servers, follower), time.monotonic()
        connection.sendall(packed("DEBUG", "SLEEP", "2"))
        for number in range(20):
            servers.client(leader).set(f"large{number}", b"x" * 2**20)
        assert connection.recv(16) == b"+OK\r\n"
        used, passed = link_seconds(servers, follower) - before, time.monotonic() - began
    assert len(set(servers.digests().values())) == 1
    assert used < passed / 10


def link_seconds(servers: LocalRedis, replica_id: int) -> float:
    """How long a server's link has had a processor."""
    [thread] = [
        each
        for each in Path(f"/proc/{servers.server(replica_id).pid}/task").iterdir()
        if (each / "comm").read_text() == "mu-link\n"
    ]
    return int((thread / "schedstat").read_text().split()[0]) / 1e9
