"""Two would-be leaders at once: only one of them decides, and the other one's callers are told."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import mu
from mu import fabric
from mu.testing import Load, LoadSpec, LocalCluster, lost_commands
from mu.testing.ledger import numbered
from tests.faults.clusters import PATIENCE, equal_views, others_than, started, surely

ROUNDS = 8
CALLERS = 4  # at the old leader
CLIENT = 1 << 40  # the first of those that send commands to an old leader; a load's are far below


class Told:
    """What the callers of old leaders were told, by client."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.doubted: set[int] = set()
        self.acknowledged: set[int] = set()
        self.next = CLIENT

    def note(self, client: int, call: Future[bytes]) -> None:
        error = call.exception(PATIENCE)
        if error is None:
            self.acknowledged.add(client)
        elif isinstance(error, mu.Indeterminate):
            self.doubted.add(client)
        else:
            assert isinstance(error, mu.NotLeader)
            self.refused.add(client)


def depose_and_resume(cluster: LocalCluster, load: Load, callers: ThreadPoolExecutor, told: Told) -> None:
    """Stops the leader, calls it, lets another one decide something, resumes it; notes what the callers are told."""
    old = cluster.settle(PATIENCE)
    moment = cluster.stop(old)
    clients = range(told.next, told.next + CALLERS)
    told.next += CALLERS
    calls = {each: callers.submit(cluster.execute, numbered(each, 1, 32), old) for each in clients}
    others = others_than(cluster, old)
    cluster.wait(
        lambda: any(load.record(each).last_success_ns > moment for each in others), PATIENCE, "Nobody took over"
    )
    fabric.pause(cluster.cluster, old)  # obeyed soon after it goes on, so that it does not simply take over again
    takeovers = max(each.proposal for each in cluster.statuses().values())
    cluster.resume(old)
    acknowledged = len(told.acknowledged)
    for each, call in calls.items():
        told.note(each, call)
    # It may have won a new tenure before it came to the pause; the old one acknowledges nothing.
    assert len(told.acknowledged) == acknowledged or cluster.status(old).proposal > takeovers
    cluster.wait(lambda: cluster.status(old).paused, PATIENCE, "The old leader was not paused")
    cluster.unpause(old)


def test_a_resumed_leader_is_refused_and_its_callers_are_told() -> None:
    """A leader resumed after its successor decided something acknowledges nothing of its old tenure.

    What it refused takes no effect, and what it left in doubt takes effect once at most.
    """
    told = Told()
    with started(timeout_ms=5000) as cluster:
        with cluster.load(LoadSpec(rate=500)) as load, ThreadPoolExecutor(CALLERS) as callers:
            for _ in range(ROUNDS):
                depose_and_resume(cluster, load, callers, told)
            cluster.settle(PATIENCE)
            load.stop()
        ledger = equal_views(cluster).ledger
    assert told.refused, "every old leader took over again at once: this test saw nothing"
    assert not told.refused & ledger.clients.keys()
    assert told.acknowledged <= ledger.clients.keys()
    assert lost_commands(ledger, [each.proof for each in load.records()]) == []


def follow(cluster: LocalCluster, old: int) -> None:
    cluster.wait(lambda: cluster.leader(PATIENCE) != old, PATIENCE, "Nobody took over")


def test_leadership_handed_to_and_fro_applies_every_command_once() -> None:
    """Whoever leads is paused and unpaused again and again: a client's session counts without a gap."""
    with started() as cluster:
        for done in range(1, 31):
            if done % 5 == 0:
                leader = cluster.leader(PATIENCE)
                cluster.pause(leader)
                follow(cluster, leader)
                with pytest.raises((mu.NotLeader, mu.Indeterminate)):  # the latter if it had not noticed yet
                    cluster.execute(b"kv other add 1", leader, timeout=0)
                cluster.unpause(leader)
            assert surely(cluster, b"kv sum add 1") == b"%d" % done
