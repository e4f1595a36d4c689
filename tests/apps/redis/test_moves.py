"""Data on their way in and out of replicated servers, by Redis's own tools, as docs/operations.md tells people."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from mu.apps.redis import LocalRedis
from mu.apps.redis.local import free_ports
from tests.apps.redis.conftest import DIGEST
from tests.apps.redis.test_failover import PATIENCE
from tests.apps.redis.workload import every_type

PATIENTLY = Retry(ConstantBackoff(0.05), 600)


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts plain redis-servers in the test's directory, and gives a client of each."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> redis.Redis:
        [port] = free_ports(1)
        command = ["redis-server", "--port", str(port), "--dir", str(tmp_path), "--save", "", *DIGEST]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        client = redis.Redis(port=port, retry=PATIENTLY, retry_on_error=[redis.ConnectionError, redis.BusyLoadingError])
        client.ping()
        return client

    yield start
    for each in started:
        each.terminate()
        each.wait()


def redis_cli(port: int, *words: str, stdin: bytes = b"") -> str:
    command = ["redis-cli", "-p", str(port), *words]
    return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=PATIENCE).stdout.decode()


def fill(client: Any, seed: int) -> None:
    """Nothing of it expires by itself while it is on its way: then the data there would rightly differ."""
    every_type(client, seed)
    for database in (0, 1, 7):
        client.execute_command("SELECT", database)
        client.delete(*(f"short{key}" for key in range(20)))
    client.execute_command("SELECT", 0)


def test_a_backup_holds_what_a_follower_holds(
    fresh: Callable[..., LocalRedis], plain: Callable[[], Any], tmp_path: Path
) -> None:
    """What `redis-cli --rdb` takes from a follower a plain redis loads: the same data, and nobody was disturbed."""
    servers = fresh()
    leader = servers.settle()
    fill(servers.connect(leader), seed=1)
    servers.settle()
    redis_cli(servers.addresses[max(servers.running)].port, "--rdb", str(tmp_path / "dump.rdb"))
    assert {plain().execute_command("DEBUG", "DIGEST").decode()} == set(servers.digests().values())
    assert servers.settle() == leader


def test_the_last_one_that_has_the_data_gives_them_away(
    fresh: Callable[..., LocalRedis], plain: Callable[[], Any], tmp_path: Path
) -> None:
    """If all others have lost their memory nothing is decided any more, but `redis-cli --rdb` saves what there was."""
    servers = fresh()
    servers.settle()
    fill(servers.connect(servers.leader()), seed=2)
    servers.settle()
    digest = set(servers.digests().values())
    lost, last = sorted(servers.running)[:-1], max(servers.running)
    for each in lost:
        servers.kill(each)
    for each in lost:
        servers.launch(each)
    servers.wait(lambda: servers.info(last).get("mu_role") == "following", PATIENCE, "It does not follow")
    redis_cli(servers.addresses[last].port, "--rdb", str(tmp_path / "dump.rdb"))
    assert {plain().execute_command("DEBUG", "DIGEST").decode()} == digest


def test_a_plain_redis_data_are_brought_in(
    fresh: Callable[..., LocalRedis], plain: Callable[[], Any], tmp_path: Path
) -> None:
    """A plain redis writes its data down as commands; given to the leader by `redis-cli --pipe` they make the same."""
    source = plain()
    fill(source, seed=3)
    source.config_set("aof-use-rdb-preamble", "no")
    source.config_set("appendonly", "yes")
    servers = fresh()
    leader = servers.settle()
    servers.wait(lambda: not source.info("persistence")["aof_rewrite_in_progress"], PATIENCE, "It still writes")
    files = sorted((tmp_path / "appendonlydir").glob("*.aof"))  # the base before what came after it
    commands = b"".join(each.read_bytes() for each in files)
    told = redis_cli(servers.addresses[leader].port, "--pipe", stdin=commands)
    assert "errors: 0" in told
    servers.settle()
    assert set(servers.digests().values()) == {source.execute_command("DEBUG", "DIGEST").decode()}
