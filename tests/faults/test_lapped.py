"""A stalled replica is lapped by the ring: the others do not wait for it, and it rejoins by snapshot."""

from __future__ import annotations

import pytest

from mu.testing import LoadSpec, lost_commands
from tests.faults.clusters import PATIENCE, SMALL_LOG, equal_views, others_than, started
from tests.faults.witness import Witness

LAPS = 20
STALL_LIMIT_MS = 200
LARGE_STATE = 300  # values of 4,000 bytes: many times the log


@pytest.mark.parametrize("large", [False, True], ids=["small state", "large state"])
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_lapped_replica_rejoins_by_snapshot(role: str, large: bool) -> None:
    """A replica stopped while the others fill their logs twenty times holds nobody up, and rejoins by snapshot."""
    with started(3, stall_limit_ms=STALL_LIMIT_MS, timeout_ms=5000) as cluster:
        if large:
            cluster.propose_many([b"kv large%d set %s" % (each, b"v" * 4000) for each in range(LARGE_STATE)])
        leader = cluster.settle(PATIENCE)
        victim = leader if role == "leader" else others_than(cluster, leader)[0]
        with cluster.load(LoadSpec(size=1000, timeout=PATIENCE)) as load:
            cluster.stop(victim)
            rest = others_than(cluster, victim)
            goal = max(cluster.status(each).applied for each in rest) + LAPS * SMALL_LOG
            cluster.wait(
                lambda: min(cluster.status(each).applied for each in rest) > goal, PATIENCE, "The others were held up"
            )
            cluster.resume(victim)
            cluster.settle(PATIENCE)
            load.stop()
        ledger = equal_views(cluster).ledger
        assert cluster.look(Witness.view, victim).restores >= 1
    assert lost_commands(ledger, [each.proof for each in load.records()]) == []
