"""A replica of a cluster, in this process: the face of Mu.

Calls go straight to the native node; this file adds names, defaults and units, not layers, since the core decides a
command in about a microsecond. Commands may be proposed from several threads at once; the node combines them.

Invariant: after `close()` every call raises `Closed`, and what was waiting has been answered.
"""

# ruff: noqa: ASYNC109  # the timeout is the cluster's: it bounds the proposal, not the coroutine
from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from mu._timeout import nanoseconds
from mu.cluster import Cluster, replica_id_from
from mu.errors import Closed, ConfigError, NoLeader
from mu.fifo import Fifo
from mu.forks import Owner
from mu.session import Session
from mu.state_machine import StateMachine, require_state_machine, state_machine_named
from mu.status import Status

try:
    from mu import _core
except ImportError as error:
    raise ImportError(
        f"Mu's native core is not built ({error}). In a source tree run `./dev setup`, then use .venv/bin/python;"
        " elsewhere `pip install mu-consensus`."
    ) from error

log = logging.getLogger("mu")

T = TypeVar("T")
P = ParamSpec("P")

FIRST_PAUSE: Final = 0.0002  # seconds between looks at a status while waiting; doubles up to the longest
LONGEST_PAUSE: Final = 0.005


class Replica:
    """One replica. Made by `Replica.open`; a context manager.

    Timeouts are in seconds; None stands for the cluster's `timeout_ms`. All calls may be made from several threads
    at once.

    Example:
        >>> with mu.Replica.open("cluster.toml", replica_id=1, state_machine=mu.Counter()) as replica:
        ...     replica.wait_until_leader(timeout=5)
        ...     replica.execute(b"+1")  # doctest: +SKIP
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_execute",
        "_execute_many",
        "_fifo",
        "_node",
        "_owner",
        "_propose",
        "_propose_many",
        "_read",
        "_timeout_ns",
        "_turns",
        "_worker",
        "cluster",
        "replica_id",
        "state_machine",
    )

    def __init__(self, cluster: Cluster, replica_id: int, state_machine: StateMachine | None) -> None:
        """Brings the replica up; use `Replica.open`, which also reads configuration."""
        self.cluster = cluster = cluster.anchored()
        self.replica_id = cluster.require_member(replica_id)
        self.state_machine = state_machine
        self._closed = False
        self._owner = Owner()
        self._timeout_ns = cluster.timeout_ms * 1_000_000
        self._turns = threading.RLock()  # the first use of the worker, and the end; a signal's handler may be the end
        self._worker: ThreadPoolExecutor | None = None
        self._fifo: Fifo | None = None
        rdma = cluster.rdma_port_of(replica_id)
        self._node = node = _core.Node(
            fabric=cluster.fabric,
            cluster=cluster.name,
            cluster_key=cluster.cluster_key,
            replica_id=replica_id,
            members=cluster.replicas,
            directory=cluster.directory,
            log_bytes=cluster.log_bytes,
            cores=cluster.chosen_cores,
            commit_idle_us=cluster.commit_idle_us,
            stall_limit_ms=cluster.stall_limit_ms,
            max_sessions=cluster.max_sessions,
            registry=cluster.registry,
            rdma_device=rdma.device,
            rdma_port=rdma.port,
            rdma_gid_index=rdma.gid_index,
            rdma_mtu=rdma.mtu,
            overrides=dict(cluster.tuning),
            state_machine=state_machine,
        )
        # The native methods themselves: each layer between would cost as much as a tenth of a proposal.
        self._execute = node.execute
        self._execute_many = node.execute_many
        self._propose = node.propose
        self._propose_many = node.propose_many
        self._read = node.read
        if notice := node.notice():
            log.warning("replica %d: %s", replica_id, notice)
        try:
            node.start()
            if cluster.fifo:
                self._fifo = Fifo(cluster.fifo.replace("{id}", str(replica_id)), self.pause, self.resume)
        except BaseException:
            node.close()
            raise
        _open.add(self)
        log.info("replica %d of cluster %s is up", replica_id, cluster.name)

    @classmethod
    def open(
        cls,
        cluster: str | os.PathLike[str] | Cluster | None = None,
        *,
        replica_id: int | None = None,
        state_machine: StateMachine | str | None = None,
        **overrides: Any,
    ) -> Replica:
        """Brings up one replica of a cluster.

        Args:
            cluster: a TOML file, a Cluster, or None for `$MU_CLUSTER` or else the defaults; see `Cluster.load`.
            replica_id: which of the members this is; None for `$MU_REPLICA_ID` or `$SID`.
            state_machine: what commands are applied to, or its "module:Class". None: a native one that only
                counts commands.
            overrides: keys of the cluster's description.

        Raises:
            ConfigError: something in the description is wrong.
            IdInUse, NoSpace, PermissionRefused, OtherCluster: this replica cannot be brought up.
        """
        settled = Cluster.load(cluster, **overrides)
        replica_id = replica_id_from() if replica_id is None else replica_id
        if replica_id is None:
            raise ConfigError(f"Which replica is this? Give replica_id or set MU_REPLICA_ID: {settled.replicas}.")
        settled.require_member(replica_id)
        machine = state_machine_named(state_machine) if isinstance(state_machine, str) else state_machine
        return cls(settled, replica_id, None if machine is None else require_state_machine(machine))

    # --- Commands ---------------------------------------------------------------------------------------------

    def execute(self, command: bytes, timeout: float | None = None) -> bytes:
        """Proposes, decides, applies, and returns the state machine's reply (leader only).

        Raises:
            NotLeader, NoMajority, LogFull, TooLarge, Busy, NoMemory: not proposed; safe to send again.
            Indeterminate: unknown whether it takes effect; see `session`.
            CommandFailed: `apply` raised.
            Closed: this replica was closed.

        A command that is in a slot while a slow one is applied is waited for beyond the timeout, until that has ended.
        """
        return self._execute(command, self._timeout_ns if timeout is None else nanoseconds(timeout))

    def execute_many(self, commands: Sequence[bytes], timeout: float | None = None) -> list[bytes]:
        """Like `execute` for commands in order, replicated in as few slots as possible; the replies in order.

        Raises as `execute` does. What says that nothing was proposed is of all of them; Indeterminate means that the
        first ones, how many is unknown, may have taken effect or may yet, and the others never. CommandFailed comes
        when all are applied: its `index` is that of the first that failed, and its `replies` are those of all.
        """
        return self._execute_many(commands, self._timeout_ns if timeout is None else nanoseconds(timeout))

    def propose(self, command: bytes, timeout: float | None = None) -> int:
        """Decides a command without waiting for its execution; returns its offset in the log, in bytes.

        From here on no crash of a minority loses it (paper, section 4). Raises as `execute` does, but never
        CommandFailed.
        """
        return self._propose(command, self._timeout_ns if timeout is None else nanoseconds(timeout))

    def propose_many(self, commands: Sequence[bytes], timeout: float | None = None) -> int:
        """Like `propose` for commands in order; returns the last one's offset. Raises as `execute_many` does."""
        return self._propose_many(commands, self._timeout_ns if timeout is None else nanoseconds(timeout))

    def read(self, function: Callable[[], T], timeout: float | None = None) -> T:
        """Calls `function` on a state that holds everything decided so far, and returns what it returns.

        Linearizable (DESIGN section 4, Reads), on the leader only; nothing is written to the log. `function` must
        only look, and not call this replica, for which it would wait. Raises NotLeader, NoMajority, Busy,
        Indeterminate (time was up; nothing was changed), Closed.
        """
        return cast(T, self._read(function, self._timeout_ns if timeout is None else nanoseconds(timeout)))

    def session(self, client: int | None = None) -> Session:
        """A session of one client: its requests are applied once at most. `client`: 1 to 2**64 - 1; None: random."""
        self._check_open()
        return Session(self._execute, self._timeout_ns, client, self.session_later)

    def session_execute(self, command: bytes, timeout_ns: int, client: int, number: int) -> bytes:
        """Executes one numbered request of one client (not 0, which names none): what a Session calls."""
        if client == 0:
            raise ConfigError("client: 0 names nobody, so nothing would be remembered; use 1 to 2**64 - 1.")
        return self._execute(command, timeout_ns, client, number)

    def session_later(self, call: Callable[[], bytes]) -> asyncio.Future[bytes]:
        """Makes a Session's call in the thread of the `a…` calls, in turn with them."""
        return self._later(call)

    # --- The replica itself -----------------------------------------------------------------------------------

    def status(self) -> Status:
        """How this replica is, right now."""
        self._check_open()
        return Status.from_native(self._node.status())

    def pause(self) -> None:
        """Stops the heartbeat: the others take this replica for dead, and it neither leads nor takes over."""
        self._check_open()
        self._node.pause()
        log.info("replica %d is paused", self.replica_id)

    def resume(self) -> None:
        """Lets the heartbeat beat again; the replica may lead again."""
        self._check_open()
        self._node.resume()
        log.info("replica %d goes on", self.replica_id)

    def wait_for_leader(self, timeout: float | None = None) -> int:
        """Waits until this replica knows a leader, which may be itself, and returns its id.

        Raises:
            NoLeader: not within the timeout.
        """

        def known() -> int:
            status = self.status()
            if status.failure:
                raise Closed(f"This replica stopped by itself: {status.failure}")
            return status.leader if status.leads or status.leader != self.replica_id else 0

        return self._wait(known, timeout, "No leader was known")

    def wait_until_leader(self, timeout: float | None = None) -> None:
        """Waits until this replica leads: sealed, ready to propose.

        Raises:
            NoLeader: not within the timeout.
        """
        self._check_open()
        timeout_ns = self._timeout_ns if timeout is None else nanoseconds(timeout)
        if not self._node.wait_until_leading(timeout_ns):
            raise NoLeader(f"Replica {self.replica_id} did not become the leader within {timeout_ns / 1e9:g} s")

    def _wait(self, look: Callable[[], T], timeout: float | None, otherwise: str) -> T:
        seconds = (self._timeout_ns if timeout is None else nanoseconds(timeout)) / 1e9
        deadline = time.monotonic() + seconds
        pause = FIRST_PAUSE
        while not (found := look()):
            if time.monotonic() >= deadline:
                raise NoLeader(f"{otherwise} within {seconds:g} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return found

    def _check_open(self) -> None:
        """Of what does not ask the node, which knows by itself."""
        self._owner.require("replica")
        if self._closed:
            raise Closed(f"Replica {self.replica_id} is closed")

    @property
    def native(self) -> _core.Node:
        """The native node, for measurements (`mu.bench`) only: its names may change with any version."""
        return self._node

    def close(self) -> None:
        """Stops the replica and removes its segments. Calls under way end with an error; again: does nothing.

        Several threads may. In a child of fork() the parent's replica goes on.
        """
        if self._closed:
            return
        self._node.close()
        ours = self._owner.is_here
        with self._turns if ours else contextlib.nullcontext():  # in a child nobody may be left to let go of it
            first, self._closed = not self._closed, True
            fifo, self._fifo = self._fifo, None
        _open.discard(self)
        if fifo is not None:
            fifo.close()
        if ours and self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
        if ours and first:
            log.info("replica %d is closed", self.replica_id)

    def __enter__(self) -> Replica:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<mu.Replica {self.replica_id} of {self.cluster.name}, {state}>"

    # --- asyncio ----------------------------------------------------------------------------------------------
    # One worker thread for all of them: calls take effect in the order in which they were made, whatever becomes
    # of the coroutines that wait for them, and the loop never blocks. Batches are the way to more throughput.

    async def aexecute(self, command: bytes, timeout: float | None = None) -> bytes:
        """`execute` for asyncio. Cancelled while it waits for its turn, it is not proposed; later, it may be."""
        return await self._later(self.execute, command, timeout)

    async def aexecute_many(self, commands: Sequence[bytes], timeout: float | None = None) -> list[bytes]:
        """`execute_many` for asyncio."""
        return await self._later(self.execute_many, commands, timeout)

    async def apropose(self, command: bytes, timeout: float | None = None) -> int:
        """`propose` for asyncio."""
        return await self._later(self.propose, command, timeout)

    async def apropose_many(self, commands: Sequence[bytes], timeout: float | None = None) -> int:
        """`propose_many` for asyncio."""
        return await self._later(self.propose_many, commands, timeout)

    async def aread(self, function: Callable[[], T], timeout: float | None = None) -> T:
        """`read` for asyncio; `function` runs outside the loop's thread."""
        return await self._later(self.read, function, timeout)

    def _later(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        self._check_open()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._turns:
            self._check_open()
            if self._worker is None:
                self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"mu-async-{self.replica_id}")
            try:
                work = self._worker.submit(function, *args, **kwargs)
            except RuntimeError:
                self._check_open()  # it was closed between two lines, by a signal's handler
                raise
        answer.add_done_callback(lambda answer: work.cancel() if answer.cancelled() else None)
        work.add_done_callback(lambda work: self._hand_over(work, answer))
        return answer

    def _hand_over(self, work: Future[T], answer: asyncio.Future[T]) -> None:
        """Answers the coroutine, in its loop's thread; a loop that is closed has nobody left to answer."""

        def settle() -> None:
            if answer.done():
                return
            if work.cancelled():
                answer.set_exception(Closed(f"Replica {self.replica_id} was closed before it came to this call"))
            elif (error := work.exception()) is not None:
                answer.set_exception(_holdable(error))
            else:
                answer.set_result(work.result())

        with contextlib.suppress(RuntimeError):
            answer.get_loop().call_soon_threadsafe(settle)


def _holdable(error: BaseException) -> BaseException:
    """What a future takes: any error but StopIteration, which would end the coroutine that awaits it in silence."""
    if not isinstance(error, StopIteration):
        return error
    told = RuntimeError(f"What a call was given raised {error!r}")
    told.__cause__ = error
    return told


# Whoever ends without close() is closed at exit, while Python still runs what a state machine needs; but not in a child
# of fork(), which has none of the replica's threads.
_open: Final[weakref.WeakSet[Replica]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_open.clear)


@atexit.register
def _close_all() -> None:
    for each in list(_open):
        each.close()
