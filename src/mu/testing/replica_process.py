"""A replica's process in a LocalCluster: `mu.testing.child` starts it, and calls `main`.

It does what the parent asks over the socket that it inherits, several things at a time, and ends when the parent
does: the socket's end says so, and the kernel then wakes it if it was stopped. Invariant: it never outlives its
parent, and leaves no segment behind unless it is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from mu.replica import Replica
from mu.state_machine import StateMachine, state_machine_named
from mu.testing.channel import Frames, pack_answer, portable, unpack_request
from mu.testing.load import Loader, LoadReport, LoadSpec

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
AT_ONCE: Final = 256  # requests, each of which may take as long as its caller waits, and longer
LAST_CHANCE: Final = 10  # seconds to close the replica when nobody is left who could end this process


class Host:
    """What a parent may ask of a replica: each public method is a request."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._loads: dict[str, Loader] = {}
        for name in (
            "execute",
            "execute_many",
            "propose",
            "propose_many",
            "status",
            "pause",
            "resume",
        ):
            setattr(self, name, getattr(replica, name))

    def session_execute(self, command: bytes, timeout: float, client: int, number: int) -> bytes:
        """One numbered request of one client."""
        return self._replica.session_execute(command, int(timeout * 1e9), client, number)

    def lead(self, method: str, argument: Any, timeout: float, attempt: float, *rest: Any) -> Any:
        """Another request, of one who takes this replica for the leader.

        One that was cut off waits to be reached again for as long as it is given; meanwhile another one may lead. So
        unless it leads it is given `attempt` seconds only, and turns away what it has not proposed by then.
        """
        if not self._replica.status().leads:
            timeout = min(timeout, attempt)
        return getattr(self, method)(argument, timeout, *rest)

    def read(self, function: Callable[[StateMachine | None], Any], timeout: float | None) -> Any:
        """A linearizable read of the state machine."""
        machine = self._replica.state_machine
        return self._replica.read(lambda: function(machine), timeout)

    def look(self, function: Callable[[StateMachine | None], Any]) -> Any:
        """The state machine as it is here and now: for a follower, some time ago."""
        return function(self._replica.state_machine)

    def run(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Calls a function with the replica, in its process."""
        return function(self._replica, *args)

    def start_load(self, path: str, spec: LoadSpec) -> None:
        """Begins to propose numbered commands whenever this replica leads."""
        self._loads[path] = Loader(self._replica, Path(path), spec)

    def stop_load(self, path: str) -> LoadReport:
        """Ends a load."""
        return self._loads.pop(path).stop()

    def report_load(self, path: str) -> LoadReport:
        """How a load is going."""
        return self._loads[path].report()

    def close(self) -> None:
        """Ends all loads and closes the replica."""
        for path in list(self._loads):
            self.stop_load(path)
        self._replica.close()


def serve(frames: Frames, host: Host) -> None:
    """Answers requests until the parent is gone."""

    def answer(number: int, data: bytearray) -> None:
        method = ""
        try:
            method, args = unpack_request(data)
            reply = pack_answer(method, True, getattr(host, method)(*args))
        except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to the asker
            reply = pack_answer(method, False, portable(error))
        with contextlib.suppress(OSError):  # nobody is left to hear it
            frames.send(number, reply)

    workers = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="mu-request")
    try:
        while True:
            workers.submit(answer, *frames.receive())
    except EOFError:
        # The kernel's clock ends what does not end by itself: an `apply`, say, or a function that was called.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LAST_CHANCE)
        host.close()
    workers.shutdown(wait=True, cancel_futures=True)


def end_with(parent: int) -> None:
    """Asks the kernel for a SIGCONT when the parent dies, so that a stopped process too sees the socket's end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("mu: the parent died before its replica's process began")


def main(descriptor: int, parent: int) -> None:
    """Brings the replica up as the first frame says, tells how that went, and serves."""
    end_with(parent)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    threading.current_thread().name = "mu-main"
    frames = Frames(socket.socket(fileno=descriptor))
    number, request = frames.receive()
    try:
        method, (cluster, replica_id, state_machine) = unpack_request(request)
        machine = None if state_machine is None else state_machine_named(state_machine)
        replica = Replica(cluster, replica_id, machine)
    except Exception as error:  # the parent raises it
        logging.getLogger("mu").exception("this replica cannot start")
        frames.send(number, pack_answer("open", False, portable(error)))
        return
    frames.send(number, pack_answer(method, True, os.getpid()))
    serve(frames, Host(replica))
