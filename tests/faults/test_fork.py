"""A child of fork() that calls its parent's replica."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The child may hang or crash: it is given time, and its end is told.
PROGRAM = """
import os, signal, sys, threading
import mu
replicas = [
    mu.Replica.open(replicas=(1, 2, 3), replica_id=each, directory=sys.argv[1], state_machine=mu.Counter())
    for each in (1, 2, 3)
]
replica = replicas[0]
replica.wait_until_leader(30)
replica.execute(b"1", 30)
session = replica.session()
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        {call}
    except mu.Closed as error:
        os._exit(7 if "child of fork" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), replica.execute(b"1", 30), replica.status().failure)
"""

CALLS = {
    "execute": 'replica.execute(b"10", 10)',
    "propose": 'replica.propose(b"10", 10)',
    "a batch": 'replica.execute_many([b"10"] * 100, 10)',
    "a session": 'session.execute(b"10", 10)',
    "a read": "replica.read(int, 10)",
    "to wait": "replica.wait_until_leader(10)",
    "its status": "replica.status()",
    "to pause": "replica.pause()",
    "after close": 'replica.close(); replica.execute(b"10", 10)',
}


@pytest.mark.parametrize("call", CALLS)
def test_a_child_of_fork_is_told_that_it_has_no_replica(tmp_path: Path, call: str) -> None:
    """Whatever it calls raises Closed, and says why; the parent goes on, and nothing was written in its name."""
    command = [sys.executable, "-c", PROGRAM.format(call=CALLS[call]), str(tmp_path)]
    done = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["7", "b'2'"]
