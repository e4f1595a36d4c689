"""Hypothesis chooses what happens to a simulated cluster; what fails is shrunk to the few calls that matter."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import mu
from mu.testing import SimCluster

ids = st.integers(1, 3)


class Cluster(RuleBasedStateMachine):
    """Faults by hand, commands and storms; at the end everything is healed and all replicas agree."""

    sim: SimCluster
    certain: int
    open_ended: int

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        """A new cluster."""
        self.sim = SimCluster(3, mu.Counter, seed=seed)
        self.certain = self.open_ended = 0

    def majority_lives(self, without: int = 0) -> bool:
        """Whether enough replicas that have been brought up live, with one more gone."""
        up = [each for each in self.sim.replicas if each != without and self.sim.alive(each)]
        return sum(1 for each in up if self.sim.status(each)["joined"]) >= 2

    @rule()
    def execute(self) -> None:
        """One more, by whoever leads."""
        try:
            self.sim.execute(b"+1")
            self.certain += 1
        except mu.Indeterminate:
            self.open_ended += 1
        except (mu.NotProposed, mu.NoLeader):
            pass

    @rule(replica=ids, reported=st.booleans())
    def crash(self, replica: int, reported: bool) -> None:
        """A death that the protocol must bear."""
        if self.sim.alive(replica) and self.majority_lives(without=replica):
            self.sim.crash(replica, reported=reported)

    @rule(replica=ids)
    def restart(self, replica: int) -> None:
        """A new life."""
        self.sim.restart(replica)

    @rule(sender=ids, receiver=ids)
    def cut(self, sender: int, receiver: int) -> None:
        """One direction of one link."""
        if sender != receiver:
            self.sim.cut(sender, receiver)

    @rule(replica=ids)
    def freeze(self, replica: int) -> None:
        """A replica stops between two steps."""
        self.sim.freeze(replica)

    @rule(replica=ids)
    def thaw(self, replica: int) -> None:
        """And goes on."""
        self.sim.thaw(replica)

    @rule()
    def heal(self) -> None:
        """All is well for a while."""
        self.sim.heal_everything()
        self.sim.calm(50)

    @precondition(lambda self: self.certain > 0)
    @rule(steps=st.integers(1, 400))
    def storm(self, steps: int) -> None:
        """The seed's own turn."""
        self.sim.storm(steps)

    def teardown(self) -> None:
        """Nothing acknowledged is lost, nothing is doubled, and all replicas are equal."""
        if not hasattr(self, "sim"):
            return
        self.sim.conclude()
        values = {self.sim.state_machine(each).value for each in self.sim.replicas}
        assert len(values) == 1
        assert self.certain <= values.pop() <= self.certain + self.open_ended


TestCluster = Cluster.TestCase
TestCluster.__doc__ = "Whatever hypothesis does to a cluster, it loses nothing and comes back."
TestCluster.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True)
