"""`mu.LocalCluster`: real processes, which can be hurt, and which leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

import mu
from mu import fabric
from mu.testing import Ledger, LoadSpec, LocalCluster, lost_commands
from mu.testing.ledger import numbered
from tests.support.processes import files_of, is_gone

value = attrgetter("value")
PATIENCE = 30.0


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(3, mu.Counter, timeout_ms=5000) as cluster:
        cluster.settle(PATIENCE)
        yield cluster


def test_sessions_can_be_awaited(cluster: LocalCluster) -> None:
    """Several sessions' requests are under way at the same time, and each is applied once."""
    meeting = threading.Barrier(2)

    def meet() -> bytes:
        meeting.wait(PATIENCE)
        return b"met"

    async def one(session: mu.Session) -> bytes:
        try:
            return await session.aexecute(b"+1", PATIENCE)
        except mu.Indeterminate:  # on a crowded machine the leader may change at any time
            return await session.aretry(PATIENCE)

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(one(cluster.session()) for _ in range(5)))

    async def two_at_once() -> list[bytes]:
        return [*await asyncio.gather(cluster.session_later(meet), cluster.session_later(meet))]

    assert asyncio.run(two_at_once()) == [b"met", b"met"]
    assert sorted(asyncio.run(all_of_them())) == [b"1", b"2", b"3", b"4", b"5"]


def test_each_process_holds_the_directory(cluster: LocalCluster) -> None:
    """Whoever may still write into the cluster's directory is in the way of its removal."""
    for pid in cluster.pids.values():
        assert Path(cluster.cluster.directory) / "owner" in files_of(pid)


def other_than(cluster: LocalCluster, replica: int) -> int:
    return next(each for each in cluster.running if each != replica)


def once(cluster: LocalCluster, command: bytes) -> None:
    """Executes a command once, whoever leads meanwhile: on a crowded machine the leader may change at any time."""
    session = cluster.session()
    with contextlib.suppress(mu.Indeterminate):
        session.execute(command, PATIENCE)
        return
    session.retry(PATIENCE)


def test_commands_find_the_leader(cluster: LocalCluster) -> None:
    """Execute, propose, batches and reads need no address."""
    assert cluster.execute(b"+1") == b"1"
    assert cluster.execute_many([b"+1", b"+1"]) == [b"2", b"3"]
    assert cluster.propose(b"+1") < cluster.propose_many([b"+1", b"+1"])
    assert cluster.read(value) == 6


def test_errors_cross_the_process(cluster: LocalCluster) -> None:
    """What is raised there is raised here, with its attributes."""
    leader = cluster.leader()
    with pytest.raises(mu.CommandFailed, match="ValueError"):
        cluster.execute(b"no number")
    with pytest.raises(mu.NotLeader) as caught:
        cluster.execute(b"+1", replica=other_than(cluster, leader))
    assert caught.value.leader == leader
    with pytest.raises(mu.TooLarge):
        cluster.execute(b"1" * cluster.cluster.log_bytes)


def test_statuses_agree_on_the_leader(cluster: LocalCluster) -> None:
    """Each replica tells of itself, and all follow the same one."""
    leader = cluster.leader()
    cluster.wait(lambda: {each.leader for each in cluster.statuses().values()} == {leader}, PATIENCE, "no agreement")
    assert sorted(cluster.statuses()) == [1, 2, 3]
    assert [each for each in (1, 2, 3) if cluster.status(each).leads] == [leader]


def test_a_dead_leader_is_replaced(cluster: LocalCluster) -> None:
    """After SIGKILL of the leader commands go on where they were."""
    cluster.execute(b"+5")
    leader = cluster.leader()
    cluster.kill(leader)
    assert cluster.execute(b"+1", timeout=PATIENCE) == b"6"
    assert cluster.leader() != leader
    assert leader not in cluster.running


def test_a_dead_replica_is_asked_nothing(cluster: LocalCluster) -> None:
    """A request to a replica without a process says so at once."""
    cluster.kill(3)
    with pytest.raises(mu.ReplicaDown, match="Replica 3 does not run"):
        cluster.status(3)


def test_a_restarted_replica_catches_up(cluster: LocalCluster) -> None:
    """A replica that lost its memory becomes a member again, with the state of the others."""
    once(cluster, b"+5")
    cluster.kill(3)
    once(cluster, b"+1")
    cluster.restart(3)
    cluster.wait_until_admitted(3, PATIENCE)
    once(cluster, b"+1")
    cluster.wait(lambda: cluster.look(value, 3) == 7, PATIENCE, "replica 3 did not catch up")


class Shy(mu.Counter):
    """A counter that gives no snapshot of an odd value."""

    def snapshot(self) -> bytes:
        """The value, or an exception."""
        if self.value % 2:
            raise ValueError("not of an odd value")
        return super().snapshot()


