"""A session: requests that are applied once at most, however often they have to be sent.

A client's requests carry its id and a number that counts from 1. The cluster remembers each client's last number and
reply (DESIGN section 4, Sessions), so a request sent again after `Indeterminate` is answered, not applied twice.

Invariant: a new number is used only when the one before it is settled: answered, or certain to have entered no log.
And one request is sent at a time: what a cancelled coroutine has left behind sends nothing later, or has ended before
anything else is sent.
"""

# ruff: noqa: ASYNC109  # the timeout is the cluster's: it bounds the proposal, not the coroutine
from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

from mu._timeout import nanoseconds
from mu.cluster import is_whole
from mu.errors import Busy, CommandFailed, ConfigError, InDoubt, LogFull, NoMajority, NoMemory, NotLeader, TooLarge
from mu.forks import Owner

AGAIN: Final = 1 << 63
"""with a request's number: it was sent before (commands.hpp: kRetryBit)"""

NOT_PROPOSED: Final = (NotLeader, NoMajority, LogFull, TooLarge, Busy, NoMemory)

Execute = Callable[[bytes, int, int, int], bytes]
"""execute(command, timeout_ns, client, number)"""

Later = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""later(call): calls it where it does not block the loop"""


class TakesSessions(Protocol):
    """What a session can be moved to: a replica, or a LocalCluster."""

    def session_execute(self, command: bytes, timeout_ns: int, client: int, number: int) -> bytes:
        """Executes one numbered request of one client."""
        ...

    def session_later(self, call: Callable[[], bytes]) -> Awaitable[bytes]:
        """Makes such a call in another thread, for asyncio."""
        ...


class Session:
    """One client's requests, one at a time. Made by `Replica.session()` or `LocalCluster.session()`.

    A second call while one is under way, of another coroutine or thread, raises InDoubt and sends nothing. For requests
    at the same time make several sessions.

    Example:
        >>> session = replica.session()  # doctest: +SKIP
        >>> try:
        ...     session.execute(b"+1")
        ... except mu.Indeterminate:
        ...     session.move(new_leader)  # any replica of the same cluster
        ...     session.retry()  # applied once, or answered from memory
    """

    __slots__ = (
        "_call",
        "_doubt",
        "_execute",
        "_later",
        "_owner",
        "_sending",
        "_timeout_ns",
        "_under_way",
        "client",
        "number",
    )

    def __init__(
        self, execute: Execute, timeout_ns: int, client: int | None = None, later: Later = asyncio.to_thread
    ) -> None:
        """Describes the client.

        Args:
            execute: how to execute.
            timeout_ns: of a call that names none.
            client: the id, 1 to 2**64 - 1; None: random bits. No two sessions may share one, nor may one be used again
                by a program that was started again: their requests then raise SessionExpired, and are not applied.
            later: how to execute for asyncio.
        """
        if client is not None and not (is_whole(client) and 0 < client < 1 << 64):
            raise ConfigError(f"client: {client!r} must be from 1 to 2**64 - 1, or None for random bits.")
        self._execute = execute
        self._later = later
        self._owner = Owner()
        self._timeout_ns = timeout_ns
        self._doubt: bytes | None = None
        self._under_way = threading.Lock()  # held by the call that somebody waits for
        self._call: object = None  # what stands for that one, if it is a coroutine's
        self._sending = threading.Lock()  # held while a request is being sent and answered
        self.client = (secrets.randbits(64) or 1) if client is None else client
        self.number = 1
        """of the next request, or of the one in doubt"""

    @property
    def in_doubt(self) -> bytes | None:
        """The command of which it is not known whether it was applied; None if all is settled."""
        return self._doubt

    def execute(self, command: bytes, timeout: float | None = None) -> bytes:
        """Proposes, decides, applies once, answers. `timeout` in seconds.

        Raises:
            InDoubt: the last request has to be settled first, by `retry`.
            Indeterminate: unknown whether it was applied; `retry`.
            NotLeader, NoMajority, LogFull, TooLarge, Busy, NoMemory: it was not proposed; the session is as before.
            CommandFailed, SessionExpired, Closed: as they say.
        """
        timeout_ns = self._nanoseconds(timeout)
        with self._alone():
            self._begin(command)
            try:
                return self._send(command, timeout_ns)
            except NOT_PROPOSED:
                self._doubt = None
                raise

    async def aexecute(self, command: bytes, timeout: float | None = None) -> bytes:
        """`execute` for asyncio. Cancelled at any moment, the request is in doubt: `aretry` has its reply."""
        timeout_ns = self._nanoseconds(timeout)
        with self._alone():
            self._begin(command)
            try:
                return await self._asend(command, timeout_ns)
            except NOT_PROPOSED:
                self._doubt = None
                raise

    def retry(self, timeout: float | None = None) -> bytes:
        """Sends the request in doubt again, under the same number, and returns its reply.

        Raises as `execute` does; the request stays in doubt until it is answered. ValueError if none is.
        """
        timeout_ns = self._nanoseconds(timeout)
        with self._alone():
            return self._send(self._in_doubt(), timeout_ns, again=AGAIN)

    async def aretry(self, timeout: float | None = None) -> bytes:
        """`retry` for asyncio.

        After a cancelled call that was being sent it waits for the end of that, which its own timeout bounds.
        """
        timeout_ns = self._nanoseconds(timeout)
        with self._alone():
            return await self._asend(self._in_doubt(), timeout_ns, again=AGAIN)

    def move(self, replica: TakesSessions) -> None:
        """Sends what follows to another replica of the same cluster."""
        self._execute = replica.session_execute
        self._later = replica.session_later

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._owner.require("session")  # a lock may be held there by a thread that is not here
        if not self._under_way.acquire(blocking=False):
            raise InDoubt(f"Request {self.number} of this session is under way.")
        try:
            yield
        finally:
            self._under_way.release()

    def _begin(self, command: bytes) -> None:
        if self._doubt is not None:
            raise InDoubt(f"Request {self.number} of this session is in doubt.")
        if not isinstance(command, bytes):
            raise TypeError(f"A command must be bytes, not {type(command).__name__}; nothing was proposed.")
        self._doubt = command

    def _in_doubt(self) -> bytes:
        if self._doubt is None:
            raise ValueError("Nothing is in doubt: every request of this session is settled.")
        return self._doubt

    def _nanoseconds(self, timeout: float | None) -> int:
        return self._timeout_ns if timeout is None else nanoseconds(timeout)

    def _send(self, command: bytes, timeout_ns: int, again: int = 0) -> bytes:
        try:
            with self._sending:
                reply = self._execute(command, timeout_ns, self.client, self.number | again)
        except CommandFailed:
            self._settle()
            raise
        self._settle()
        return reply

    async def _asend(self, command: bytes, timeout_ns: int, again: int = 0) -> bytes:
        execute, number, mine = self._execute, self.number | again, object()

        def call() -> bytes:
            with self._sending:
                if self._call is not mine:
                    raise InDoubt("Its coroutine was cancelled before it was sent.")
                return execute(command, timeout_ns, self.client, number)

        # What becomes of the request is taken in here, not in `call`: by the coroutine, if it still waits for it.
        self._call = mine
        try:
            reply = await self._later(call)
        except CommandFailed:
            self._settle()
            raise
        else:
            self._settle()
            return reply
        finally:
            self._call = None

    def _settle(self) -> None:
        self._doubt = None
        self.number += 1
