"""The tree of errors: as drawn, portable, and each with what to do next."""

from __future__ import annotations

import pickle
import re

import pytest

import mu
from mu import errors

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, mu.MuError)]
ARGUMENTS: dict[type[mu.MuError], tuple[object, ...]] = {
    mu.NotLeader: (2,),
    mu.TooLarge: (5000, 4096),
    mu.CommandFailed: ("ValueError: no", 1, (b"2", "ValueError: no")),
    mu.UnknownReplica: (7, (1, 2, 3)),
}


def example(kind: type[mu.MuError]) -> mu.MuError:
    return kind(*ARGUMENTS.get(kind, ("Something happened",)))


def test_the_drawing_is_the_tree() -> None:
    """The tree in the module's docstring has every error, under its parent."""
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ((?:[│ ]   )*)(?:[├└]── )?([A-Z]\w+)", line):
            depth = line.index(found[2]) // 4 - 1
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else None
    bases = {each.__name__: each.__bases__[0].__name__ for each in ALL if each is not mu.MuError}
    assert drawn == {"MuError": None, **bases}


def test_every_error_is_public() -> None:
    """Whatever Mu raises can be caught by a name of `mu`."""
    assert {each.__name__ for each in ALL} <= set(mu.__all__)


@pytest.mark.parametrize("kind", ALL)
def test_errors_cross_processes(kind: type[mu.MuError]) -> None:
    """An error that was pickled is the same error, attributes and message included."""
    error = example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), vars(copy), copy.args) == (str(error), vars(error), error.args)


@pytest.mark.parametrize("kind", [each for each in ALL if not issubclass(each, mu.ConfigError)])
def test_messages_say_what_to_do_next(kind: type[mu.MuError]) -> None:
    """A message is at least what happened and a sentence more (what is wrong in a configuration is the remedy)."""
    if kind in {mu.MuError, errors.CannotStart, errors.NotProposed}:
        return  # only their children are raised
    error = example(kind)
    assert str(error).startswith(error.what().rstrip("."))
    assert len(str(error)) > len(error.what()) + 20


def test_not_leader_names_the_leader() -> None:
    """NotLeader carries the leader's id, and says it."""
    assert mu.NotLeader(3).leader == 3
    assert "replica 3" in str(mu.NotLeader(3))


def test_not_leader_may_know_nobody() -> None:
    """Without a leader the advice is to wait."""
    assert mu.NotLeader().leader == 0
    assert "wait" in str(mu.NotLeader())


def test_too_large_says_both_sizes() -> None:
    """TooLarge tells the size and the limit, as attributes and in words."""
    error = mu.TooLarge(5000, 4096)
    assert (error.size, error.limit) == (5000, 4096)
    assert "5,000" in str(error)
    assert "4,096" in str(error)


@pytest.mark.parametrize(
    ("kind", "builtin"), [(mu.ConfigError, ValueError), (mu.UnknownReplica, ValueError), (mu.NoLeader, TimeoutError)]
)
def test_errors_are_what_python_expects(kind: type[mu.MuError], builtin: type[Exception]) -> None:
    """Whoever knows only Python's own errors catches the right ones."""
    assert issubclass(kind, builtin)
