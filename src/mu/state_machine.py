"""What is replicated: any deterministic program that looks like `StateMachine`.

Every replica applies the same commands in the same order, so they stay equal as long as the program reads nothing
but its state and the command: no clock, no random numbers, no order of a set, no file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

from mu.errors import ConfigError


@runtime_checkable
class StateMachine(Protocol):
    """A deterministic program. Mu calls these methods one at a time, from threads of its own or that of a caller.

    In the main thread a signal whose handler raises (Ctrl-C) is put off until the call that applies commands has
    ended; one that comes a second later is not, nor one whose handler was set only milliseconds ago: then, as when
    `apply` raises what is no Exception, this replica stops, and says so in the log.

    So it does when a RecursionError or a MemoryError leaves `apply`: how deep the stack and how large the memory is
    differs between replicas, and others may have applied the command. A command that could nest without end or take
    any amount of memory stops every replica alike: have `apply` check such limits itself, and raise another exception.

    While a method or a read's function runs, its replica does nothing else. If that takes longer than the tuning's
    `stuck_limit` (100 ms; 2 ms with dedicated cores), the others take a leader for dead, and another one leads: its
    callers are told `Indeterminate`. A snapshot may take its time.
    """

    def apply(self, command: bytes) -> bytes:
        """Executes a decided command and returns its reply; None is an empty one.

        Called once per command, in log order, on every replica. An exception becomes `CommandFailed` at the
        caller; the state must then be as before, on every replica alike.
        """
        ...

    def snapshot(self) -> bytes:
        """The whole state as bytes, for a replica that starts with empty memory or was left far behind.

        Any replica may be asked for it, mostly the leader, and none executes anything meanwhile. An exception, or what
        is not bytes (None, say), is logged (logger `mu`), and the replica that waits for a snapshot stays out until a
        later one succeeds.
        """
        ...

    def restore(self, snapshot: bytes) -> None:
        """Replaces the whole state by one that `snapshot` returned, maybe on another machine.

        An exception ends this replica, whose state nobody knows then; the others go on.
        """
        ...


class Counter:
    """The smallest useful state machine: `+3`, `-1`, and a reply with the new value.

    Example:
        >>> counter = Counter()
        >>> counter.apply(b"+2")
        b'2'
    """

    def __init__(self) -> None:
        self.value = 0

    def apply(self, command: bytes) -> bytes:
        """Adds the number that the command spells, and replies with the sum. An empty command only replies."""
        self.value += int(command or b"0")
        return b"%d" % self.value

    def snapshot(self) -> bytes:
        """The value, spelled out."""
        return b"%d" % self.value

    def restore(self, snapshot: bytes) -> None:
        """Takes over a value."""
        self.value = int(snapshot)


def state_machine_named(spec: str) -> StateMachine:
    """Makes the state machine that `module:factory` names (a class, or a function without arguments).

    Raises:
        ConfigError: there is no such thing, or what it makes is no StateMachine.
    """
    module_name, colon, path = spec.partition(":")
    if not colon or not path or not module_name:
        raise ConfigError(f"state machine: {spec!r} should be module:Class, as in mu:Counter.")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"state machine: {spec!r} cannot be found: {error}.") from None
    except (Exception, SystemExit) as error:
        raise ConfigError(f"state machine: {spec!r} cannot be imported: {_told(error)}.") from error
    if not callable(found):
        raise ConfigError(f"state machine: {spec!r} is a {type(found).__name__}, which cannot be called to make one.")
    try:
        machine = found()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"state machine: {spec!r} makes none: {_told(error)}.") from error
    return require_state_machine(machine)


def require_state_machine(machine: object) -> StateMachine:
    """Returns what looks like a state machine.

    Raises:
        ConfigError: it lacks a method, or is a class where one of its objects belongs.
    """
    if isinstance(machine, type):
        raise ConfigError(f"state machine: the class {machine.__name__} was given; give an instance of it.")
    missing = [each for each in ("apply", "snapshot", "restore") if not callable(getattr(machine, each, None))]
    if missing:
        raise ConfigError(f"state machine: {type(machine).__name__} has no {', '.join(missing)}.")
    return cast(StateMachine, machine)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def name_of_state_machine(factory: Callable[[], StateMachine] | str | None) -> str | None:
    """The `module:factory` of something that another process can import; None stays None.

    Raises:
        ConfigError: another process cannot import it (a lambda, a local class, a name of `__main__`).
    """
    if factory is None or isinstance(factory, str):
        return factory
    module, path = getattr(factory, "__module__", None), getattr(factory, "__qualname__", "<")
    if not module or module == "__main__" or "<" in path:
        raise ConfigError(
            f"state machine: replica processes cannot import {factory!r}; define it at the top of a module"
            " that can be imported."
        )
    return f"{module}:{path}"
