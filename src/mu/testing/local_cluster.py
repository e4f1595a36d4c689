"""A cluster on this machine, each replica a process: for applications' own tests, demos and measurements.

The processes can be killed, stopped, continued and started again; commands find the leader by themselves. Invariant:
after `close()`, or an exception, or Ctrl-C, no process, segment or file of the cluster is left.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from mu import _core
from mu._timeout import nanoseconds
from mu.cluster import LARGEST_ID, Cluster, is_whole
from mu.errors import (
    Busy,
    ConfigError,
    Indeterminate,
    LogFull,
    MuError,
    NoLeader,
    NoMajority,
    NotLeader,
    ReplicaDown,
    TooLarge,
)
from mu.forks import Owner
from mu.private_directory import PrivateDirectory
from mu.registry import Registry
from mu.session import Session
from mu.state_machine import Counter, StateMachine, name_of_state_machine
from mu.status import Status
from mu.testing.child import Child
from mu.testing.load import Acknowledged, LoadReport, LoadSpec, create_record, read_record

T = TypeVar("T")

START_TIMEOUT: Final = 240.0  # seconds, for a Python process to start on a busy (or emulated) machine
ANSWER_GRACE: Final = 2.0  # seconds beyond a call's own timeout until a silent process counts as stuck
RETRY_PAUSE: Final = 0.001  # seconds between two tries while the leader changes
ATTEMPT: Final = 5.0  # seconds at a replica that does not lead, before it is asked again who does


class LocalCluster:
    """Replicas 1 … n as processes of this machine. A context manager.

    Timeouts are in seconds; None stands for the cluster's `timeout_ms`. Safe to use from several threads.

    Example:
        >>> with mu.LocalCluster(3, "mu:Counter") as cluster:  # doctest: +SKIP
        ...     cluster.execute(b"+1")
        ...     cluster.kill(cluster.leader())
        ...     cluster.execute(b"+1")
        b'2'
    """

    def __init__(
        self,
        n: int = 3,
        state_machine: Callable[[], StateMachine] | str | None = Counter,
        **options: Any,
    ) -> None:
        """Describes the cluster; `start` or `with` brings it up.

        Args:
            n: how many replicas.
            state_machine: a factory that the processes can import, or its "module:factory"; None: a native one
                that only counts commands.
            options: keys of Cluster. With fabric="verbs" and no registry it brings one of its own.

        Raises:
            ConfigError: something in the description is wrong.
        """
        if not is_whole(n) or not 1 <= n <= LARGEST_ID:
            raise ConfigError(f"n: {n!r} should be a whole number from 1 to {LARGEST_ID}.")
        self._state_machine = name_of_state_machine(state_machine)
        name = f"local-{os.getpid()}-{secrets.token_hex(4)}"
        self.cluster = Cluster(**{"name": name, "replicas": tuple(range(1, n + 1)), **options})
        self._owner = Owner()
        self._own_directory = "directory" not in options
        self._children: dict[int, Child] = {}
        self._stopped: set[int] = set()
        self._leader = 0
        self._loads = 0
        self._files: PrivateDirectory | None = None
        self._registry: Registry | None = None

    # --- Its life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all replicas and waits until each is up; errors of theirs are raised here."""
        if self._files is not None:
            raise ConfigError("This cluster runs already; close() it first, or make another one. Nothing was changed.")
        self._owner = Owner()
        self._files = PrivateDirectory("local", in_memory=True)
        self.cluster = self.cluster.anchored()
        if self._own_directory:
            self.cluster = Cluster.load(self.cluster, directory=str(self._files.path))
        if self.cluster.fabric == "verbs" and not self.cluster.registry:
            self._registry = Registry(port=0)
            self.cluster = Cluster.load(self.cluster, registry=self._registry.address)
        atexit.register(self.close)
        try:
            self._launch(self.cluster.replicas)
        except BaseException:
            self.close()
            raise

    def _launch(self, ids: Sequence[int]) -> None:
        assert self._files is not None
        started = []
        for replica_id in ids:
            child = Child(replica_id, self._files)
            up = child.ask("open", self.cluster, replica_id, self._state_machine)  # before anybody else can ask
            self._children[replica_id] = child
            started.append((child, up))
        for child, up in started:
            try:
                up.result(START_TIMEOUT)
            except FutureTimeout:
                raise MuError(f"Replica {child.replica_id} did not start in {START_TIMEOUT:g} s") from None
            except Indeterminate:
                raise MuError(
                    f"Replica {child.replica_id} ended while it started, having said: {child.last_words()}"
                ) from None

    def close(self) -> None:
        """Ends all processes and removes what is left of them; the parent's, in a child of fork(), go on."""
        if not self._owner.is_here:
            return
        atexit.unregister(self.close)
        for child in self._children.values():
            child.hang_up()
        for child in self._children.values():
            child.bury()
        self._children.clear()
        self._stopped.clear()
        if self._registry is not None:
            self._registry.close()
            self._registry = None
        if self._files is not None:
            _core.clean(self.cluster.directory, self.cluster.name)
            self._files.remove()
            self._files = None

    def __enter__(self) -> LocalCluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Faults -----------------------------------------------------------------------------------------------
    # Each returns the moment right before it struck, in ns of CLOCK_MONOTONIC.

    def kill(self, replica_id: int) -> int:
        """SIGKILL: the process is gone, with its memory."""
        child = self._child(replica_id)
        moment = child.signal(signal.SIGKILL)
        child.bury()
        self._stopped.discard(replica_id)
        self._leader = 0
        return moment

    def stop(self, replica_id: int) -> int:
        """SIGSTOP: the process stands still, between any two instructions, until `resume`."""
        child = self._child(replica_id)
        self._stopped.add(replica_id)
        self._leader = 0
        moment = child.signal(signal.SIGSTOP)
        child.wait_until_stopped()
        return moment

    def resume(self, replica_id: int) -> int:
        """SIGCONT: a stopped process goes on as if nothing had happened."""
        moment = self._child(replica_id).signal(signal.SIGCONT)
        self._stopped.discard(replica_id)
        return moment

    def restart(self, replica_id: int) -> None:
        """Starts a replica again, with empty memory; kills it before if it runs."""
        if replica_id in self.running:
            self.kill(replica_id)
        self.cluster.require_member(replica_id)
        self._launch([replica_id])

    def pause(self, replica_id: int) -> int:
        """Makes a replica stop its heartbeat: it works, but the others take it for dead."""
        moment = time.monotonic_ns()
        self._answer(replica_id, "pause")
        self._leader = 0
        return moment

    def unpause(self, replica_id: int) -> int:
        """Lets the heartbeat beat again."""
        moment = time.monotonic_ns()
        self._answer(replica_id, "resume")
        return moment

    # --- What is going on -------------------------------------------------------------------------------------

    @property
    def running(self) -> list[int]:
        """The replicas that have a process, stopped or not."""
        self._owner.require("cluster")
        return [each for each, child in sorted(self._children.items()) if child.lives]

    @property
    def pids(self) -> dict[int, int]:
        """The process of each running replica."""
        return {each: self._children[each].pid for each in self.running}

    def status(self, replica_id: int) -> Status:
        """A replica's status, from its own process."""
        status: Status = self._answer(replica_id, "status")
        return status

    def statuses(self, timeout: float = 0.5) -> dict[int, Status]:
        """The statuses of all replicas that answer in time."""
        asked = {}
        for each in self.running:
            if each not in self._stopped:
                with contextlib.suppress(MuError):  # it died between the two lines
                    asked[each] = self._ask(each, "status")
        found, deadline = {}, time.monotonic() + timeout
        for each, future in asked.items():
            try:
                found[each] = future.result(max(0.0, deadline - time.monotonic()))
            except (FutureTimeout, MuError):
                continue  # stuck, or died meanwhile
        return found

    def leader(self, timeout: float | None = 10.0) -> int:
        """The id of the leader, waiting until there is one. Raises NoLeader."""
        return self.wait(self._find_leader, timeout, "No replica led")

    def _find_leader(self) -> int:
        leaders = [(each.proposal, each.replica_id) for each in self.statuses().values() if each.leads]
        self._leader = max(leaders)[1] if leaders else 0  # one that was stopped may not know of its successor
        return self._leader

    def settle(self, timeout: float | None = 10.0) -> int:
        """Waits until all replicas that run are members, agree on a leader, and it writes to all; returns its id.

        Shortly after a start or a fault leadership may still move: the lowest id that may lead takes it. Raises
        NoLeader.
        """
        return self.wait(self._find_settled, timeout, "The replicas did not settle on a leader")

    def _find_settled(self) -> int:
        statuses = self.statuses()
        leader = self._find_leader()
        settled = (
            leader in statuses
            and all(each.admitted and each.leader == leader for each in statuses.values())
            and {*self.running} - self._stopped == statuses.keys()
            and statuses.keys() <= {leader, *statuses[leader].confirmed}
        )
        return leader if settled else 0

    def wait_until_admitted(self, replica_id: int, timeout: float | None = 10.0) -> None:
        """Waits until a replica that was started is a full member again. Raises NoLeader."""

        def admitted() -> bool:
            status = self.statuses().get(replica_id)
            return status is not None and status.admitted

        self.wait(admitted, timeout, f"Replica {replica_id} was not admitted")

    def wait(self, look: Callable[[], T], timeout: float | None, otherwise: str) -> T:
        """Calls `look` until it finds something. Raises NoLeader, with `otherwise`, after the timeout."""
        seconds = self._seconds(timeout)
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() >= deadline:
                raise NoLeader(f"{otherwise} within {seconds:g} s")
            time.sleep(RETRY_PAUSE)
        return found

    def log(self, replica_id: int) -> str:
        """What a replica's process has logged, over all of its lives."""
        child = self._children.get(self.cluster.require_member(replica_id))
        return child.log.read_text(errors="replace") if child is not None and child.log.exists() else ""

    # --- Commands ---------------------------------------------------------------------------------------------
    # At the leader, which is found again when it changes and nothing was proposed; or at the replica that is named.

    def execute(self, command: bytes, replica: int | None = None, timeout: float | None = None) -> bytes:
        """See Replica.execute."""
        reply: bytes = self._command("execute", command, replica, timeout)
        return reply

    def execute_many(
        self, commands: Sequence[bytes], replica: int | None = None, timeout: float | None = None
    ) -> list[bytes]:
        """See Replica.execute_many."""
        replies: list[bytes] = self._command("execute_many", commands, replica, timeout)
        return replies

    def propose(self, command: bytes, replica: int | None = None, timeout: float | None = None) -> int:
        """See Replica.propose."""
        offset: int = self._command("propose", command, replica, timeout)
        return offset

    def propose_many(self, commands: Sequence[bytes], replica: int | None = None, timeout: float | None = None) -> int:
        """See Replica.propose_many."""
        offset: int = self._command("propose_many", commands, replica, timeout)
        return offset

    def read(self, function: Callable[[Any], T], replica: int | None = None, timeout: float | None = None) -> T:
        """A linearizable read: `function`, which the process can import, of the state machine."""
        found: T = self._command("read", function, replica, timeout)
        return found

    def look(self, function: Callable[[Any], T], replica: int) -> T:
        """`function` of a replica's state machine as it is here and now: nothing is waited for."""
        found: T = self._answer(replica, "look", function)
        return found

    def run(self, replica: int, function: Callable[..., T], *args: Any, timeout: float | None = None) -> T:
        """Calls `function(replica, *args)`, which the process can import, in a replica's process."""
        found: T = self._result(replica, self._ask(replica, "run", function, args), timeout)
        return found

    def session(self, client: int | None = None) -> Session:
        """A session whose requests go to whoever leads."""
        return Session(self.session_execute, self.cluster.timeout_ms * 1_000_000, client, self.session_later)

    def session_execute(self, command: bytes, timeout_ns: int, client: int, number: int) -> bytes:
        """Executes one numbered request of one client at the leader: what a Session calls."""
        reply: bytes = self._at_leader("session_execute", timeout_ns / 1e9, command, client, number)
        return reply

    async def session_later(self, call: Callable[[], bytes]) -> bytes:
        """Makes a Session's call in a thread of asyncio's: those of different sessions at the same time."""
        return await asyncio.to_thread(call)

    def load(self, spec: LoadSpec | None = None, replicas: Sequence[int] | None = None) -> Load:
        """Numbered commands from inside the replicas named (None: all that run), while they lead.

        Raises:
            TooLarge: such a command would fit no slot.
        """
        spec = LoadSpec() if spec is None else spec
        if spec.size > (most := _core.max_command(self.cluster.log_bytes)):
            raise TooLarge(spec.size, most)
        return Load(self, spec, self.running if replicas is None else replicas)

    # --- Inside -----------------------------------------------------------------------------------------------

    def _command(self, method: str, argument: Any, replica: int | None, timeout: float | None) -> Any:
        seconds = self._seconds(timeout)
        if replica is None:
            return self._at_leader(method, seconds, argument)
        return self._result(replica, self._ask(replica, method, argument, seconds), seconds)

    def _at_leader(self, method: str, seconds: float, argument: Any, *rest: Any) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            replica = self._leader or self.leader(max(0.0, deadline - time.monotonic()))
            left = max(RETRY_PAUSE, deadline - time.monotonic())
            try:
                asked = self._ask(replica, "lead", method, argument, left, ATTEMPT, *rest)
                return self._result(replica, asked, left)
            except (NotLeader, NoMajority, LogFull, Busy, ReplicaDown):
                self._leader = 0
                if time.monotonic() >= deadline:
                    raise
            time.sleep(RETRY_PAUSE)

    def _seconds(self, timeout: float | None) -> float:
        return self.cluster.timeout_ms / 1000 if timeout is None else nanoseconds(timeout) / 1e9

    def _child(self, replica_id: int) -> Child:
        self._owner.require("cluster")
        child = self._children.get(self.cluster.require_member(replica_id))
        if child is None or not child.lives:
            raise ReplicaDown(f"Replica {replica_id} does not run")
        return child

    def _ask(self, replica: int, method: str, *args: Any) -> Future[Any]:
        return self._child(replica).ask(method, *args)

    def _answer(self, replica: int, method: str, *args: Any) -> Any:
        return self._result(replica, self._ask(replica, method, *args), None)

    def _result(self, replica: int, future: Future[Any], timeout: float | None) -> Any:
        seconds = self._seconds(timeout) + ANSWER_GRACE
        try:
            return future.result(seconds)
        except FutureTimeout:
            if future.done():
                raise  # the call's own error, a NoLeader
            raise Indeterminate(f"Replica {replica} did not answer within {seconds:g} s") from None

    def _start_load(self, replica: int, spec: LoadSpec) -> Path:
        assert self._files is not None
        self._loads += 1
        path = self._files.path / f"load-{self._loads}-{replica}"
        create_record(path, client=self._loads << 8 | replica)
        self._answer(replica, "start_load", str(path), spec)
        return path


