"""Ctrl-C, and signals whose handlers raise, while the main thread applies commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mu

# Signals itself from inside apply, so that every run strikes there.
PROGRAM = """
import os, signal, sys
import mu

class Struck(mu.Counter):
    def apply(self, command):
        self.half = True
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass  # a handler runs between two steps of Python's
        self.half = False
        return super().apply(command)

def ends(*_):
    raise SystemExit("ended")

signal.signal(signal.SIGTERM, ends)
with mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], state_machine=Struck()) as replica:
    replica.wait_until_leader(30)
    struck = ""
    try:
        {call}
    except mu.Closed as error:
        struck = str(error)
    except BaseException as error:
        struck = type(error).__name__
    print(struck, replica.state_machine.half, replica.state_machine.value, replica.status().failure, sep="|")
"""

CALLS = {
    "execute": 'replica.execute(b"1", 30)',
    "a batch": 'replica.execute_many([b"1"], 30)',
    "a session": 'replica.session().execute(b"1", 30)',
    "propose, then read": 'replica.propose(b"1", 30); replica.read(int, 30)',
}


def run(directory: Path, call: str, name: str) -> list[str]:
    program = PROGRAM.format(call=CALLS[call], name=name)
    command = [sys.executable, "-c", program, str(directory)]
    return subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().split("|")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("name", "raised"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "SystemExit")])
def test_a_signal_inside_apply_comes_after_it(tmp_path: Path, call: str, name: str, raised: str) -> None:
    """What the handler raises is raised by the call, once the command is applied as a whole; the replica goes on."""
    assert run(tmp_path, call, name) == [raised, "False", "1", ""]


class Ends(mu.Counter):
    """A state machine that cannot end its command, for a reason that is not the command's."""

    def __init__(self, reason: type[BaseException]) -> None:
        super().__init__()
        self.reason = reason

    def apply(self, command: bytes) -> bytes:
        """Raises the reason, in the middle of the command."""
        raise self.reason(super().apply(command))


@pytest.mark.parametrize("reason", [SystemExit, RecursionError, MemoryError])
def test_a_replica_that_stops_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reason: type[BaseException]
) -> None:
    """What the others may not meet (an end, no stack, no memory) stops a replica, and is logged with its traceback."""
    machine = Ends(reason)
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=machine) as replica:
        replica.wait_until_leader(30)
        with pytest.raises(mu.Closed, match=reason.__name__):
            replica.execute(b"", 30)
    [told] = [each for each in caplog.records if "This replica stops" in each.message]
    assert told.exc_info
    assert told.exc_info[0] is reason


WAITS = """
import os, signal, sys, threading
import mu
with mu.Replica.open(replicas=(1, 2, 3), replica_id=1, directory=sys.argv[1], state_machine=mu.Counter()) as replica:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        replica.wait_until_leader(3600)
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_ends_waiting_for_leadership(tmp_path: Path) -> None:
    """Whoever waits for an hour to lead can be interrupted before it is over."""
    command = [sys.executable, "-c", WAITS, str(tmp_path)]
    assert subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True).stdout == "interrupted\n"


TICKS = """
import signal, sys, mu

class Tick(BaseException): ...
class Watched(mu.Counter):
    begun = 0
    def apply(self, command):
        self.begun += 1
        return super().apply(command)

hits, armed = 0, False
def tick(*_):
    global hits, armed
    if armed:
        hits, armed = hits + 1, False
        raise Tick
signal.signal(signal.SIGALRM, tick)

def calls():
    global armed
    armed = True
    while True:
        replica.execute(b"1", 30)
        replica.execute_many([b"1", b"1"], 30)
        replica.propose(b"1", 30)
        replica.read(int, 30)
        replica.status()

with mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], state_machine=Watched()) as replica:
    replica.wait_until_leader(30)
    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
    while hits < 3000:
        try:
            calls()
        except Tick:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(replica.state_machine.begun - replica.state_machine.value, replica.status().failure)
"""


def test_of_thousands_of_signals_none_strikes_inside_apply(tmp_path: Path) -> None:
    """Wherever in a call, or between calls, a handler raises: every command that was begun is applied as a whole."""
    command = [sys.executable, "-c", TICKS, str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=True, stdout=subprocess.PIPE, text=True).stdout.split() == ["0"]
