"""Bad arguments of the Python face, and calls that come too late: refused in words, with nothing proposed or started.

What a cluster's description can get wrong is in test_cluster.py, what a command line can in test_bad_commands.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import mu
from mu.state_machine import state_machine_named
from mu.testing import LoadSpec
from tests.api.fake_core import World

WAITS: dict[str, Callable[[mu.Replica, float], object]] = {
    "execute": lambda replica, timeout: replica.execute(b"+1", timeout),
    "execute_many": lambda replica, timeout: replica.execute_many([b"+1"], timeout),
    "propose": lambda replica, timeout: replica.propose(b"+1", timeout),
    "propose_many": lambda replica, timeout: replica.propose_many([b"+1"], timeout),
    "read": lambda replica, timeout: replica.read(int, timeout),
    "session": lambda replica, timeout: replica.session().execute(b"+1", timeout),
    "wait_for_leader": mu.Replica.wait_for_leader,
    "wait_until_leader": mu.Replica.wait_until_leader,
}
NO_TIMES = [-1, -1e-9, math.nan, math.inf, 1e300, "1"]


@pytest.mark.parametrize("call", WAITS)
@pytest.mark.parametrize("timeout", NO_TIMES)
def test_a_timeout_that_is_no_time_is_refused(replica: mu.Replica, world: World, call: str, timeout: float) -> None:
    """A negative, endless or misspelled timeout is a ConfigError that names it, and nothing is proposed."""
    with pytest.raises(mu.ConfigError, match="timeout: "):
        WAITS[call](replica, timeout)
    assert world.applied == []


@pytest.mark.parametrize("timeout", NO_TIMES)
def test_a_local_cluster_refuses_it_too(timeout: float) -> None:
    """Such a timeout reaches no process of a LocalCluster either."""
    with pytest.raises(mu.ConfigError, match="timeout: "):
        mu.LocalCluster(1).execute(b"+1", timeout=timeout)


@pytest.mark.parametrize("command", ["+1", None, 1])
def test_a_command_that_is_no_bytes_leaves_no_doubt(replica: mu.Replica, command: bytes) -> None:
    """A session refuses what cannot be sent, and takes the next request."""
    session = replica.session()
    with pytest.raises(TypeError, match="bytes"):
        session.execute(command)
    assert session.in_doubt is None
    assert session.execute(b"+1") == b"1"


def test_a_bad_timeout_leaves_no_doubt(replica: mu.Replica) -> None:
    """A session's request that was never sent, for its timeout, is not in doubt."""
    session = replica.session()
    with pytest.raises(mu.ConfigError):
        session.execute(b"+1", timeout=-1)
    assert session.in_doubt is None


@pytest.mark.parametrize("replica_id", ["1", 1.0, True, b"1"])
def test_an_id_that_is_no_number_is_refused(world: World, replica_id: int) -> None:
    """Only a whole number names a replica; what looks like one is told so."""
    with pytest.raises(mu.ConfigError, match=r"replica_id: .* whole number"):
        mu.Replica.open(mu.Cluster(), replica_id=replica_id)
    assert world.nodes == {}


