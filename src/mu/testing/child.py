"""One replica's process, seen from its parent: started, asked, signalled, buried."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from mu.errors import ReplicaDown
from mu.private_directory import PrivateDirectory
from mu.testing.channel import Requests

CLOSE_TIMEOUT: Final = 5.0  # seconds for an orderly end, then SIGKILL
LAST_WORDS: Final = 500  # characters
# Mu's own imports come first, and none of them from the program's directories (-P: nor from the one that is current),
# where a file may be called like a module of the standard library's. Then the program's own are found as it finds them.
BEGINNING: Final = """
import sys
descriptor, parent, *path = sys.argv[1:]
sys.path += path
from mu.testing.replica_process import main
sys.path[:] = path
main(int(descriptor), int(parent))
"""


class Child:
    """A process that runs `mu.testing.replica_process`, in a process group of its own: no Ctrl-C reaches it."""

    def __init__(self, replica_id: int, files: PrivateDirectory) -> None:
        self.replica_id = replica_id
        self.log = log = files.path / f"replica-{replica_id}.log"
        path = [str(Path(each).absolute()) for each in sys.path]  # "" is the current directory
        ours, theirs = socket.socketpair()
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", BEGINNING, str(theirs.fileno()), str(os.getpid()), *path],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno(), files.descriptor],
                process_group=0,  # not a session: Linux would give each its own share of the processors
            )
        self._requests = Requests(ours, f"replica {replica_id}", self.last_words)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process is there, stopped or not."""
        return self._process.poll() is None

    def ask(self, method: str, *args: Any) -> Future[Any]:
        """Sends a request to the process."""
        return self._requests.ask(method, *args)

    def signal(self, number: signal.Signals) -> int:
        """Sends a signal; returns the moment right before, in ns of CLOCK_MONOTONIC."""
        if not self.lives:  # also keeps us from signalling whoever got the number later
            raise ReplicaDown(f"Replica {self.replica_id} does not run")
        moment = time.monotonic_ns()
        os.kill(self._process.pid, number)
        return moment

    def wait_until_stopped(self) -> None:
        """Returns when the process really stands still, or is gone."""
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def hang_up(self) -> None:
        """Lets the process end by itself: it sees the end of the conversation. Does not wait."""
        if self.lives:
            os.kill(self._process.pid, signal.SIGCONT)
        self._requests.close()

    def bury(self) -> None:
        """Waits for the end of the process, and makes sure of it."""
        try:
            self._process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._requests.close()

    def last_words(self) -> str:
        """The last line that it logged."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1][-LAST_WORDS:].strip() if lines else ""