class Forgetful(mu.Counter):
    """A counter that sometimes forgets to return its snapshot."""

    def snapshot(self) -> bytes:
        """The value, or nothing."""
        return super().snapshot() if self.value % 2 == 0 else None  # type: ignore[return-value]


@pytest.mark.parametrize("machine", [Shy, Forgetful])
def test_a_snapshot_that_fails_costs_no_leader(machine: type[mu.Counter]) -> None:
    """What `snapshot` raises, or returns if no bytes, is logged; the service goes on; who waits gets a later one."""
    with LocalCluster(3, machine, timeout_ms=5000) as cluster:
        leader = cluster.settle(PATIENCE)
        waiting = next(each for each in cluster.running if each != leader)
        cluster.execute(b"+1")
        cluster.kill(waiting)
        cluster.restart(waiting)
        cluster.wait(
            lambda: any("Nothing is lost" in cluster.log(each) for each in cluster.running),
            PATIENCE,
            "Nobody was asked for a snapshot",
        )
        assert cluster.execute(b"+2") == b"3"
        assert set(cluster.running) == {1, 2, 3}
        assert cluster.execute(b"+1") == b"4"
        cluster.wait_until_admitted(waiting, PATIENCE)
        cluster.settle(PATIENCE)
        assert cluster.look(value, waiting) == 4


def test_a_stopped_leader_is_replaced(cluster: LocalCluster) -> None:
    """After SIGSTOP of the leader another one leads; after SIGCONT the cluster is whole again."""
    leader = cluster.leader()
    cluster.stop(leader)
    assert cluster.execute(b"+1", timeout=PATIENCE) == b"1"
    cluster.resume(leader)
    cluster.wait(lambda: cluster.look(value, leader) == 1, PATIENCE, "the old leader did not catch up")


def test_a_paused_leader_is_replaced(cluster: LocalCluster) -> None:
    """Without a heartbeat a leader is taken for dead; it follows the next one, and may lead again later."""
    leader = cluster.leader()
    cluster.pause(leader)
    cluster.wait(lambda: cluster.leader() != leader, PATIENCE, "the paused leader was not replaced")
    assert cluster.execute(b"+1", timeout=PATIENCE) == b"1"
    cluster.unpause(leader)
    cluster.wait(lambda: not cluster.status(leader).paused, PATIENCE, "the old leader stays paused")


def test_a_session_applies_once_across_a_dead_leader(cluster: LocalCluster) -> None:
    """Requests retried over a fail-over are applied once each: the counter equals their number."""
    session = cluster.session()
    killer = threading.Timer(0.05, cluster.kill, [cluster.leader()])
    killer.start()
    done = 0
    while done < 50 or killer.is_alive():
        try:
            answer = session.execute(b"+1", timeout=PATIENCE)
        except mu.Indeterminate:
            answer = session.retry(timeout=PATIENCE)
        done += 1
        assert answer == b"%d" % done
    killer.join()
    assert cluster.read(value, timeout=PATIENCE) == done


def test_what_a_load_was_told_survives_the_kill() -> None:
    """The record of a killed leader can be read, and all that it acknowledged is at the next one."""
    with LocalCluster(3, Ledger) as cluster, cluster.load(LoadSpec(execute=True)) as load:
        cluster.wait(lambda: load.acknowledged > 1000, PATIENCE, "no load")
        victim = cluster.leader(PATIENCE)
        moment = cluster.kill(victim)
        rest = [each for each in (1, 2, 3) if each != victim]
        cluster.wait(lambda: any(load.record(each).last_success_ns > moment for each in rest), PATIENCE, "no successor")
        proofs = [record.proof for record in load.records()]
        assert load.record(victim).acknowledged > 0
        assert lost_commands(cluster.read(Ledger.view, timeout=PATIENCE), proofs) == []


def test_a_load_ends_without_who_was_restarted() -> None:
    """A replica that was killed and restarted takes no part in a load until it is added again."""
    with LocalCluster(3, Ledger) as cluster, cluster.load(LoadSpec(execute=True)) as load:
        cluster.wait(lambda: load.acknowledged > 100, PATIENCE, "no load")
        cluster.kill(3)
        cluster.restart(3)
        assert sorted(load.stop()) == [1, 2]


def test_without_a_majority_nothing_is_acknowledged(cluster: LocalCluster) -> None:
    """One of three does not decide: the command ends with an error, in time."""
    cluster.execute(b"+1")
    survivor = other_than(cluster, cluster.leader())
    for each in (1, 2, 3):
        if each != survivor:
            cluster.kill(each)
    with pytest.raises((mu.NoLeader, mu.NoMajority, mu.NotLeader, mu.Indeterminate)):
        cluster.execute(b"+1", timeout=1)


