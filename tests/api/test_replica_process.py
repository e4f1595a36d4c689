"""What is asked of a replica's process: all of it is answered, in time, whatever it is and whatever comes of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import mu
from mu import fabric
from mu.testing import LocalCluster
from mu.testing.replica_process import Host
from tests.support.processes import is_gone

value = attrgetter("value")
PATIENCE = 30.0


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A cluster of one."""
    with LocalCluster(1, mu.Counter, timeout_ms=5000) as cluster:
        cluster.settle(PATIENCE)
        yield cluster


class Awaited(Future[bytes]):
    """An answer that is there; it knows for how long somebody would have waited."""

    def __init__(self, told: list[float]) -> None:
        super().__init__()
        self._told = told
        self.set_result(b"1")

    def result(self, timeout: float | None = None) -> bytes:
        """The answer."""
        self._told.append(timeout or 0.0)
        return super().result(timeout)


def test_a_command_has_all_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the replica nor who waits for it gives up a command of the leader's before its timeout is over."""
    cluster, waited, asked = LocalCluster(1), list[float](), list[tuple[Any, ...]]()

    def ask(_: int, *request: Any) -> Future[bytes]:
        asked.append(request)
        return Awaited(waited)

    monkeypatch.setattr(cluster, "_ask", ask)
    monkeypatch.setattr(cluster, "leader", lambda _: 1)
    cluster.execute(b"+1", timeout=3600)
    cluster.session().execute(b"+1", timeout=3600)
    assert min(waited) > 3600
    assert [request for request in asked if not any(isinstance(each, float) and each > 3500 for each in request)] == []


@pytest.mark.parametrize(("role", "time"), [("leader", 60.0), ("follower", 5.0)])
def test_who_does_not_lead_answers_soon(role: str, time: float) -> None:
    """A replica that was taken for the leader, and waits to be one again, does not keep a command from the next one."""
    replica = Mock(spec=mu.Replica, status=lambda: mu.Status(replica_id=1, role=role))
    Host(replica).lead("execute", b"+1", 60.0, 5.0)
    replica.execute.assert_called_once_with(b"+1", time)


def test_what_the_process_cannot_import_is_told(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of `__main__` is the caller's mistake, and is told so: the replica goes on."""

    def look(machine: mu.Counter) -> int:
        return machine.value

    look.__module__, look.__qualname__ = "__main__", "look"
    monkeypatch.setattr(sys.modules["__main__"], "look", look, raising=False)
    with pytest.raises(mu.ConfigError, match="a module that both processes can import"):
        cluster.look(look, 1)
    with pytest.raises(mu.ConfigError, match="a module that both processes can import"):
        cluster.look(lambda machine: machine.value, 1)
    assert cluster.look(value, 1) == 0


SHADOWED = """
import os, sys, mu
os.chdir(sys.argv[1])
sys.path.append("")
with mu.LocalCluster(1, "select_a_machine:Machine") as cluster:
    print(cluster.execute(b"+1", timeout=60).decode())
"""


def test_only_the_programs_own_modules_come_from_its_directory(tmp_path: Path) -> None:
    """A file called like a module of the standard library's takes no part; a state machine beside it is found."""
    (tmp_path / "select.py").write_text("raise SystemExit('this is not the select that Python means')")
    (tmp_path / "select_a_machine.py").write_text("from mu import Counter as Machine")
    program = [sys.executable, "-P", "-c", SHADOWED, str(tmp_path)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.returncode) == ("1\n", 0), ended.stderr


def refuse() -> None:
    raise ArithmeticError("not here")


class Refusing:
    """Can be pickled, and not be unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """What pickle asks for."""
        return refuse, ()


def refusing(_: mu.Replica) -> Refusing:
    """Runs inside of a replica's process."""
    return Refusing()


def leave(_: mu.Replica) -> None:
    """So does this."""
    raise SystemExit("in the middle")


def lock(_: mu.Replica) -> object:
    """And this, whose result cannot be pickled."""
    return threading.Lock()


@pytest.mark.parametrize(
    ("function", "said"),
    [(refusing, "cannot be read here: ArithmeticError: not here"), (leave, "SystemExit"), (lock, "cannot be sent")],
)
def test_a_result_that_cannot_travel_is_told(
    cluster: LocalCluster, function: Callable[[mu.Replica], object], said: str
) -> None:
    """Whatever a function returns or raises, its caller hears of it, and the next one is answered."""
    with pytest.raises(mu.MuError, match=said):
        cluster.run(1, function)
    assert cluster.status(1).replica_id == 1


STUCK = """
import threading, sys, mu
from tests.api.test_replica_process import stay
with mu.LocalCluster(1, "mu:Counter") as cluster:
    threading.Thread(target=cluster.run, args=(1, stay), daemon=True).start()
    cluster.wait(lambda: "it stays" in cluster.log(1), 30, "Nothing was called")
    print(cluster.pids[1], flush=True)
    sys.stdin.read()
"""


def stay(_: mu.Replica) -> None:
    """Never comes back."""
    sys.stdout.write("it stays\n")
    sys.stdout.flush()
    threading.Event().wait()


def test_a_call_that_never_ends_keeps_no_process(repository: Path) -> None:
    """Whatever a replica's process is doing, it ends with its parent."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=repository,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert is_gone(pid)
    fabric.clean_private()


def test_many_calls_that_never_end_deafen_nobody(cluster: LocalCluster) -> None:
    """A replica that works on many things at a time answers the next question."""
    for _ in range(20):
        cluster._ask(1, "run", stay, ())
    cluster.wait(lambda: cluster.log(1).count("it stays") == 20, PATIENCE, "Some were not called")
    assert cluster.status(1).replica_id == 1


def test_a_stopped_replica_holds_up_nobody_who_asks_it(cluster: LocalCluster) -> None:
    """A request larger than what the system keeps for one who does not read ends in time, and so does the next."""
    cluster.stop(1)
    with pytest.raises(mu.Indeterminate, match="did not answer"):
        cluster.run(1, attrgetter("replica_id"), bytes(10_000_000), timeout=0)
    with pytest.raises(mu.Indeterminate, match="did not answer"):
        cluster.run(1, attrgetter("replica_id"), timeout=0)
