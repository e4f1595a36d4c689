"""`mu.Replica` over a fake core: what reaches the core, and what comes back."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import mu
from tests.api.fake_core import LARGEST, World


def test_the_description_reaches_the_core(world: World) -> None:
    """Every key of the cluster arrives at the node under its name."""
    description: dict[str, Any] = {
        "name": "x",
        "secret": "s",
        "log_bytes": 2**20,
        "cores": "shared",
        "rdma_device": "rxe{id}",
    }
    cluster = mu.Cluster.load(environment={}, replicas=(1, 2, 5), registry="r:1", tuning={"a": 1}, **description)
    with mu.Replica.open(cluster, replica_id=5, state_machine=None, stall_limit_ms=9):
        settings = world.nodes[5].settings
    expected = {
        "fabric": "shm",
        "cluster": "x",
        "cluster_key": cluster.cluster_key,
        "replica_id": 5,
        "members": (1, 2, 5),
        "directory": "/dev/shm",
        "log_bytes": 2**20,
        "cores": "shared",
        "commit_idle_us": 100,
        "stall_limit_ms": 9,
        "max_sessions": 10_000,
        "registry": "r:1",
        "rdma_device": "rxe5",
        "rdma_port": 0,
        "rdma_gid_index": -1,
        "rdma_mtu": 0,
        "overrides": {"a": 1},
        "state_machine": None,
    }
    assert settings == expected


def test_execute_returns_the_reply(replica: mu.Replica) -> None:
    """A command is applied, and its reply comes back."""
    assert [replica.execute(b"+1"), replica.execute(b"+2")] == [b"1", b"3"]


def test_many_are_executed_in_order(replica: mu.Replica) -> None:
    """Replies come in the order of their commands."""
    assert replica.execute_many([b"+1", b"+1", b"-5"]) == [b"1", b"2", b"-3"]


def test_propose_returns_the_offset(replica: mu.Replica, world: World) -> None:
    """A decided command has a place in the log."""
    assert [replica.propose(b"+1"), replica.propose_many([b"+1", b"+1"])] == [1, 3]
    assert world.applied == [b"+1"] * 3


def test_read_returns_what_the_function_returns(replica: mu.Replica) -> None:
    """The function looks at the state machine, and its value is the read's."""
    replica.execute(b"+7")
    counter = replica.state_machine
    assert isinstance(counter, mu.Counter)
    assert replica.read(lambda: counter.value) == 7


def test_timeouts_are_seconds_outside_and_nanoseconds_inside(replica: mu.Replica, world: World) -> None:
    """A call's own timeout is converted; without one the cluster's counts."""
    replica.execute(b"+1", timeout=0.25)
    replica.execute(b"+1")
    replica.propose(b"+1", 2)
    assert world.timeouts_ns == [250_000_000, 1_000_000_000, 2_000_000_000]


def test_a_follower_names_the_leader(world: World) -> None:
    """NotLeader passes through untouched."""
    with mu.Replica.open(mu.Cluster(), replica_id=2, state_machine=mu.Counter()) as follower:
        with pytest.raises(mu.NotLeader) as caught:
            follower.execute(b"+1")
        assert caught.value.leader == world.leader


def test_a_command_that_fails_says_why(replica: mu.Replica) -> None:
    """What the state machine raised is in the error's text."""
    with pytest.raises(mu.CommandFailed, match="ValueError"):
        replica.execute(b"not a number")


def test_a_large_command_is_refused(replica: mu.Replica, world: World) -> None:
    """TooLarge comes before anything is applied."""
    with pytest.raises(mu.TooLarge):
        replica.execute(b"1" * (LARGEST + 1))
    assert world.applied == []


def test_status_is_a_record(replica: mu.Replica) -> None:
    """Status has attributes, tuples for lists, and no trouble with keys of a newer core."""
    status = replica.status()
    assert (status.replica_id, status.leads, status.alive, status.scores) == (1, True, (1, 2, 3), {2: 15})


def test_pause_and_resume_reach_the_core(replica: mu.Replica, world: World) -> None:
    """The heartbeat can be stopped and started."""
    replica.pause()
    assert world.nodes[1].paused
    replica.resume()
    assert not world.nodes[1].paused


def test_waiting_for_a_leader_returns_its_id(world: World) -> None:
    """A follower learns who leads."""
    with mu.Replica.open(mu.Cluster(), replica_id=3, state_machine=mu.Counter()) as follower:
        assert follower.wait_for_leader(timeout=1) == world.leader


def test_waiting_without_a_leader_ends(replica: mu.Replica, world: World) -> None:
    """Nobody leads: NoLeader after the timeout."""
    world.leader = 0
    with pytest.raises(mu.NoLeader, match=r"within 0\.01 s"):
        replica.wait_for_leader(timeout=0.01)


