"""Faults at random under load: what was acknowledged stays, and the history could have happened one at a time."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from mu.testing import Load, LoadSpec, LocalCluster, Operation, lost_commands
from mu.testing.ledger import numbered
from tests.faults.clusters import PATIENCE, equal_views, on_fabric, others_than, started, surely
from tests.faults.history import Clients, check
from tests.faults.storm import Storm
from tests.faults.witness import Value, Witness

SECONDS = float(os.environ.get("MU_FAULTS_SECONDS", "60"))
CALM = 100  # operations that must succeed after the storm
LOAD = LoadSpec(rate=1000)


def weather(cluster: LocalCluster, load: Load, seed: int) -> list[Operation]:
    """A storm and the calm after it; the history of the clients in it."""
    with Clients(cluster, seed) as clients:
        storm = Storm(cluster, seed, load)
        storm.rage(SECONDS)
        storm.heal()
        calm = clients.answered + CALM
        cluster.wait(lambda: clients.faults or clients.answered > calm, PATIENCE, "No operations after the storm")
    assert clients.faults == []
    sys.stdout.write(f"{storm.faults}, {len(clients.history)} operations, {load.acknowledged} numbered commands\n")
    return clients.history


@pytest.mark.slow
def test_a_storm_loses_nothing_and_stays_linearizable(seed: int) -> None:
    """Kills, stops and pauses at random for a minute lose nothing, and what the clients saw is linearizable."""
    with started(3) as cluster:
        with cluster.load(LOAD) as load:
            history = weather(cluster, load, seed)
        view = equal_views(cluster)
    assert lost_commands(view.ledger, [each.proof for each in load.records()]) == []
    assert check(history)
    assert not check(with_a_stale_read(history)), "positive control: one stale read among all these is found"


def with_a_stale_read(history: list[Operation]) -> list[Operation]:
    """The history in which one read, late enough, shows what had been overwritten before it began."""
    done = sorted((each for each in history if each.returned is not None), key=lambda each: each.called)
    for last in done:
        if last.action[0] != "write":
            continue
        earlier = [each for each in done if each.key == last.key and each.action[0] == "write"]
        earlier = [each for each in earlier if each.returned is not None and each.returned < last.called]
        reads = [each for each in done if each.key == last.key and each.action == ("read",)]
        reads = [each for each in reads if last.returned is not None and each.called > last.returned]
        if earlier and reads:
            stale = replace(reads[0], result=earlier[-1].action[1])
            return [stale if each is reads[0] else each for each in history]
    raise AssertionError("the history is too short for a control")


def test_reads_of_a_follower_are_found_out() -> None:
    """Positive control: with a follower's state passed off as linearizable reads the check fails."""
    with LocalCluster(3, Witness, commit_idle_us=0, **on_fabric()) as cluster:  # a follower trails by one command
        history: list[Operation] = []
        for number in range(0, 40, 4):
            surely(cluster, f"kv r set {number}".encode())
            history.append(Operation(("value", "r"), ("write", str(number)), None, number, number + 1))
            follower = others_than(cluster, cluster.settle(PATIENCE))[0]  # on a crowded machine the leader may change
            found = cluster.look(Value("r"), follower)
            history.append(Operation(("value", "r"), ("read",), found, number + 2, number + 3))
    assert not check(history)


def test_a_command_that_was_not_proposed_is_missed() -> None:
    """Positive control: a number that is claimed to be acknowledged and is not there is told."""
    with started(3) as cluster:
        for number in (1, 2, 4):
            surely(cluster, numbered(7, number, 32))
        view = cluster.read(Witness.view, timeout=PATIENCE)
    assert lost_commands(view.ledger, [(7, 4, ())]) == ["client 0x7: number 3 was acknowledged and is lost"]
    assert lost_commands(view.ledger, [(7, 4, (3,))]) == []