class Load:
    """Numbered commands under way. A context manager, which stops it."""

    def __init__(self, cluster: LocalCluster, spec: LoadSpec, replicas: Sequence[int]) -> None:
        self._cluster = cluster
        self._owner = Owner()
        self._spec = spec
        self._ended: list[Acknowledged] = []
        self._paths: dict[int, Path] = {}
        self._pids: dict[int, int] = {}  # in which process of the replica
        for replica in replicas:
            self.add(replica)

    def add(self, replica: int) -> None:
        """Lets a replica take part (again): one that was restarted, say. Its numbers begin anew, as a new client."""
        if replica in self._paths:
            self._ended.append(read_record(self._paths[replica]))
        self._paths[replica] = self._cluster._start_load(replica, self._spec)  # noqa: SLF001  # one file, one story
        self._pids[replica] = self._cluster.pids[replica]

    def record(self, replica: int) -> Acknowledged:
        """What was acknowledged at a replica, also if its process is dead."""
        return read_record(self._paths[replica])

    def records(self) -> list[Acknowledged]:
        """All that was acknowledged, at all replicas and in all of their lives."""
        return self._ended + [self.record(replica) for replica in self._paths]

    @property
    def acknowledged(self) -> int:
        """How many commands were acknowledged so far."""
        return sum(each.acknowledged - len(each.indeterminate) for each in self.records())

    def report(self, replica: int) -> LoadReport:
        """How it is going at a replica that takes part in it."""
        report: LoadReport = self._cluster._answer(replica, "report_load", str(self._paths[replica]))  # noqa: SLF001
        return report

    def stop(self) -> dict[int, LoadReport]:
        """Ends the load; the reports of the replicas that take part in it still.

        One that was killed, or started again and not added since, takes no part.
        """
        reports = {}
        for replica, path in self._paths.items():
            if self._cluster.pids.get(replica) == self._pids[replica]:
                reports[replica] = self._cluster._answer(replica, "stop_load", str(path))  # noqa: SLF001
        self._ended = self.records()
        self._paths = {}
        return reports

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._paths and self._owner.is_here:
            self.stop()
