"""Could this history have happened one operation at a time? A search after Wing and Gong, with Lowe's memory.

Each operation must take effect at one moment between its call and its return; one whose outcome is unknown, at any
moment after its call, or never. The search tries the operations that may come next, remembers which (set of
operations done, state) it has been to, and steps back when an operation's return comes before its effect. Keys are
independent, so each is searched by itself. (Wing and Gong 1993; Lowe, "Testing for linearizability", 2017.)

The search may take exponential time in the number of operations that overlap: keep those of one key bounded.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

CLOCK_EVERY: Final = 1024  # steps of the search between two looks at the clock


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client: `action` (whatever the model understands) on a key, and what came of it."""

    key: Hashable
    action: tuple[Any, ...]
    result: Any
    called: int
    """when it began; any clock that all clients share (ns, say)"""
    returned: int | None
    """when its result came; None: it never did, so its effect may come at any later time, or never"""


class Model(Protocol):
    """What one key does. States must be hashable."""

    def initial(self) -> Hashable:
        """The state before the first operation."""
        ...

    def step(self, state: Any, action: tuple[Any, ...], result: Any, known: bool) -> tuple[bool, Hashable]:
        """Whether the action may give this result in this state, and the state after it; any result, if not `known`."""
        ...


class Register:
    """A value: ("write", v), ("read",) → v, ("cas", old, new) → whether it wrote. Begins as None."""

    def initial(self) -> Hashable:
        """Nothing is written."""
        return None

    def step(self, state: Any, action: tuple[Any, ...], result: Any, known: bool) -> tuple[bool, Hashable]:
        """See Model."""
        match action:
            case ("write", value):
                return True, value
            case ("read",):
                return not known or result == state, state
            case ("cas", old, new):
                wrote = state == old
                return not known or result == wrote, new if wrote else state
        raise ValueError(f"A register knows write, read and cas, not {action!r}.")


class Counter:
    """A number: ("add", n) → the sum after it, ("read",) → the sum. Begins as 0."""

    def initial(self) -> Hashable:
        """Zero."""
        return 0

    def step(self, state: Any, action: tuple[Any, ...], result: Any, known: bool) -> tuple[bool, Hashable]:
        """See Model."""
        match action:
            case ("add", number):
                return not known or result == state + number, state + number
            case ("read",):
                return not known or result == state, state
        raise ValueError(f"A counter knows add and read, not {action!r}.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the search found. As a truth value: whether the history is linearizable."""

    linearizable: bool
    operations: int
    """how many were checked"""
    key: Hashable = None
    """the key whose operations cannot be put in order"""
    culprit: Operation | None = None
    """the operation of that key that could not be placed, in the attempt that got furthest"""

    def __bool__(self) -> bool:
        return self.linearizable


class CheckTimeout(TimeoutError):  # noqa: N818  # after TimeoutError
    """The search took too long: there is no verdict. Use more keys, fewer clients, or shorter histories."""


def check_linearizable(history: Iterable[Operation], model: Model | None = None, *, timeout: float = 60.0) -> Verdict:
    """Searches for an order of a history's operations that its model allows.

    Args:
        history: in any order.
        model: of each key; None: a Register.
        timeout: of the whole check, in seconds.

    Raises:
        CheckTimeout: no verdict within the timeout.
    """
    model = Register() if model is None else model
    deadline = time.monotonic() + timeout
    by_key: dict[Hashable, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    count = sum(map(len, by_key.values()))
    for key, operations in by_key.items():
        found, culprit = _search(operations, model, deadline)
        if not found:
            return Verdict(False, count, key, culprit)
    return Verdict(True, count)


class _Events:
    """Calls and returns in time order, as a list from which operations are lifted and to which they come back.

    Event 0 is the head. Operation i's call is event `call[i]`, its return `end[i]` (0: it has none).
    """

    def __init__(self, operations: list[Operation]) -> None:
        # At one moment calls come before returns: then the operations overlap, which allows more orders, not fewer.
        stamps = [(each.called, 0, i) for i, each in enumerate(operations)]
        stamps += [(each.returned, 1, i) for i, each in enumerate(operations) if each.returned is not None]
        stamps.sort()
        self.operation = [-1] + [i for _, _, i in stamps]
        self.is_call = [False] + [kind == 0 for _, kind, _ in stamps]
        self.next = [*range(1, len(stamps) + 1), 0]
        self.previous = [len(stamps), *range(len(stamps))]
        self.call, self.end = [0] * len(operations), [0] * len(operations)
        for event, (_, kind, i) in enumerate(stamps, start=1):
            (self.end if kind else self.call)[i] = event

    def lift(self, i: int) -> None:
        """Takes operation i out."""
        for event in (self.call[i], self.end[i]):
            if event:
                self.next[self.previous[event]] = self.next[event]
                self.previous[self.next[event]] = self.previous[event]

    def put_back(self, i: int) -> None:
        """Undoes the last lift, which was of operation i."""
        for event in (self.end[i], self.call[i]):
            if event:
                self.next[self.previous[event]] = event
                self.previous[self.next[event]] = event


def _search(operations: list[Operation], model: Model, deadline: float) -> tuple[bool, Operation | None]:
    """Whether one key's operations can be put in order; if not, the one that the best attempt could not place."""
    events = _Events(operations)
    unplaced = sum(each.returned is not None for each in operations)
    state, done = model.initial(), 0
    been_to: set[tuple[int, Hashable]] = set()
    trail: list[tuple[int, Hashable]] = []  # the operations placed so far, each with the state before it
    fewest, culprit = unplaced + 1, None
    event, steps = events.next[0], 0
    while unplaced:
        steps += 1
        if steps % CLOCK_EVERY == 0 and time.monotonic() > deadline:
            raise CheckTimeout(f"{len(operations)} operations of one key: no verdict in time.")
        i = events.operation[event]
        if event and events.is_call[event]:
            each = operations[i]
            possible, after = model.step(state, each.action, each.result, each.returned is not None)
            if possible and (done | 1 << i, after) not in been_to:
                been_to.add((done | 1 << i, after))
                trail.append((i, state))
                state, done = after, done | 1 << i
                events.lift(i)
                unplaced -= each.returned is not None
                event = events.next[0]
            else:
                event = events.next[event]
            continue
        if event and unplaced < fewest:
            fewest, culprit = unplaced, operations[i]
        if not trail:
            return False, culprit
        i, state = trail.pop()
        done &= ~(1 << i)
        events.put_back(i)
        unplaced += operations[i].returned is not None
        event = events.next[events.call[i]]
    return True, None
