"""Redis under the log on three hosts with soft RDMA devices: whoever is killed or cut off, nothing is lost.

Clients and registry are reached over TCP, which no cable that is pulled here carries.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from mu.apps.redis import LocalRedis
from mu.registry import Registry
from tests.apps.redis.test_failover import Writers, check
from tests.vm import hosts
from tests.vm.hosts import Host

MU = str(Path(sys.executable).with_name("mu"))
PATIENCE = 150.0  # seconds for what has to happen in the end: to start three servers takes an emulated machine thirty
TIMEOUT_MS = 20_000
HOSTS = (Host(1), Host(2), Host(3))
PORT = 7000  # of redis, on every host
AT_ONCE: dict[str, Any] = {"retry": Retry(ConstantBackoff(0.001), 0)}
PASSWORD = "only-clients-know"  # without one redis answers nobody but the loopback's addresses


@pytest.fixture(autouse=True)
def healed() -> Iterator[None]:
    """Whatever a test breaks is mended after it."""
    hosts.heal()
    yield
    hosts.heal()


@contextlib.contextmanager
def started(registry: str) -> Iterator[list[subprocess.Popen[str]]]:
    """A `mu redis server` on each host, told what the artifact tells its own; each ends with 0 at Ctrl-C.

    They are there once all of them listen.
    """
    peers = ",".join(f"{host.number}={host.address}:{PORT}" for host in HOSTS)
    command = [MU, "redis", "server", "--peers", peers, "--"]
    command += ["--requirepass", PASSWORD, "--enable-debug-command", "yes"]
    variables = {**os.environ, "IDS": "1,2,3", "DORY_REGISTRY_IP": registry, "MU_FABRIC": "verbs"}
    variables |= {"MU_NAME": "artifact", "MU_TIMEOUT_MS": str(TIMEOUT_MS)}
    processes = [
        subprocess.Popen(
            command,
            env={**variables, "SID": str(host.number), "MU_RDMA_DEVICE": host.rdma_device},
            stdout=subprocess.PIPE,
            text=True,
        )
        for host in HOSTS
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert any("listens" in line for line in process.stdout), "It ended before it listened"
        yield processes
        for process in processes:
            process.send_signal(signal.SIGINT)
        assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_three_servers_as_the_artifact_starts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SID, IDS and DORY_REGISTRY_IP, and redis at each host's address: a SET is decided, and is on every server."""
    monkeypatch.chdir(tmp_path)  # latencies would be written here
    nodes = [(host.address, PORT) for host in HOSTS]
    with Registry(HOSTS[0].address) as registry, started(registry.address.partition(":")[0]):
        make: Any = Sentinel  # untyped
        sentinel = make(nodes, sentinel_kwargs={"password": PASSWORD, **AT_ONCE}, password=PASSWORD, **AT_ONCE)
        client = sentinel.master_for("artifact")
        until(lambda: client.set("a", 1), "Nobody accepted a write")
        until(lambda: len({digest(*each) for each in nodes}) == 1, "They did not become equal")
        assert set(digest(*nodes[0])) != {"0"}
        for each in (client, *sentinel.sentinels):
            each.close()


def digest(host: str, port: int) -> str:
    """DEBUG DIGEST of one server."""
    with redis.Redis(host, port, password=PASSWORD, decode_responses=True) as client:
        return str(client.execute_command("DEBUG", "DIGEST"))


def until(look: Callable[[], object], otherwise: str) -> None:
    """Calls `look` until it finds something; an error of redis-py's is nothing."""
    deadline = time.monotonic() + PATIENCE
    found: object = None
    while not found:
        assert time.monotonic() < deadline, otherwise
        with contextlib.suppress(redis.RedisError):
            found = look()


@pytest.fixture(scope="module")
def servers() -> Iterator[LocalRedis]:
    """Three servers, one on each host, with a registry of their own; not there yet for the tests above."""
    options = ("--enable-debug-command", "local")
    with LocalRedis(3, fabric="verbs", rdma_device="rxe{id}", timeout_ms=TIMEOUT_MS, options=options) as servers:
        yield servers


def test_a_killed_leader_costs_nothing_that_was_acknowledged(servers: LocalRedis) -> None:
    """redis-py's Sentinel goes on when the leader is killed, and the dead server comes back with all data."""
    leader = servers.settle(PATIENCE)
    with Writers(servers, 2) as writers:
        writers.go_on()
        servers.kill(leader)
        writers.go_on()
        servers.restart(leader)
        servers.settle(PATIENCE)
        writers.go_on()
    check(servers, writers)


def test_a_leader_that_is_cut_off_is_replaced(servers: LocalRedis) -> None:
    """A leader whose RDMA device reaches nobody, while clients reach its redis, acknowledges nothing that is lost."""
    leader = servers.settle(PATIENCE)
    servers.client(leader).flushall()
    with Writers(servers, 2) as writers:
        writers.go_on()
        hosts.cut(Host(leader))
        writers.go_on()
        hosts.heal()
        servers.settle(PATIENCE)
        writers.go_on()
    check(servers, writers)
