"""Handlers of signals beside a replica: new ones, raising ones, other programs', in threads, in children."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A replica whose state machine calls strike() in the middle of a command b"5".
BEGINNING = """
import asyncio, faulthandler, functools, gc, os, signal, sys, threading, time
import mu

TICK = 6  # CLOCK_MONOTONIC_COARSE, for which Python has no name

class Struck(mu.Counter):
    half = None
    def apply(self, command):
        self.half = True
        if command == b"5":
            if threading.current_thread() is not threading.main_thread():
                raise NotImplementedError("elsewhere")  # the replica's own thread was faster: no signal strikes there
            strike()
            for _ in range(1000):
                pass  # a handler runs between two steps of Python's
        self.half = False
        return super().apply(command)

def open_one():
    one = mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], state_machine=Struck())
    one.wait_until_leader(30)
    return one

def outcome(call, *arguments):
    while True:
        try:
            return call(*arguments)
        except BaseException as error:
            if "elsewhere" not in str(error):
                return type(error).__name__

def tick():
    began = time.clock_gettime(TICK)
    while time.clock_gettime(TICK) == began:
        pass

def kill(number):
    os.kill(os.getpid(), number)

def late(*_):
    raise TimeoutError("late")

def tell(*what):
    machine = replica.state_machine
    print(*what, machine.half, machine.value, "interrupted" in replica.status().failure, sep="|", flush=True)

replica = open_one()
"""


def run(directory: Path, program: str) -> list[str]:
    command = [sys.executable, "-c", BEGINNING + program, str(directory)]
    output = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True).stdout
    return output.strip().split("|")


@pytest.mark.parametrize("number", ["SIGALRM", "SIGUSR1", "SIGRTMIN"])
def test_handlers_are_found_though_they_come_after_the_replica(tmp_path: Path, number: str) -> None:
    """What any signal's handler raises comes after the command, though it was set when the replica was open already."""
    program = f"""
strike = lambda: kill(signal.{number})
signal.signal(signal.{number}, late)
tick()
tell(outcome(replica.execute, b"5", 30))
"""
    assert run(tmp_path, program) == ["TimeoutError", "False", "5", "False"]


def test_asyncio_takes_no_protection_away(tmp_path: Path) -> None:
    """asyncio.run sets a handler of Ctrl-C's and sets it back; one inside apply comes after the command even so."""
    program = """
strike = lambda: kill(signal.SIGINT)
asyncio.run(asyncio.sleep(0))
tick()
tell(outcome(replica.execute, b"5", 30))
"""
    assert run(tmp_path, program) == ["KeyboardInterrupt", "False", "5", "False"]


STRIKES_NEW = {
    "a function": "signal.signal(signal.SIGUSR1, late); kill(signal.SIGUSR1)",
    "a partial one": "signal.signal(signal.SIGUSR1, functools.partial(late)); kill(signal.SIGUSR1)",
    "in disguise": """signal.signal(signal.SIGUSR1, late)
    try:
        kill(signal.SIGUSR1)
    except TimeoutError:
        raise ValueError("of the command's") from None""",
}


@pytest.mark.parametrize("kind", STRIKES_NEW)
def test_a_handler_too_new_to_be_put_off_stops_the_replica(tmp_path: Path, kind: str) -> None:
    """Its exception is not taken for the command's failure, whatever the state machine makes of it."""
    program = f"""
def strike():
    {STRIKES_NEW[kind]}
tell(outcome(replica.execute, b"5", 30))
"""
    assert run(tmp_path, program) == ["Closed", "True", "0", "True"]


