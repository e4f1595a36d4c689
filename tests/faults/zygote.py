"""Replicas as forks of one process that has Python and Mu loaded: up in a millisecond, killed at any moment of it.

`python -m tests.faults.zygote` forks on command (a line of JSON on its standard input) and prints each child's pid.
Invariant: its children end when it does.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Final, NoReturn

import mu
from tests.faults.clusters import PATIENCE
from tests.faults.witness import Witness

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Fork:
    """A replica in a process of its own. The parent is the zygote."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = os.pidfd_open(pid)

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL, unless it ends before that; returns whether it was killed. Waits for its end."""
        ended = self._ended(seconds)
        if not ended:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
            assert self._ended(PATIENCE), "a killed process does not end"
        os.close(self._process)
        return not ended

    def _ended(self, seconds: float) -> bool:
        return bool(select.select([self._process], [], [], seconds)[0])


class Zygote:
    """The process that forks. A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))},
        )

    def fork(self, cluster: mu.Cluster, replica_id: int, *, close: bool = False) -> Fork:
        """Begins to open a replica in a new process, which then lives on, or closes it at once and ends."""
        return self._ask({"cluster": dataclasses.asdict(cluster), "replica_id": replica_id, "close": close})

    def _ask(self, request: dict[str, Any]) -> Fork:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Fork(int(self._process.stdout.readline()))

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _in_child(parent: int, cluster: mu.Cluster, replica_id: int, close: bool) -> NoReturn:
    """Never comes back to the zygote's loop. Errors go to standard error."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            with mu.Replica.open(cluster, replica_id=replica_id, state_machine=Witness()):
                if not close:
                    threading.Event().wait()
    except BaseException:  # noqa: BLE001  # it ends here, whatever it was
        traceback.print_exc()
    os._exit(0)


def main() -> None:
    """Forks for each line. The dead are buried only when the next one is asked for: until then their pid is theirs."""
    zygote = os.getpid()
    for line in sys.stdin:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        request = json.loads(line)
        cluster = mu.Cluster(**request["cluster"])
        pid = os.fork()
        if pid == 0:
            _in_child(zygote, cluster, request["replica_id"], request["close"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
