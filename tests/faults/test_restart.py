"""Replicas lose their memory at every moment: whoever comes back is brought up first, and nothing is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mu import fabric
from mu.testing import LoadSpec, LocalCluster, lost_commands
from tests.faults.clusters import PATIENCE, SMALL_LOG, admitted, equal_views, others_than, started, surely
from tests.faults.witness import Witness
from tests.faults.zygote import Zygote

LIVES = 40  # of the replica that is killed again and again
LONGEST_LIFE = 0.06  # seconds: on an idle machine it is up in 5 ms and admitted in 10
TAKEOVERS = 6
LOAD = LoadSpec(rate=1000)


class Incomplete(LocalCluster):
    """A cluster that starts without some of its replicas."""

    def __init__(self, n: int, absent: set[int], **options: Any) -> None:
        super().__init__(n, Witness, log_bytes=SMALL_LOG, **options)
        self._absent = absent

    def _launch(self, ids: Sequence[int]) -> None:
        super()._launch([each for each in ids if each not in self._absent])
        self._absent = set()


class Watch:
    """Looks at all replicas without pause: one that leads has been admitted. A context manager."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self.looks = 0
        self.findings: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stopping.wait(0.0005):
            for each in self._cluster.cluster.replicas:
                self._look(each)

    def _look(self, replica: int) -> None:
        glimpse = fabric.peek(self._cluster.cluster, replica)
        self.looks += 1
        if glimpse is None or not glimpse.leading or glimpse.admitted:
            return
        later = fabric.peek(self._cluster.cluster, replica)  # the first look was not at one moment
        if later is not None and later.incarnation == glimpse.incarnation and not later.admitted:
            self.findings.append(f"replica {replica} leads without having been admitted: {glimpse}")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


def test_a_replica_killed_again_and_again_while_the_cluster_forms(seed: int) -> None:
    """One that dies before, during or after first formation keeps the others from nothing: the cluster forms once."""
    choices = random.Random(seed)
    victim = choices.choice((1, 2, 3))
    with Zygote() as zygote, Incomplete(3, {victim}) as cluster, Watch(cluster) as watch:
        for _ in range(LIVES):
            zygote.fork(cluster.cluster, victim).kill_after(choices.random() * LONGEST_LIFE)
        cluster.restart(victim)
        cluster.settle(PATIENCE)
        assert surely(cluster, b"kv after add 1") == b"1"
        equal_views(cluster)
    assert watch.looks
    assert watch.findings == []


@pytest.mark.parametrize("load", [False, True], ids=["idle", "under load"])
def test_a_replica_killed_again_and_again_while_it_is_brought_up(seed: int, load: bool) -> None:
    """One that dies again at any moment of its return is a member in the end, and the others lose nothing."""
    choices = random.Random(seed)
    with Zygote() as zygote, started(3) as cluster, Watch(cluster) as watch:
        victim = choices.choice((1, 2, 3))
        under_load = cluster.load(LOAD, others_than(cluster, victim) if load else [])
        cluster.kill(victim)
        for _ in range(LIVES):
            zygote.fork(cluster.cluster, victim).kill_after(choices.random() * LONGEST_LIFE)
        cluster.restart(victim)
        cluster.settle(PATIENCE)
        under_load.stop()
        assert surely(cluster, b"kv after add 1") == b"1"
        ledger = equal_views(cluster).ledger
    assert lost_commands(ledger, [each.proof for each in under_load.records()]) == []
    assert watch.findings == []


def test_a_candidate_killed_at_any_moment_of_its_takeover(seed: int) -> None:
    """With the leader stopped, whoever takes over dies on the way: when the leader goes on all is as it was."""
    choices = random.Random(seed)
    with started(3) as cluster, cluster.load(LOAD) as load, Watch(cluster) as watch:
        for _ in range(TAKEOVERS):
            leader = cluster.settle(PATIENCE)
            cluster.stop(leader)
            candidate = min(others_than(cluster, leader))
            threading.Event().wait(0.02 + choices.random() * LONGEST_LIFE)  # any moment, of its takeover above all
            cluster.kill(candidate)
            cluster.restart(candidate)
            assert not admitted(cluster, candidate), "nobody can lead, so nobody can have been brought up"
            cluster.resume(leader)
            cluster.wait_until_admitted(candidate, PATIENCE)
            load.add(candidate)
        cluster.settle(PATIENCE)
        load.stop()
        ledger = equal_views(cluster).ledger
    assert lost_commands(ledger, [each.proof for each in load.records()]) == []
    assert watch.findings == []


def test_all_replicas_forget_in_turn() -> None:
    """A cluster in which every replica has been killed and brought up once still holds what it held at first."""
    with started(3) as cluster:
        for each in cluster.cluster.replicas:
            cluster.restart(each)
            cluster.settle(PATIENCE)
            surely(cluster, b"kv after add 1")
        assert surely(cluster, b"kv after add 1") == b"4"
        view = equal_views(cluster)
        assert all(cluster.look(Witness.view, each).restores >= 1 for each in cluster.running)
        assert view.count == 5
