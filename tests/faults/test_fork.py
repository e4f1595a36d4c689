"""A child of fork() that calls its parent's replica, or ends what its parent uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The child may hang or crash: it is given time, and its end is told.
PROGRAM = """
import asyncio, os, signal, sys, threading
import mu
replicas = [
    mu.Replica.open(replicas=(1, 2, 3), replica_id=each, directory=sys.argv[1], state_machine=mu.Counter())
    for each in (1, 2, 3)
]
replica = replicas[0]
replica.wait_until_leader(30)
asyncio.run(replica.aexecute(b"1", 30))
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
    "from asyncio": 'asyncio.run(replica.aexecute(b"10", 10))',
    "a session from asyncio": 'asyncio.run(session.aexecute(b"10", 10))',
    "for a session": "replica.session()",
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


# What waits for the plane lies on stacks that the child gives back, all but what the C library keeps of them (40 MB).
QUEUED = """
import os, signal, sys, threading, time
import mu
replica = mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], state_machine=mu.Counter())
replica.wait_until_leader(30)
held, let_go, calling = threading.Event(), threading.Event(), []
def hold():
    held.set()
    let_go.wait()
def call():
    calling.append(None)
    replica.execute(b"1", 30)
threading.stack_size(16 << 20)
threads = [threading.Thread(target=replica.read, args=(hold, 30))]
threads[0].start()
held.wait()
sys.setswitchinterval(100)  # so that a caller that has begun lets go of the GIL only once it is in the core
threads += [threading.Thread(target=call) for _ in range(20)]
for each in threads[1:]:
    each.start()
while len(calling) < 20:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    signal.alarm(20)
    for _ in range(5):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    try:
        replica.execute(b"10", 10)
    except mu.Closed:
        os._exit(7)
    os._exit(9)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
let_go.set()
for each in threads:
    each.join()
print(ended, replica.execute(b"0", 30))
"""