def test_a_failing_command_beside_a_new_handler_fails_alone(tmp_path: Path) -> None:
    """A handler that nobody called has nothing to do with it: the command failed, and the replica goes on."""
    program = """
def strike():
    signal.signal(signal.SIGUSR1, late)
    raise ValueError("of the command's")
print(outcome(replica.execute, b"5", 30), end="|")
tell(outcome(replica.execute, b"1", 30))
"""
    assert run(tmp_path, program) == ["CommandFailed", "b'1'", "False", "1", "False"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGALRM"])
def test_what_goes_through_a_second_later_is_no_failure_of_the_command(tmp_path: Path, number: str) -> None:
    """An apply that never ends can be interrupted: whatever kind of exception it is, the replica says so, and stops."""
    program = f"""
def strike():
    ends = time.monotonic() + 1.1
    kill(signal.{number})
    while time.monotonic() < ends:
        pass
    kill(signal.{number})
signal.signal(signal.SIGALRM, late)
tick()
tell(outcome(replica.execute, b"5", 30))
"""
    assert run(tmp_path, program) == ["Closed", "True", "0", "True"]


def test_patience_does_not_run_while_a_call_only_waits(tmp_path: Path) -> None:
    """Ctrl-C twice, more than a second apart, while somebody else reads: both come after the command."""
    program = """
reading = threading.Event()
def switches():
    with open(f"/proc/self/task/{os.getpid()}/status") as status:
        return int(status.read().split("voluntary_ctxt_switches:")[1].split()[0])
def hold():
    reading.set()
    before = switches()
    while switches() < before + 50:
        pass  # until the main thread naps again and again: it waits for this one
    ends = time.monotonic() + 1.2
    kill(signal.SIGINT)
    while time.monotonic() < ends:
        time.sleep(0.01)
    kill(signal.SIGINT)
threading.Thread(target=replica.read, args=(hold,)).start()
reading.wait()
tell(outcome(replica.execute, b"1", 30))
"""
    assert run(tmp_path, program) == ["KeyboardInterrupt", "False", "1", "False"]


def test_a_signal_beside_one_whose_handler_raises_is_not_lost(tmp_path: Path) -> None:
    """One handler raises at a call's beginning, and another signal came meanwhile: that one's handler runs, too."""
    program = """
came = []
def raising(*_):
    kill(signal.SIGTERM)
    raise TimeoutError
signal.signal(signal.SIGTERM, lambda *_: came.append("SIGTERM"))
signal.signal(signal.SIGALRM, raising)
tick()
strike = lambda: kill(signal.SIGALRM)
# From call to call without a step of Python's between, so that the second one begins with the first one's signal.
def both():
    return list(map(replica.native.execute, [b"5", b"1"], [30 * 10**9] * 2))
tell(outcome(both), *came)
"""
    assert run(tmp_path, program) == ["TimeoutError", "SIGTERM", "False", "5", "False"]


def test_a_thread_s_child_hears_its_signals(tmp_path: Path) -> None:
    """Forked by a thread while the main thread is in the middle of a command: nothing of that is left in the child."""
    program = """
replica.close()
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
replica = open_one()
tick()
applies, forked = threading.Event(), threading.Event()
def strike():
    applies.set()
    forked.wait()
def forks():
    applies.wait()
    child = os.fork()
    if child == 0:
        kill(signal.SIGTERM)
        for _ in range(1000):
            pass
        os._exit(1)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    forked.set()
ended = []
threading.Thread(target=forks).start()
tell(outcome(replica.execute, b"5", 30), *ended)
"""
    assert run(tmp_path, program) == ["b'5'", "7", "False", "5", "False"]


def test_another_program_s_handler_in_front_of_python_s_is_left_alone(tmp_path: Path) -> None:
    """Faulthandler passes signals on to what was there before: opening a second replica makes no circle of that."""
    program = """
replica.close()
signal.signal(signal.SIGTERM, lambda *_: print("once", end="|"))
replica = open_one()
replica.execute(b"1", 30)
faulthandler.register(signal.SIGTERM, chain=True, file=open(os.devnull, "w"))
replica.close()
replica = open_one()
tick()
replica.execute(b"1", 30)
kill(signal.SIGTERM)
tell("went on")
"""
    assert run(tmp_path, program) == ["once", "went on", "False", "1", "False"]


def test_a_program_may_wait_for_its_signals_itself(tmp_path: Path) -> None:
    """A signal that the program's threads block is left for sigwait: no thread of ours takes it."""
    program = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
replica.execute(b"1", 30)
sender = os.fork()
if sender == 0:
    os.kill(os.getppid(), signal.SIGTERM)
    os._exit(0)
os.waitpid(sender, 0)
tell(signal.sigwait({signal.SIGTERM}).name)
"""
    assert run(tmp_path, program) == ["SIGTERM", "False", "1", "False"]


def test_an_object_s_end_may_ask_a_replica_in_the_middle_of_its_status(tmp_path: Path) -> None:
    """Python may collect objects whenever others are made; what runs then may call status() as well."""
    program = """
class Asks:
    def __init__(self):
        self.me = self
    def __del__(self):
        asked.append(replica.native.status()["role"])
asked = []
replica.execute(b"1", 30)
status = replica.native.status
for threshold in range(1, 40):  # so that at some of them it is status() that makes one object too many
    gc.disable()
    gc.collect()
    Asks()
    gc.set_threshold(threshold)
    gc.enable()
    status()
gc.disable()
tell(set(asked) == {"leader"})
"""
    assert run(tmp_path, program) == ["True", "False", "1", "False"]
