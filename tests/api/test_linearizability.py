"""The checker of histories: right on what is known, and equal to trying every order on what is random."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from mu.testing import CheckTimeout, Counter, Model, Operation, Register, check_linearizable


def write(value: int, called: int, returned: int | None, key: str = "k") -> Operation:
    return Operation(key, ("write", value), None, called, returned)


def read(result: Any, called: int, returned: int | None, key: str = "k") -> Operation:
    return Operation(key, ("read",), result, called, returned)


def add(result: Any, called: int, returned: int | None) -> Operation:
    return Operation("k", ("add", 1), result, called, returned)


def test_nothing_is_linearizable() -> None:
    """An empty history has an order."""
    assert check_linearizable([])


def test_one_after_the_other() -> None:
    """A sequential history in which every read sees the last write holds."""
    assert check_linearizable([read(None, 0, 1), write(1, 2, 3), read(1, 4, 5), write(2, 6, 7), read(2, 8, 9)])


def test_a_stale_read_is_found() -> None:
    """Positive control: a read that began after a write had returned must not see what was before it."""
    stale = read(1, 6, 7)
    verdict = check_linearizable([write(1, 0, 1), write(2, 2, 3), read(2, 4, 5), stale])
    assert not verdict
    assert (verdict.key, verdict.culprit, verdict.operations) == ("k", stale, 4)


def test_a_lost_acknowledged_write_is_found() -> None:
    """Positive control: what was acknowledged cannot vanish."""
    assert not check_linearizable([write(1, 0, 1), read(None, 2, 3)])


def test_a_doubled_increment_is_found() -> None:
    """Positive control: two additions of one do not make three."""
    assert not check_linearizable([add(1, 0, 1), add(3, 2, 3)], Counter())


def test_a_value_read_backwards_is_found() -> None:
    """Positive control: two reads in a row do not see new, then old, even while the write is under way."""
    assert not check_linearizable([write(1, 0, 10), read(1, 1, 2), read(None, 3, 4)])


def test_operations_that_overlap_may_take_either_order() -> None:
    """During a write a read may see the old or the new value."""
    assert check_linearizable([write(1, 0, 10), read(None, 1, 2), read(1, 3, 4)])


def test_an_indeterminate_write_may_never_happen() -> None:
    """What got no answer need not take effect."""
    assert check_linearizable([write(1, 0, 1), write(2, 2, None), read(1, 4, 5), read(1, 100, 101)])


def test_an_indeterminate_write_may_happen_late() -> None:
    """What got no answer may take effect long after its client gave up."""
    assert check_linearizable([write(1, 0, 1), write(2, 2, None), read(1, 4, 5), read(2, 100, 101)])


def test_an_indeterminate_write_happens_once() -> None:
    """Positive control: what got no answer does not take effect, be overwritten, and take effect again."""
    history = [write(2, 0, None), read(2, 4, 5), write(3, 6, 7), read(3, 8, 9), read(2, 10, 11)]
    assert not check_linearizable(history)


def test_an_indeterminate_write_does_not_happen_before_its_call() -> None:
    """Positive control: nobody reads a value before anyone began to write it."""
    assert not check_linearizable([read(2, 0, 1), write(2, 2, None)])


def test_a_failed_swap_proves_the_value() -> None:
    """Cas tells whether it wrote, and that has to fit."""
    swap = Operation("k", ("cas", 1, 2), True, 2, 3)
    assert check_linearizable([write(1, 0, 1), swap, read(2, 4, 5)])
    assert not check_linearizable([write(3, 0, 1), swap])


def test_keys_are_independent() -> None:
    """A fault in one key is told as that key's."""
    verdict = check_linearizable([write(1, 0, 1, "a"), read(1, 2, 3, "a"), write(1, 0, 1, "b"), read(None, 2, 3, "b")])
    assert verdict.key == "b"


def test_an_unknown_action_is_a_mistake() -> None:
    """A model does not guess."""
    with pytest.raises(ValueError, match="knows write, read and cas"):
        check_linearizable([Operation("k", ("append", 1), None, 0, 1)])


def test_a_search_that_takes_too_long_ends() -> None:
    """Thirty writers at once and an impossible read: no verdict, but an end."""
    history = [write(number, 0, 1000) for number in range(30)] + [read(99, 0, 1000)]
    with pytest.raises(CheckTimeout):
        check_linearizable(history, timeout=0.05)


def test_long_histories_are_quick() -> None:
    """Twenty thousand operations over a hundred keys, four clients at a time, are within the memo's reach."""
    random_number = random.Random(7)
    history, values = [], dict.fromkeys(range(100))
    for moment in range(20_000):
        key = random_number.randrange(100)
        called, returned = moment - random_number.random() * 4, moment + random_number.random() * 4
        stamps = int(called * 1000), int(returned * 1000)
        if random_number.random() < 0.5:
            values[key] = moment
            history.append(Operation(key, ("write", moment), None, *stamps))
        else:
            history.append(Operation(key, ("read",), values[key], *stamps))
    assert check_linearizable(history, timeout=60)


def in_some_order(history: list[Operation], model: Model) -> bool:
    """The definition itself: whether some order of all determinate and some indeterminate operations is allowed."""
    certain = [each for each in history if each.returned is not None]
    doubtful = [each for each in history if each.returned is None]
    for count in range(len(doubtful) + 1):
        for chosen in itertools.combinations(doubtful, count):
            for order in itertools.permutations([*certain, *chosen]):
                if respects_time(order) and allowed(order, model):
                    return True
    return False


def respects_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.called
        for earlier, later in itertools.combinations(order, 2)
    )


def allowed(order: tuple[Operation, ...], model: Model) -> bool:
    state = model.initial()
    for each in order:
        possible, state = model.step(state, each.action, each.result, each.returned is not None)
        if not possible:
            return False
    return True


def random_history(random_number: random.Random) -> list[Operation]:
    history = []
    for _ in range(random_number.randint(1, 5)):
        called = random_number.randrange(8)
        returned = None if random_number.random() < 0.2 else called + random_number.randrange(5)
        if random_number.random() < 0.5:
            history.append(write(random_number.randrange(3), called, returned))
        else:
            history.append(read(random_number.choice([None, 0, 1, 2]), called, returned))
    return history


def test_the_verdict_is_that_of_trying_every_order() -> None:
    """On a thousand small random histories the search and the definition agree, and both verdicts occur."""
    random_number = random.Random(20)
    verdicts = []
    for _ in range(1000):
        history = random_history(random_number)
        verdicts.append(bool(check_linearizable(history)))
        assert verdicts[-1] == in_some_order(history, Register()), history
    assert 100 < sum(verdicts) < 900
