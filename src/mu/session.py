"""A session: requests that are applied once at most, however often they have to be sent.

A client's requests carry its id and a number that counts from 1. The cluster remembers each client's last number and
reply (DESIGN section 4, Sessions), so a request sent again after `Indeterminate` is answered, not applied twice.

Invariant: a new number is used only when the one before it is settled: answered, or certain to have entered no log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, Protocol

from mu.errors import CommandFailed, InDoubt, LogFull, NoMajority, NotLeader, TooLarge

AGAIN: Final = 1 << 63
"""with a request's number: it was sent before (commands.hpp: kRetryBit)"""

Execute = Callable[[bytes, int, int, int], bytes]
"""execute(command, timeout_ns, client, number)"""


class TakesSessions(Protocol):
    """What a session can be moved to: a replica, or a LocalCluster."""

    def session_execute(self, command: bytes, timeout_ns: int, client: int, number: int) -> bytes:
        """Executes one numbered request of one client."""
        ...


class Session:
    """One client's requests, one at a time. Made by `Replica.session()` or `LocalCluster.session()`.

    Example:
        >>> session = replica.session()  # doctest: +SKIP
        >>> try:
        ...     session.execute(b"+1")
        ... except mu.Indeterminate:
        ...     session.move(new_leader)  # any replica of the same cluster
        ...     session.retry()  # applied once, or answered from memory
    """

    __slots__ = ("_doubt", "_execute", "_timeout_ns", "client", "number")

    def __init__(self, execute: Execute, timeout_ns: int, client: int | None = None) -> None:
        """Args: how to execute; the timeout of a call that names none, in ns; the id (None: 64 random bits)."""
        self._execute = execute
        self._timeout_ns = timeout_ns
        self._doubt: bytes | None = None
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
            NotLeader, NoMajority, LogFull, TooLarge: it was not proposed; the session is as before.
            CommandFailed, SessionExpired, Closed: as they say.
        """
        if self._doubt is not None:
            raise InDoubt(f"Request {self.number} of this session is in doubt.")
        self._doubt = command
        try:
            return self._send(command, timeout)
        except (NotLeader, NoMajority, LogFull, TooLarge):
            self._doubt = None
            raise

    def retry(self, timeout: float | None = None) -> bytes:
        """Sends the request in doubt again, under the same number, and returns its reply.

        Raises as `execute` does; the request stays in doubt until it is answered. ValueError if none is.
        """
        if self._doubt is None:
            raise ValueError("Nothing is in doubt: every request of this session is settled.")
        return self._send(self._doubt, timeout, again=AGAIN)

    def move(self, replica: TakesSessions) -> None:
        """Sends what follows to another replica of the same cluster."""
        self._execute = replica.session_execute

    def _send(self, command: bytes, timeout: float | None, again: int = 0) -> bytes:
        timeout_ns = self._timeout_ns if timeout is None else int(timeout * 1e9)
        try:
            reply = self._execute(command, timeout_ns, self.client, self.number | again)
        except CommandFailed:
            self._settle()
            raise
        self._settle()
        return reply

    def _settle(self) -> None:
        self._doubt = None
        self.number += 1
