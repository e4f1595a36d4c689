"""Faults at random, from one seed: killed, stopped, paused, and brought back.

Never so many that memory is lost for good: a replica is killed only while a majority of the others has been admitted,
each in its present life. Stopped and paused ones may be a majority for a while.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Final

from mu import fabric
from mu.testing import Load, LocalCluster
from tests.faults.clusters import PATIENCE, admitted, others_than

LONGEST_QUIET: Final = 0.4  # seconds between two faults


class Storm:
    """Hurts a cluster, one fault at a time, and heals it."""

    def __init__(self, cluster: LocalCluster, seed: int, load: Load | None = None) -> None:
        self._cluster = cluster
        self._choices = random.Random(seed)
        self._load = load
        self._stopped: set[int] = set()
        self._paused: set[int] = set()
        self._quiet = threading.Event()  # never set: the storm's own rhythm, for which there is no event
        self.faults: dict[str, int] = {}

    def rage(self, seconds: float) -> None:
        """Faults for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._strike()
            self._quiet.wait(self._choices.random() * LONGEST_QUIET)

    def heal(self) -> int:
        """Brings everybody back; returns the leader when all are members again."""
        for replica in sorted(self._stopped):
            self._resume(replica)
        for replica in sorted(self._paused):
            self._unpause(replica)
        for replica in self._cluster.cluster.replicas:
            if replica not in self._cluster.running:
                self._restart(replica)
        return self._cluster.settle(PATIENCE)

    def _strike(self) -> None:
        victim = self._victim()
        if victim not in self._cluster.running:
            possible = [self._restart]
        elif victim in self._stopped:
            possible = [self._resume] * 3
        else:
            possible = [self._stop] * 2 + [self._unpause if victim in self._paused else self._pause]
        if victim in self._cluster.running and self._may_kill(victim):
            possible += [self._kill, self._kill_and_restart]
        act = self._choices.choice(possible)
        act(victim)
        name = act.__name__.strip("_").replace("_", " ")
        self.faults[name] = self.faults.get(name, 0) + 1

    def _victim(self) -> int:
        """The leader twice as often as each of the others."""
        leaders = [each.replica_id for each in self._cluster.statuses(0.1).values() if each.leads]
        return self._choices.choice([*self._cluster.cluster.replicas, *leaders[:1]])

    def _may_kill(self, victim: int) -> bool:
        others = others_than(self._cluster, victim)
        return sum(admitted(self._cluster, each) for each in others) >= self._cluster.cluster.majority

    def _stop(self, replica: int) -> None:
        self._cluster.stop(replica)
        self._stopped.add(replica)

    def _resume(self, replica: int) -> None:
        self._cluster.resume(replica)
        self._stopped.discard(replica)

    # From outside, so that it also reaches a replica that is stopped or busy.

    def _pause(self, replica: int) -> None:
        fabric.pause(self._cluster.cluster, replica)
        self._paused.add(replica)

    def _unpause(self, replica: int) -> None:
        fabric.resume(self._cluster.cluster, replica)
        self._paused.discard(replica)

    def _kill(self, replica: int) -> None:
        self._cluster.kill(replica)
        self._stopped.discard(replica)
        self._paused.discard(replica)

    def _restart(self, replica: int) -> None:
        self._cluster.restart(replica)
        if self._load is not None:
            self._load.add(replica)

    def _kill_and_restart(self, replica: int) -> None:
        self._kill(replica)
        self._restart(replica)
