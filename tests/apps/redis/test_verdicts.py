"""The storm's verdicts: what they would say if a server lost, doubled or forgot something."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from mu.testing import Operation
from tests.apps.redis import verdicts
from tests.apps.redis.verdicts import Ending, Transaction
from tests.faults.history import check

# Two clients; the first one's 2 was in doubt and took effect, the second one's 2 was in doubt and did not.
TOLD: Final = [
    [Transaction(1, 1, 1, 10, 20), Transaction(3, 3, 4, 50, 60)],
    [Transaction(1, 1, 3, 15, 55), Transaction(3, 2, 5, 56, 70)],
]
FINE: Final = Ending([[1, 2, 3], [1, 3]], 5, {1: "a", 2: "a", 3: "a"})


def told(client: int, index: int, **changes: int) -> list[list[Transaction]]:
    """What the clients were told, with one transaction's reply changed."""
    changed = [[*each] for each in TOLD]
    changed[client][index] = replace(changed[client][index], **changes)
    return changed


def test_a_good_end_is_good() -> None:
    """Transactions in doubt may have taken effect or not, and nothing is found."""
    assert verdicts.of_all(TOLD, FINE) == []


@pytest.mark.parametrize(
    ("acknowledged", "ending", "finding"),
    [
        (TOLD, replace(FINE, lists=[[1, 2, 3], [1]], count=4), "client 1: lost: [3]"),
        (TOLD, replace(FINE, lists=[[1, 2, 3, 3], [1, 3]], count=6), "client 0: doubled"),
        (TOLD, replace(FINE, lists=[[2, 1, 3], [1, 3]]), "client 0: doubled, or out of order"),
        (TOLD, replace(FINE, count=6), "6 transactions were counted, and 5"),
        (TOLD, replace(FINE, lists=[[1, 2, 3], [1, 2, 3]], count=6), "3 is not the element 2 of"),
        (TOLD, replace(FINE, digests={1: "a", 2: "a", 3: "b"}), "the servers differ"),
        (told(1, 1, count=4), FINE, "4 was told twice"),
        (told(1, 1, count=2), FINE, "3 was told before a transaction with a lower one"),
        (told(1, 1, count=6), FINE, "the count 6 was told, and at the end it is 5"),
    ],
    ids=["lost", "doubled", "disordered", "uncounted", "misplaced", "differing", "twice", "backwards", "beyond"],
)
def test_a_bad_end_is_found(acknowledged: list[list[Transaction]], ending: Ending, finding: str) -> None:
    """Whatever of a good end is spoiled, a verdict names it."""
    assert any(finding in each for each in verdicts.of_all(acknowledged, ending))


def lost_write(kind: str, first: tuple[object, ...], seen: object) -> list[Operation]:
    """A write that was acknowledged, and a read after it that has another result."""
    return [
        Operation((kind, "a"), first, 5 if kind == "sum" else None, 1, 2),
        Operation((kind, "a"), ("read",), seen, 3, 4),
    ]


@pytest.mark.parametrize(
    ("kind", "write", "fine", "wrong"),
    [("value", ("write", 5), 5, None), ("sum", ("add", 5), 5, 0), ("sum", ("add", 5), 5, 10)],
    ids=["a forgotten register", "a forgotten sum", "a doubled sum"],
)
def test_a_history_that_cannot_be_is_found(kind: str, write: tuple[object, ...], fine: int, wrong: object) -> None:
    """A read after an acknowledged write that shows it not at all, or twice, is not linearizable."""
    assert check(lost_write(kind, write, fine))
    assert not check(lost_write(kind, write, wrong))
