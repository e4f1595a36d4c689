"""A majority that has lost its memory: nothing is invented, and what is left can be saved (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mu
from tests.faults.clusters import PATIENCE, SMALL_LOG


@pytest.fixture
def start(segments: Path) -> Iterator[Callable[..., mu.Replica]]:
    """Opens a replica of three in this process, whose state begins where it is told."""
    opened: list[mu.Replica] = []

    def start(name: str, replica_id: int, begins: bytes = b"0") -> mu.Replica:
        machine = mu.Counter()
        machine.restore(begins)
        cluster = mu.Cluster(name=name, directory=str(segments), log_bytes=SMALL_LOG)
        opened.append(mu.Replica.open(cluster, replica_id=replica_id, state_machine=machine))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_what_the_last_one_holds_begins_a_new_cluster(start: Callable[..., mu.Replica]) -> None:
    """If two of three have lost their memory the third decides nothing, and another cluster begins with its state."""
    first, second, last = (start("old", each) for each in (1, 2, 3))
    first.wait_until_leader(PATIENCE)
    first.execute(b"+5", PATIENCE)
    while last.state_machine.snapshot() != b"5":  # type: ignore[union-attr]
        first.execute(b"", PATIENCE)
    first.close()
    second.close()
    for each in (start("old", 1), start("old", 2), last):
        with pytest.raises((mu.NotLeader, mu.NoMajority)):
            each.execute(b"+1", 0.1)
    saved = last.state_machine.snapshot()  # type: ignore[union-attr]
    leader, *_ = [start("new", each, saved) for each in (1, 2, 3)]
    leader.wait_until_leader(PATIENCE)
    assert leader.execute(b"+1", PATIENCE) == b"6"