def test_waiting_to_lead_ends_when_it_does(world: World) -> None:
    """A follower that becomes the leader is told."""
    with mu.Replica.open(mu.Cluster(), replica_id=2, state_machine=mu.Counter()) as replica:
        with pytest.raises(mu.NoLeader, match="Replica 2 did not become the leader"):
            replica.wait_until_leader(timeout=0)
        promotion = threading.Timer(0.005, setattr, (world, "leader", 2))
        promotion.start()
        replica.wait_until_leader(timeout=30)
        promotion.join()


def test_what_start_up_cleaned_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A stale segment's removal is told in one line."""
    world.notice = "removed a stale segment of process 7"
    with caplog.at_level(logging.WARNING, logger="mu"), mu.Replica.open(mu.Cluster(), replica_id=1):
        pass
    assert "replica 1: removed a stale segment of process 7" in caplog.text


def test_an_unknown_id_is_refused(world: World) -> None:
    """An id that is no member creates no node."""
    with pytest.raises(mu.UnknownReplica):
        mu.Replica.open(mu.Cluster(), replica_id=4)
    assert world.nodes == {}


@pytest.mark.usefixtures("world")
def test_the_id_must_come_from_somewhere() -> None:
    """Without an argument and a variable, opening says what is missing."""
    with pytest.raises(mu.ConfigError, match="Which replica"):
        mu.Replica.open(mu.Cluster())


def test_the_id_may_come_from_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The artifact's SID says who this is."""
    monkeypatch.setenv("SID", "2")
    with mu.Replica.open(mu.Cluster()):
        assert list(world.nodes) == [2]


@pytest.mark.usefixtures("replica")
def test_an_id_in_use_is_refused() -> None:
    """A second replica of the same id does not start."""
    with pytest.raises(mu.IdInUse, match="Process 42"):
        mu.Replica.open(mu.Cluster(), replica_id=1)


@pytest.mark.usefixtures("world")
def test_a_state_machine_may_be_named() -> None:
    """module:Class is imported and made."""
    with mu.Replica.open(mu.Cluster(), replica_id=1, state_machine="mu:Counter") as replica:
        assert replica.execute(b"+4") == b"4"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mu", "should be module:Class"),
        ("mu:Nothing", "cannot be found"),
        ("nowhere:X", "cannot be found"),
        ("builtins:int", "has no apply"),
    ],
)
def test_a_bad_name_of_a_state_machine_is_refused(world: World, name: str, said: str) -> None:
    """What cannot be imported, or is no state machine, starts nothing."""
    with pytest.raises(mu.ConfigError, match=said):
        mu.Replica.open(mu.Cluster(), replica_id=1, state_machine=name)
    assert world.nodes == {}


def test_leaving_the_block_closes(world: World) -> None:
    """After `with` the node is closed, and calls say so."""
    with mu.Replica.open(mu.Cluster(), replica_id=1, state_machine=mu.Counter()) as replica:
        node = world.nodes[1]
    assert node.closed
    with pytest.raises(mu.Closed):
        replica.execute(b"+1")


def test_closing_twice_is_closing_once(replica: mu.Replica) -> None:
    """A second close does nothing."""
    replica.close()
    replica.close()
    assert "closed" in repr(replica)


def wait_for(event: threading.Event) -> None:
    assert event.wait(30)


def test_the_fifo_pauses_and_continues(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The letter p written to the pipe pauses the replica, c lets it go on, and the pipe goes with the replica."""
    paused, resumed = threading.Event(), threading.Event()
    monkeypatch.setattr("tests.api.fake_core.FakeNode.pause", lambda _: paused.set())
    monkeypatch.setattr("tests.api.fake_core.FakeNode.resume", lambda _: resumed.set())
    cluster = mu.Cluster(fifo=str(tmp_path / "fifo-{id}"))
    with mu.Replica.open(cluster, replica_id=1):
        pipe = tmp_path / "fifo-1"
        pipe.write_text("p\n")
        wait_for(paused)
        pipe.write_text("c\n")
        wait_for(resumed)
    assert not pipe.exists()
    assert world.nodes == {}


def test_a_fifo_that_is_a_file_is_refused(world: World, tmp_path: Path) -> None:
    """Somebody's file is neither read nor removed, and the replica does not stay."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(mu.ConfigError, match="is no pipe"):
        mu.Replica.open(mu.Cluster(fifo=str(tmp_path / "file")), replica_id=1)
    assert (tmp_path / "file").read_text() == "mine"
    assert world.nodes == {}


@pytest.mark.usefixtures("world")
def test_a_fifo_that_was_there_stays(tmp_path: Path) -> None:
    """A pipe that somebody else made is used and left."""
    os.mkfifo(tmp_path / "pipe")
    with mu.Replica.open(mu.Cluster(fifo=str(tmp_path / "pipe")), replica_id=1):
        pass
    assert (tmp_path / "pipe").exists()