def test_a_child_of_fork_touches_no_request_of_its_parents_threads(tmp_path: Path) -> None:
    """Commands that waited in the parent when it forked are the parent's: it executes them, the child forgets them."""
    done = subprocess.run(
        [sys.executable, "-c", QUEUED, str(tmp_path)], timeout=60, check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.split() == ["7", "b'20'"]


# A call that nobody waits for any more is being applied when the process forks.
SENDING = """
import asyncio, os, signal, sys, threading
import mu
class Gate(mu.Counter):
    entered, opened = threading.Event(), threading.Event()
    def apply(self, command):
        self.entered.set()
        self.opened.wait()
        return super().apply(command)
replica = mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], state_machine=Gate())
replica.wait_until_leader(30)
session = replica.session()
async def given_up():
    sending = asyncio.ensure_future(session.aexecute(b"1", 30))
    await asyncio.to_thread(Gate.entered.wait)
    sending.cancel()
    await asyncio.wait([sending])
asyncio.run(given_up())
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        session.retry(10)
    except mu.Closed as error:
        os._exit(7 if "child of fork" in str(error) else 8)
    os._exit(9)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
Gate.opened.set()
print(ended, session.retry(30))
"""


def test_a_child_of_fork_does_not_wait_for_a_request_that_its_parent_sends(tmp_path: Path) -> None:
    """The session's locks may be held by a thread that the child lacks: it raises Closed, and the parent's goes on."""
    command = [sys.executable, "-c", SENDING, str(tmp_path)]
    done = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["7", "b'1'"]


# The machine of one replica forks inside apply: in the leader's caller's thread, or in a thread of Mu's.
INSIDE = """
import contextlib, os, signal, sys, threading
import mu

class Forks(mu.Counter):
    in_main, ended = None, None
    def apply(self, command):
        here = threading.current_thread() is threading.main_thread()
        if here == self.in_main and self.ended is None:
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                {inside}
            else:
                self.ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return super().apply(command)

def told(error):
    return 7 if "child of fork" in str(error) else 8

machines = [Forks() for _ in range(3)]
replicas = [
    mu.Replica.open(
        replicas=(1, 2, 3), replica_id=each, directory=sys.argv[1], state_machine=machines[each - 1],
        tuning={{"stuck_limit": 60 * 10**9}},
    )
    for each in (1, 2, 3)
]
replica, parent = replicas[0], os.getpid()
replica.wait_until_leader(30)
machine = machines[{machine}]
machine.in_main = {in_main}
while machine.ended is None:
    try:
        with contextlib.suppress(mu.Indeterminate, mu.NotProposed):  # another one leads for a moment
            replica.execute(b"1", 30)
    except mu.Closed as error:
        if os.getpid() != parent:
            os._exit(told(error))
    if os.getpid() != parent:
        os._exit(9)
print(machine.ended, [each.status().failure for each in replicas])
"""

CALL_INSIDE = """
                try:
                    replica.execute(b"1", 10)
                except mu.Closed as error:
                    os._exit(told(error))
                except RuntimeError:
                    os._exit(6)
                os._exit(9)
"""
FORKS = {
    "and goes back to its caller": ("pass", 0, True, "7"),
    "and calls the replica there": (CALL_INSIDE.strip(), 0, True, "7"),
    "in a thread of Mu's": ("pass", 1, False, "0"),
}


@pytest.mark.parametrize("where", FORKS)
def test_a_child_that_was_forked_inside_apply_is_told_or_ends(tmp_path: Path, where: str) -> None:
    """It neither hangs nor crashes, and touches nothing of its parent's, which goes on."""
    inside, machine, in_main, ended = FORKS[where]
    program = INSIDE.format(inside=inside, machine=machine, in_main=in_main)
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == f"{ended} ['', '', '']\n"


# The child leaves the block as the parent does later, and runs what is registered for the end.
LEAVING = """
import contextlib, os, signal, socket, sys
from pathlib import Path
import mu
import redis
from mu.apps.redis.local import LocalRedis, free_ports
from mu.apps.redis.options import Address
from mu.apps.redis.server import RedisServer
from mu.private_directory import PrivateDirectory
from mu.registry import Registry
def ask(address):
    with socket.create_connection(address.split(":"), 10) as connection:
        connection.sendall(b"version\\r\\n")
        return connection.recv(100)
def free_address():
    return Address("127.0.0.1", free_ports(1)[0])
def heeds(replica, pipe):
    for letter, pauses in [("p", True), ("c", False)] * pipe.is_fifo():
        pipe.write_text(letter)
        while replica.status().paused != pauses:
            pass
    return pipe.is_fifo()
with contextlib.ExitStack() as stack:
    mine = stack.enter_context({made})
    {used}
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), {used})
"""

REPLICA = "mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], fifo=sys.argv[1] + '/pipe')"
LEFT = {
    "a replica": (REPLICA, "not mine.wait_until_leader(30)"),
    "a replica's pipe": (REPLICA, "heeds(mine, Path(sys.argv[1], 'pipe'))"),
    "a cluster": ("mu.LocalCluster(1)", 'mine.execute(b"1", timeout=30) != b""'),
    "a cluster's load": ("stack.enter_context(mu.LocalCluster(1, None)).load()", "mine.report(1).error == ''"),
    "a directory": ("PrivateDirectory('test')", "mine.path.exists()"),
    "a registry": ("Registry(port=0)", "ask(mine.address).startswith(b'VERSION')"),
    "servers": ("LocalRedis(1)", "mine.client(mine.leader(60)).set('key', 1)"),
    "a server": (
        "RedisServer(mu.Cluster(replicas=(1,), directory=sys.argv[1]), 1, addresses={1: free_address()})",
        "redis.Redis(port=mine.address.port).info('server')['tcp_port'] == mine.address.port",
    ),
}


@pytest.mark.parametrize("what", LEFT)
def test_a_child_of_fork_that_leaves_a_block_ends_nothing_of_its_parents(tmp_path: Path, what: str) -> None:
    """What the parent has opened for a block serves it on after a child has left that block, and has ended in order."""
    made, used = LEFT[what]
    command = [sys.executable, "-c", LEAVING.format(made=made, used=used), str(tmp_path)]
    done = subprocess.run(command, timeout=120, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["0", "True"]


CALLING = """
import os, signal
import mu
with mu.LocalCluster(1, mu.Counter) as cluster:
    cluster.execute(b"1", timeout=30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            {call}
        except mu.Closed as error:
            os._exit(7 if "child of fork" in str(error) else 8)
        os._exit(9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), cluster.execute(b"1", timeout=30))
"""


@pytest.mark.parametrize(
    "call",
    ['cluster.execute(b"10")', "cluster.leader()", "cluster.kill(1)", "cluster.restart(1)", "cluster.load()"],
)
def test_a_child_of_fork_is_told_that_it_has_no_cluster(call: str) -> None:
    """Calls of a LocalCluster raise Closed, and say why; the parent's replicas are neither asked nor ended."""
    command = [sys.executable, "-c", CALLING.format(call=call)]
    done = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["7", "b'2'"]