class Deaf:
    """Lacks apply and restore."""

    def snapshot(self) -> bytes:
        """Nothing."""
        return b""


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (object(), "no apply, snapshot, restore"),
        (Deaf(), "no apply, restore"),
        (5, "int .* no apply, snapshot, restore"),
        (mu.Counter, r"class Counter.* instance"),
    ],
)
def test_what_is_no_state_machine_is_refused(world: World, machine: mu.StateMachine, said: str) -> None:
    """Who lacks a method, or gives a class where one of its objects belongs, learns it before anything starts."""
    with pytest.raises(mu.ConfigError, match=f"state machine: .*{said}"):
        mu.Replica.open(mu.Cluster(), replica_id=1, state_machine=machine)
    assert world.nodes == {}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that cannot be imported, and classes that cannot be made."""
    (tmp_path / "mu_test_raises.py").write_text("raise RuntimeError('boom')")
    (tmp_path / "mu_test_exits.py").write_text("raise SystemExit(3)")
    (tmp_path / "mu_test_syntax.py").write_text("x = = 1")
    (tmp_path / "mu_test_needs.py").write_text("class Needs:\n    def __init__(self, what): ...")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "should be module:Class"),
        (":Counter", "should be module:Class"),
        ("a:b:c", "cannot be found"),
        ("mu:Counter.", "cannot be found"),
        ("os:path", "cannot be called"),
        ("mu_test_raises:X", "RuntimeError: boom"),
        ("mu_test_exits:X", "SystemExit: 3"),
        ("mu_test_syntax:X", "SyntaxError"),
        ("mu_test_needs:Needs", "missing 1 required positional argument"),
    ],
)
def test_a_name_that_makes_no_state_machine_says_why(name: str, said: str) -> None:
    """Whatever goes wrong on the way from module:Class to an object is a ConfigError with the reason."""
    with pytest.raises(mu.ConfigError, match=f"state machine: .*{said}"):
        state_machine_named(name)


@pytest.mark.parametrize("n", ["3", 0, -1, 16, 1.5, True, None])
def test_a_local_cluster_has_a_number_of_replicas(n: int) -> None:
    """Neither a text nor a number out of bounds is so many replicas."""
    with pytest.raises(mu.ConfigError, match=r"n: .* whole number from 1 to 15"):
        mu.LocalCluster(n)


@pytest.mark.parametrize("size", [0, 15])
def test_a_load_of_commands_without_room_for_their_numbers_is_refused(size: int) -> None:
    """A load's commands carry 16 bytes of numbers; smaller ones are refused when it is described."""
    with pytest.raises(mu.ConfigError, match=f"size: {size} .* at least 16"):
        LoadSpec(size=size)


LATE: dict[str, Callable[[mu.Replica], object]] = {
    **{name: lambda replica, call=call: call(replica, 1) for name, call in WAITS.items()},  # type: ignore[misc]
    "make a session": mu.Replica.session,
    "status": mu.Replica.status,
    "pause": mu.Replica.pause,
    "resume": mu.Replica.resume,
}


@pytest.mark.parametrize("call", LATE)
def test_after_close_every_call_says_so(replica: mu.Replica, call: str) -> None:
    """A replica that was closed answers nothing any more: each call raises Closed."""
    replica.close()
    with pytest.raises(mu.Closed):
        LATE[call](replica)


def test_who_waits_at_a_replica_that_stopped_by_itself_is_told(replica: mu.Replica, world: World) -> None:
    """A replica that has halted will never know a leader: waiting for one ends at once, with the reason."""
    world.leader, world.failure = 0, "its restore failed"
    with pytest.raises(mu.Closed, match="stopped by itself: its restore failed"):
        replica.wait_for_leader(timeout=1e6)


def test_a_fifo_in_no_directory_is_refused(world: World, tmp_path: Path) -> None:
    """A pipe that cannot be made is a ConfigError with the reason, and the replica does not stay."""
    with pytest.raises(mu.ConfigError, match=r"fifo: .*nowhere/pipe cannot be made: No such file"):
        mu.Replica.open(mu.Cluster(fifo=str(tmp_path / "nowhere" / "pipe")), replica_id=1)
    assert world.nodes == {}


def test_a_fifo_that_is_a_link_to_nothing_is_refused(world: World, tmp_path: Path) -> None:
    """A dangling link is no pipe; it is left as it is, and the replica does not stay."""
    link = tmp_path / "pipe"
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(mu.ConfigError, match="is no pipe"):
        mu.Replica.open(mu.Cluster(fifo=str(link)), replica_id=1)
    assert world.nodes == {}
    assert link.is_symlink()


def test_a_fifo_that_cannot_be_opened_is_refused(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe of somebody else's that the system does not open is a ConfigError, and the replica does not stay."""
    pipe, opens = tmp_path / "pipe", os.open
    os.mkfifo(pipe)

    def refused(path: Path, *rest: int) -> int:
        if path == pipe:
            raise PermissionError(13, "Permission denied", str(path))
        return opens(path, *rest)

    monkeypatch.setattr("mu.fifo.os.open", refused)
    with pytest.raises(mu.ConfigError, match="cannot be opened: Permission denied"):
        mu.Replica.open(mu.Cluster(fifo=str(pipe)), replica_id=1)
    assert world.nodes == {}
