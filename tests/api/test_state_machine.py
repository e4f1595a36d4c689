"""Names of state machines: what another process can import has one."""

from __future__ import annotations

import functools

import pytest

import mu
from mu.state_machine import name_of_state_machine, state_machine_named
from mu.testing import Ledger


@pytest.mark.parametrize("factory", [mu.Counter, Ledger])
def test_a_class_has_a_name_that_makes_it(factory: type[mu.StateMachine]) -> None:
    """From a class to its name and back."""
    name = name_of_state_machine(factory)
    assert name is not None
    assert isinstance(state_machine_named(name), factory)


@pytest.mark.parametrize("given", [None, "mu:Counter"])
def test_a_name_is_its_own_name(given: str | None) -> None:
    """Names, and the native state machine, stay as they are."""
    assert name_of_state_machine(given) == given


def test_what_cannot_be_imported_is_refused() -> None:
    """A partial or a local class is refused before any process starts."""

    class Local(mu.Counter): ...

    for factory in (Local, functools.partial(mu.Counter)):
        with pytest.raises(mu.ConfigError, match="cannot import"):
            name_of_state_machine(factory)


def test_a_counter_counts() -> None:
    """The example replies with its sum, and its snapshot is its whole state."""
    counter, copy = mu.Counter(), mu.Counter()
    assert [counter.apply(b"+2"), counter.apply(b"-5"), counter.apply(b"")] == [b"2", b"-3", b"-3"]
    copy.restore(counter.snapshot())
    assert copy.value == -3


def test_a_failed_command_changes_nothing() -> None:
    """The example keeps the rule that it is one for."""
    counter = mu.Counter()
    with pytest.raises(ValueError, match="invalid literal"):
        counter.apply(b"x")
    assert counter.value == 0
