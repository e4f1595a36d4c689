"""`mu.testing.SimCluster`: users' state machines among the faults of the simulator."""

from __future__ import annotations

import random

import pytest

import mu
from mu.testing import SimCluster


class Forgetful(mu.Counter):
    """Applies what the moment suggests: every replica comes to something else."""

    def apply(self, command: bytes) -> bytes:
        """Adds something."""
        return super().apply(command + b"%d" % random.SystemRandom().randrange(1 << 30))


def test_a_command_is_applied_and_answered() -> None:
    """What is executed comes back with the state machine's reply, and every replica applies it."""
    sim = SimCluster(3, mu.Counter)
    assert [sim.execute(b"+2") for _ in range(3)] == [b"2", b"4", b"6"]
    sim.conclude()
    assert [sim.state_machine(each).value for each in sim.replicas] == [6, 6, 6]


def test_commands_survive_the_leader_and_a_restart_with_empty_memory() -> None:
    """After a crash another replica leads and goes on, and the restarted one comes to the same state."""
    sim = SimCluster(3, mu.Counter, seed=3)
    sim.execute(b"+1")
    first = sim.settle()
    sim.crash(first)
    assert sim.execute(b"+1") == b"2"
    assert sim.leader != first
    sim.restart(first)
    sim.conclude()
    assert sim.state_machine(first).value == 2


def test_a_read_sees_what_was_acknowledged() -> None:
    """A linearizable read at the leader sees every acknowledged command."""
    sim = SimCluster(5, mu.Counter)
    sim.execute(b"+7")
    assert sim.read(lambda machine: machine.value) == 7


def test_a_follower_neither_proposes_nor_reads() -> None:
    """Both are refused with NotLeader, which names who leads."""
    sim = SimCluster(3, mu.Counter)
    leader = sim.settle()
    follower = next(each for each in sim.replicas if each != leader)
    with pytest.raises(mu.NotLeader, match=f"Send the command to replica {leader}"):
        sim.propose(follower, b"+1")
    with pytest.raises(mu.NotLeader):
        sim.read(lambda machine: machine.value, follower)


def test_a_command_whose_leader_dies_is_indeterminate_or_acknowledged_never_both() -> None:
    """The client of a command under way learns nothing from a dead leader, and it is applied once at most."""
    sim = SimCluster(3, mu.Counter, seed=5)
    leader = sim.settle()
    number = sim.propose(leader, b"+1")
    sim.crash(leader)
    assert sim.fate(number) == "indeterminate"
    sim.conclude()
    assert {sim.state_machine(each).value for each in sim.replicas} <= {0, 1}


def test_without_a_majority_nobody_decides() -> None:
    """With two of three frozen nothing is acknowledged; with them back the cluster goes on."""
    sim = SimCluster(3, mu.Counter)
    leader = sim.settle()
    others = [each for each in sim.replicas if each != leader]
    for each in others:
        for other in (leader, *others):
            if other != each:
                sim.cut(leader, each)
    number = sim.propose(leader, b"+1")
    sim.calm(20)
    assert sim.fate(number) != "acknowledged"
    sim.conclude()
    assert len({sim.state_machine(each).value for each in sim.replicas}) == 1


def test_storms_leave_equal_replicas() -> None:
    """Through any storm of crashes, cuts and freezes the replicas stay equal."""
    sim = SimCluster(3, mu.Counter, seed=11, storm_commands=[b"+1", b"-2"])
    for _ in range(20):
        sim.storm(2000)
    sim.conclude()
    assert len({sim.state_machine(each).value for each in sim.replicas}) == 1


def test_the_same_seed_and_calls_give_the_same_history() -> None:
    """Two simulations of one seed end with the same transcript; another seed's differs."""

    def transcript(seed: int) -> str:
        sim = SimCluster(3, mu.Counter, seed=seed, storm_commands=[b"+1"])
        sim.storm(5000)
        return sim.transcript()

    assert transcript(9) == transcript(9)
    assert transcript(9) != transcript(10)


def test_a_state_machine_that_is_not_deterministic_is_found_out() -> None:
    """Replicas that come to different states from the same commands are a violation that says so."""
    sim = SimCluster(3, Forgetful)
    sim.execute(b"+1")
    with pytest.raises(mu.SimViolation, match="the snapshots of their state machines differ"):
        sim.conclude()


@pytest.mark.parametrize(("replicas", "log_bytes", "seed"), [(0, 4096, 1), (16, 4096, 1), (3, 5000, 1), (3, 4096, -1)])
def test_what_cannot_be_simulated_is_refused(replicas: int, log_bytes: int, seed: int) -> None:
    """Impossible sizes and seeds are ConfigErrors."""
    with pytest.raises(mu.ConfigError):
        SimCluster(replicas, mu.Counter, log_bytes=log_bytes, seed=seed)


def test_unknown_replicas_and_oversized_commands_change_nothing() -> None:
    """They are refused by name, and the cluster goes on."""
    sim = SimCluster(3, mu.Counter)
    with pytest.raises(mu.UnknownReplica):
        sim.crash(4)
    with pytest.raises(mu.TooLarge):
        sim.propose(sim.settle(), b"+" * 60_000)
    assert sim.execute(b"+1") == b"1"


def test_a_command_that_the_state_machine_refuses_fails_on_every_replica_alike() -> None:
    """An exception in apply is the client's CommandFailed, and leaves equal replicas."""
    sim = SimCluster(3, mu.Counter)
    with pytest.raises(mu.CommandFailed):
        sim.execute(b"nonsense")
    sim.conclude()