@pytest.mark.parametrize("method", ["execute", "propose", "execute_many"])
def test_a_leader_knows_how_long_its_proposals_took(cluster: LocalCluster, method: str) -> None:
    """After a few commands the leader's status, and what is seen from outside, have quantiles of their latencies."""

    def told() -> bool:
        getattr(cluster, method)([b"+1"] if method == "execute_many" else b"+1", timeout=PATIENCE)
        leader = cluster.leader(PATIENCE)
        status, glimpse = cluster.status(leader), fabric.peek(cluster.cluster, leader)
        if not status.propose_p50_ns or glimpse is None or not glimpse.propose_p50_ns:
            return False
        assert status.propose_p99_ns >= status.propose_p50_ns
        assert glimpse.propose_p99_ns >= glimpse.propose_p50_ns
        return True

    cluster.wait(told, PATIENCE, "No proposal was timed")


def test_who_never_led_has_no_latencies(cluster: LocalCluster) -> None:
    """A replica that has proposed nothing tells no times."""
    once(cluster, b"+1")
    followers = [each for each in cluster.statuses(PATIENCE).values() if not each.takeovers]
    assert {(each.propose_p50_ns, each.propose_p99_ns) for each in followers} <= {(0, 0)}


def test_functions_run_inside(cluster: LocalCluster) -> None:
    """Any importable function can be called with a replica, in its process."""
    assert cluster.run(2, attrgetter("replica_id")) == 2


def test_the_end_leaves_nothing() -> None:
    """After the block there is no process, no segment and no file of it."""
    with LocalCluster(3, mu.Counter) as cluster:
        pids, directory = cluster.pids, Path(cluster.cluster.directory)
        assert directory.is_dir()
    assert all(is_gone(pid, 0) for pid in pids.values())
    assert not directory.exists()


def hurt_and_fail(cluster: LocalCluster) -> None:
    cluster.stop(2)
    cluster.kill(3)
    raise ZeroDivisionError


def test_an_exception_leaves_nothing() -> None:
    """Neither does a block that fails, with one replica killed and one stopped."""
    cluster = LocalCluster(3, mu.Counter)
    cluster.start()
    pids, directory = cluster.pids, Path(cluster.cluster.directory)
    with pytest.raises(ZeroDivisionError), contextlib.closing(cluster):
        hurt_and_fail(cluster)
    assert len(pids) == 3
    assert all(is_gone(pid, 0) for pid in pids.values())
    assert not directory.exists()


PARENT = """
import signal, sys, mu
signal.signal(signal.SIGINT, signal.default_int_handler)
with mu.LocalCluster(3, "mu:Counter") as cluster:
    cluster.stop(2)
    print(*cluster.pids.values(), cluster.cluster.directory, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(how: signal.Signals) -> None:
    """Ctrl-C, or the parent's sudden death, ends all replicas, a stopped one too; `mu clean` removes what is left."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        *pids, directory = parent.stdout.readline().split()
        fabric.clean_private()
        assert Path(directory).exists()
        parent.send_signal(how)
        parent.wait(PATIENCE)
    assert len(pids) == 3
    assert all(is_gone(int(pid)) for pid in pids)
    if how == signal.SIGKILL:
        fabric.clean_private()
    assert not Path(directory).exists()


def test_two_clusters_of_one_name_exclude_each_other(tmp_path: Path) -> None:
    """The second cluster's error is IdInUse, and the first goes on."""
    options = {"name": "twice", "directory": str(tmp_path)}
    with LocalCluster(3, mu.Counter, **options) as cluster:
        cluster.execute(b"+1", timeout=PATIENCE)
        with pytest.raises(mu.IdInUse):
            LocalCluster(3, mu.Counter, **options).start()
        assert cluster.execute(b"+1", timeout=PATIENCE) == b"2"


def test_a_bad_description_starts_nothing() -> None:
    """Options are checked before any process is."""
    with pytest.raises(mu.ConfigError, match="cores"):
        LocalCluster(3, mu.Counter, cores="many")


def test_a_state_machine_that_is_not_there_is_told() -> None:
    """The replica's process finds out, and its error is raised here."""
    with pytest.raises(mu.ConfigError, match="cannot be found"):
        LocalCluster(1, "mu:NoSuchThing").start()


def test_the_log_of_a_process_can_be_read(cluster: LocalCluster) -> None:
    """What a replica logs is there for whoever debugs a test."""
    assert "replica 1 of cluster" in cluster.log(1)


def test_a_cluster_of_one_works() -> None:
    """One replica is its own majority."""
    with LocalCluster(1, Ledger) as cluster:
        cluster.execute(numbered(1, 1, 16), timeout=PATIENCE)
        assert cluster.read(Ledger.view, timeout=PATIENCE).count == 1
