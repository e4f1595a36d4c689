"""The state machine of the fault tests: keys with values, and a ledger of numbered commands, in one history.

    kv KEY set VALUE        the register KEY takes the value; replies with nothing
    kv KEY add NUMBER       the counter KEY grows; replies with the sum
    anything else           a numbered command (mu.testing.ledger)

Invariant of a correct cluster: equal `digest`, equal histories; every other claim is read off `view()`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from mu.testing import Ledger, LedgerView

MARK = b"kv "


@dataclass(frozen=True, slots=True)
class View:
    """What a Witness holds, at one moment."""

    ledger: LedgerView
    digest: str
    """of all commands in order"""
    count: int
    restores: int
    """how often this copy took over a snapshot: its own story, not the cluster's"""


class Witness:
    """The state machine."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._values: dict[str, str] = {}
        self._sums: dict[str, int] = {}
        self._count = 0
        self._digest = b""
        self._restores = 0

    def apply(self, command: bytes) -> bytes:
        self._count += 1
        self._digest = hashlib.blake2b(command, key=self._digest, digest_size=16).digest()
        if not command.startswith(MARK):
            return self._ledger.apply(command)
        _, key, verb, argument = command.decode().split(" ", 3)
        if verb == "set":
            self._values[key] = argument
            return b""
        self._sums[key] = self._sums.get(key, 0) + int(argument)
        return b"%d" % self._sums[key]

    def value(self, key: str) -> str | None:
        return self._values.get(key)

    def sum(self, key: str) -> int:
        return self._sums.get(key, 0)

    def view(self) -> View:
        return View(self._ledger.view(), self._digest.hex(), self._count, self._restores)

    def snapshot(self) -> bytes:
        ledger = self._ledger.snapshot().decode()
        return json.dumps([ledger, self._values, self._sums, self._count, self._digest.hex()]).encode()

    def restore(self, snapshot: bytes) -> None:
        ledger, self._values, self._sums, self._count, digest = json.loads(snapshot)
        self._ledger.restore(ledger.encode())
        self._digest = bytes.fromhex(digest)
        self._restores += 1


class Value:
    """What a register holds: a function that a replica's process can import."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, machine: Witness) -> str | None:
        return machine.value(self._key)


class Sum:
    """What a counter holds."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, machine: Witness) -> int:
        return machine.sum(self._key)
