"""One redis-server under the log, as a process.

Its directory is made anew at each start, since redis's own files say nothing: what a server holds is what was decided,
and that it gets from the others. Invariant: when `close()` has returned, the process has ended and its directory is
gone; and a server whose parent has died ends by itself.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from mu import fabric
from mu.apps.redis.options import (
    FOLLOWER_READS,
    HUNG_AFTER,
    LONGEST_HUNG,
    NEEDED,
    Address,
    default_addresses,
    login_options,
    module_arguments,
    module_path,
    option_of,
    refuse_options,
)
from mu.cluster import Cluster
from mu.errors import CannotStart, ConfigError
from mu.fifo import Fifo
from mu.forks import Owner
from mu.private_directory import PrivateDirectory

SERVER: Final = "redis-server"
START_TIMEOUT: Final = 60.0  # seconds for a server to listen, on a busy (or emulated) machine
STOP_TIMEOUT: Final = 10.0  # seconds for a server to end by itself, before it is killed
TERM_AGAIN: Final = 0.25  # seconds
WORDS_KEPT: Final = 40  # lines of redis's log, for the message when it does not start
OURS: Final = re.compile(r"[*#.-] <(?:mu|module)> (?P<text>.*)$")
READY: Final = re.compile(r"Ready to accept connections")


def _executable(module: Path, directory: Path) -> Path:
    """Redis loads only what may be executed; installers of wheels do not keep that."""
    if os.access(module, os.X_OK):
        return module
    copied = directory / module.name
    shutil.copyfile(module, copied)
    copied.chmod(0o700)
    return copied


class RedisServer:
    """A redis-server that replicates by Mu. A context manager.

    Args:
        cluster: whose replica it is; `commit_idle_us` 0 leaves the last command to the next one.
        replica_id: which of its replicas.
        addresses: where the redis of each replica listens; None: all here, on ports from 6379 on.
        options: further options of redis's, as on its command line.
        binary: the server's program: Redis from 7.0 on, or Valkey from 8 on.
        bind: the addresses to listen on; "": the host of its own address.
        follower_reads: "refuse": followers answer no reads, so that nobody reads the past by mistake; "stale": they
            answer from what they have.
        hung_after: seconds that a leader's redis may spend in one command before another one leads; 0: any number.
        dump: where `kill -USR1` writes replication latencies to.
        log: a file to which redis's log is appended; None: it is kept nowhere.
        on_message: called with what Mu says in redis's log, from a thread.
        inherits: descriptors for the process to hold, beside that of its own directory.
    """

    def __init__(
        self,
        cluster: Cluster,
        replica_id: int,
        *,
        addresses: Mapping[int, Address] | None = None,
        options: Sequence[str] = (),
        binary: str = SERVER,
        bind: str = "",
        follower_reads: str = "refuse",
        hung_after: float = HUNG_AFTER,
        dump: Path | None = None,
        log: Path | None = None,
        on_message: Callable[[str], None] | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        if follower_reads not in FOLLOWER_READS:
            raise ConfigError(f"follower_reads: {follower_reads!r} is not one of {', '.join(FOLLOWER_READS)}.")
        if not 0 <= hung_after <= LONGEST_HUNG:
            raise ConfigError(f"hung_after: {hung_after!r} is not from 0 to {LONGEST_HUNG} seconds.")
        refuse_options(options)
        self.cluster = cluster
        self.replica_id = cluster.require_member(replica_id)
        self.addresses = dict(default_addresses(cluster) if addresses is None else addresses)
        self._options = [*options]
        self._binary = binary
        self._bind = bind
        self._stale_reads = "yes" if follower_reads == "stale" else "no"
        self._hung_after_ms = round(hung_after * 1000)
        self._dump = dump
        self._log = log
        self._on_message = on_message
        self._inherits = [*inherits]
        self._owner = Owner()
        self._process: subprocess.Popen[str] | None = None
        self._directory: PrivateDirectory | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()  # it listens, or has ended
        self._listens = False
        self._fifo: Fifo | None = None
        self._words: deque[str] = deque(maxlen=WORDS_KEPT)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self.addresses[self.replica_id]

    @property
    def pid(self) -> int:
        """The process id of redis-server; 0 while it does not run."""
        return self._process.pid if self.runs and self._process is not None else 0

    @property
    def runs(self) -> bool:
        """Whether the process lives; a child of fork() has none, whatever its parent has."""
        return self._owner.is_here and self._process is not None and self._process.poll() is None

    def command_line(self, directory: Path) -> list[str]:
        """What is executed."""
        more: dict[str, object] = {
            "stale_reads": self._stale_reads,
            "hung_after_ms": self._hung_after_ms,
            "parent": os.getpid(),
            "own_login": "yes" if option_of(self._options, "masterauth") else "no",
        }
        if self._dump is not None:
            more["dump"] = self._dump.resolve()
        needed = {
            "port": str(self.address.port),
            "bind": self._bind or self.address.host,
            "dir": str(directory),
            **NEEDED,
            **login_options(self._options),
        }
        module = _executable(module_path(), directory)
        arguments = module_arguments(self.cluster, self.replica_id, self.addresses, more)
        flags = [part for name, value in needed.items() for part in (f"--{name}", value)]
        return [self._binary, *self._options, *flags, "--loadmodule", str(module), *arguments]

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Starts the process and waits until it listens.

        Raises:
            CannotStart: the program is missing, or ended; says what it said.
        """
        if shutil.which(self._binary) is None:
            raise CannotStart(
                f"There is no program {self._binary!r}. Install redis-server (7.0 or later), or name one."
            )
        self._owner = Owner()
        self._directory = PrivateDirectory(f"redis-{self.replica_id}")
        self._ready.clear()
        self._listens = False
        self._words.clear()
        command = self.command_line(self._directory.path)
        if self.cluster.fifo:
            pause = functools.partial(fabric.pause, self.cluster, self.replica_id)
            resume = functools.partial(fabric.resume, self.cluster, self.replica_id)
            self._fifo = Fifo(self.cluster.fifo.replace("{id}", str(self.replica_id)), pause, resume)
        # A session of its own: Ctrl-C is for the parent, which then ends it in order. And redis forks, after which
        # an older kernel gives it other pages than those that its RDMA device uses, unless libibverbs is told.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=[self._directory.descriptor, *self._inherits],
            env={"RDMAV_FORK_SAFE": "1", **os.environ},
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        self._ready.wait(timeout)
        if not self._listens or not self.runs:
            said = "\n".join(self._words)
            self.close()
            raise CannotStart(f"redis-server of replica {self.replica_id} did not start; it said:\n{said}")

    def _read(self, stream: IO[str]) -> None:
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("a", encoding="utf-8")) if self._log is not None else None
            for line in stream:
                self._words.append(line.rstrip())
                if log is not None:
                    log.write(line)
                    log.flush()
                if READY.search(line):
                    self._listens = True
                    self._ready.set()
                if self._on_message is not None and (ours := OURS.search(line)):
                    self._on_message(ours["text"])
        self._ready.set()  # it has ended: nobody need wait for it

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to redis-server, if it runs."""
        if self.runs and self._process is not None:
            self._process.send_signal(number)

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits until the process has ended; its exit status, None if it has not."""
        try:
            return self._process.wait(timeout) if self._process is not None else 0
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """SIGKILL: the process is gone, with its memory."""
        self._owner.require("server")
        self.signal(signal.SIGKILL)
        self._bury()

    def close(self) -> None:
        """Ends the process in order, or by force if it does not end; the parent's, in a child of fork(), goes on."""
        if not self._owner.is_here:
            return
        self.signal(signal.SIGCONT)
        for _ in range(round(STOP_TIMEOUT / TERM_AGAIN)):
            self.signal(signal.SIGTERM)  # which redis forgets if it is writing down data that it has just taken
            if self.wait(TERM_AGAIN) is not None:
                break
        self.signal(signal.SIGKILL)
        self._bury()

    def _bury(self) -> None:
        if self._fifo is not None:
            self._fifo.close()
            self._fifo = None
        if self._process is not None:
            self._process.wait()
            if self._reader is not None:
                self._reader.join()
            if self._process.stdout is not None:
                self._process.stdout.close()
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
