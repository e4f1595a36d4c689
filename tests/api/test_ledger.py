"""The witness: what it says was lost was lost, and nothing else."""

from __future__ import annotations

import pytest

import mu
from mu.testing import Ledger, lost_commands
from mu.testing.ledger import numbered


def filled(*sequences: int, client: int = 1) -> Ledger:
    ledger = Ledger()
    for sequence in sequences:
        ledger.apply(numbered(client, sequence, 24))
    return ledger


def test_what_is_there_is_not_lost() -> None:
    """All acknowledged numbers in order: nothing to report."""
    assert lost_commands(filled(1, 2, 3).view(), [(1, 3, ())]) == []


def test_a_missing_number_is_lost() -> None:
    """Positive control: an acknowledged number that is not there is named."""
    assert lost_commands(filled(1, 2, 4).view(), [(1, 4, ())]) == ["client 0x1: number 3 was acknowledged and is lost"]


def test_a_missing_end_is_lost() -> None:
    """Positive control: the last numbers count like all others, and so does a client that is not there at all."""
    assert len(lost_commands(filled(1, 2).view(), [(1, 4, ()), (9, 1, ())])) == 3


def test_what_was_in_doubt_may_be_missing() -> None:
    """An indeterminate number may be there or not."""
    assert lost_commands(filled(1, 2, 4).view(), [(1, 4, (3,))]) == []
    assert lost_commands(filled(1, 2, 3, 4).view(), [(1, 4, (3,))]) == []


def test_more_than_acknowledged_is_fine() -> None:
    """The command under way when the leader died may have been decided."""
    assert lost_commands(filled(1, 2, 3).view(), [(1, 2, ())]) == []


@pytest.mark.parametrize("sequences", [(1, 2, 2), (1, 3, 2), (2, 1)])
def test_twice_and_backwards_are_found(sequences: tuple[int, ...]) -> None:
    """Positive control: a number that comes twice, or after a larger one, is reported."""
    assert "came after" in lost_commands(filled(*sequences).view(), [])[0]


def test_digests_tell_order() -> None:
    """Equal digests mean equal histories in the same order."""
    assert filled(1, 2).view().digest == filled(1, 2).view().digest
    assert filled(1, 2).view().digest != filled(2, 1).view().digest


def test_a_snapshot_is_the_whole_state() -> None:
    """A restored ledger goes on as the original does."""
    original, copy = filled(1, 2, 5), Ledger()
    copy.restore(original.snapshot())
    for ledger in (original, copy):
        ledger.apply(numbered(2, 1, 16))
    assert copy.view() == original.view()


def test_a_ledger_is_a_state_machine() -> None:
    """It can be replicated."""
    assert isinstance(Ledger(), mu.StateMachine)
