"""A real replica that is a cluster by itself: what a program may do with it, and how a program may end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mu
from mu import fabric
from mu.testing import LocalCluster

PATIENCE = 30.0
LARGE = b"1".ljust(4000)  # a number, for a Counter


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[mu.Replica]:
    """One that leads."""
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=mu.Counter()) as replica:
        replica.wait_until_leader(PATIENCE)
        yield replica


@pytest.mark.parametrize(
    "call",
    [mu.Replica.status, mu.Replica.close, lambda it: it.execute(b"1"), lambda it: it.read(int)],
    ids=["status", "close", "execute", "read"],
)
def test_a_read_that_calls_its_replica_is_told(replica: mu.Replica, call: Callable[[mu.Replica], object]) -> None:
    """The function of a read would wait for itself: the call raises, and the replica goes on."""
    with pytest.raises(RuntimeError, match="must not call a replica"):
        replica.read(lambda: call(replica), timeout=PATIENCE)
    assert replica.execute(b"1", timeout=PATIENCE) == b"1"


def test_a_program_may_change_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative `directory` is the one that it was at the start, for who looks and for what is removed at the end."""
    monkeypatch.chdir(tmp_path)
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=".") as replica:
        monkeypatch.chdir("/")
        found = fabric.peek(replica.cluster, 1)
        assert found is not None
        assert found.alive
    assert [*tmp_path.iterdir()] == []
    monkeypatch.chdir(tmp_path)
    with LocalCluster(1, directory=".") as cluster:
        monkeypatch.chdir("/")
        cluster.kill(1)
    assert [*tmp_path.iterdir()] == []


def test_a_session_of_nobody_is_refused(replica: mu.Replica) -> None:
    """Client 0 would be remembered by nobody: neither a session nor a single request may have it."""
    for client in (0, -1, 1 << 64, "1", 1.5, True):
        with pytest.raises(mu.ConfigError, match="client"):
            replica.session(client)  # type: ignore[arg-type]
    with pytest.raises(mu.ConfigError, match="client"):
        replica.session_execute(b"1", 10**9, 0, 1)


PROGRAM = """
import mu, sys
replica = mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], state_machine=mu.Counter())
replica.wait_until_leader(30)
replica.execute(b"1")
{end}
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("import os; sys.exit(os.waitpid(os.fork(), 0)[1])", 0)],
    ids=["at its end", "by sys.exit", "by an exception", "and a child of fork, too"],
)
def test_a_program_may_end_without_close(tmp_path: Path, end: str, status: int) -> None:
    """A program that never calls close() ends, and leaves no segment behind."""
    command = [sys.executable, "-c", PROGRAM.format(end=end), str(tmp_path)]
    ended = subprocess.run(command, timeout=60, check=False, stderr=subprocess.DEVNULL)
    assert ended.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_got_in_part_of_the_way_is_in_doubt() -> None:
    """If the log is full in the middle of a batch, nobody is told that nothing was proposed."""
    with LocalCluster(3, mu.Counter, log_bytes=64 * 1024, timeout_ms=5000) as cluster:
        leader = cluster.settle(PATIENCE)
        for each in cluster.running:
            if each != leader:
                cluster.stop(each)
        with pytest.raises(mu.Indeterminate):
            cluster.propose_many([LARGE] * 30, leader, timeout=0.5)


def test_a_cluster_starts_once() -> None:
    """A LocalCluster that runs does not start a second time."""
    with LocalCluster(1, mu.Counter) as cluster, pytest.raises(mu.ConfigError, match="runs already"):
        cluster.start()
