"""A state machine that remembers which numbered commands it has applied: the witness in demos and fault tests.

A command is (client, sequence number, anything). Invariant of a correct cluster: each client's numbers arrive in
rising order, each once at most, and every acknowledged one is there.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

HEAD: Final = struct.Struct("<QQ")  # client, sequence number
REMEMBERED_FAULTS: Final = 100


def numbered(client: int, sequence: int, size: int) -> bytes:
    """A client's command of `size` bytes (at least 16)."""
    return HEAD.pack(client, sequence).ljust(size, b".")


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What a Ledger has applied, at one moment."""

    count: int
    digest: str
    """of all commands in order: equal digests, equal histories"""
    clients: dict[int, list[list[int]]]
    """for each client the numbers applied, as ranges [first, last]"""
    faults: list[str]
    """numbers that came twice or out of order"""

    def missing(self, client: int, last: int, excused: Iterable[int] = ()) -> list[int]:
        """Which of a client's numbers 1 … last were not applied, leaving out the excused."""
        excused = set(excused)
        gaps: list[int] = []
        wanted = 1
        for first, until in self.clients.get(client, []):
            gaps.extend(range(wanted, min(first, last + 1)))
            wanted = until + 1
        gaps.extend(range(wanted, last + 1))
        return [each for each in gaps if each not in excused]


@dataclass(slots=True)
class Ledger:
    """The state machine. Its reply is the number of commands applied so far, as 8 bytes."""

    _count: int = 0
    _digest: bytes = b""
    _clients: dict[int, list[list[int]]] = field(default_factory=dict)
    _faults: list[str] = field(default_factory=list)

    def apply(self, command: bytes) -> bytes:
        """Enters a command."""
        client, sequence = HEAD.unpack_from(command)
        ranges = self._clients.setdefault(client, [])
        if ranges and sequence == ranges[-1][1] + 1:
            ranges[-1][1] = sequence
        elif not ranges or sequence > ranges[-1][1]:
            ranges.append([sequence, sequence])
        elif len(self._faults) < REMEMBERED_FAULTS:
            self._faults.append(f"client {client:#x}: number {sequence} came after {ranges[-1][1]}")
        self._count += 1
        self._digest = hashlib.blake2b(command, key=self._digest, digest_size=16).digest()
        return self._count.to_bytes(8, "little")

    def view(self) -> LedgerView:
        """A copy of what was applied."""
        clients = {client: [list(each) for each in ranges] for client, ranges in self._clients.items()}
        return LedgerView(self._count, self._digest.hex(), clients, list(self._faults))

    def snapshot(self) -> bytes:
        """Everything, as JSON."""
        clients = [[client, ranges] for client, ranges in self._clients.items()]
        return json.dumps([self._count, self._digest.hex(), clients, self._faults]).encode()

    def restore(self, snapshot: bytes) -> None:
        """Takes over a snapshot."""
        self._count, digest, clients, self._faults = json.loads(snapshot)
        self._digest = bytes.fromhex(digest)
        self._clients = dict(clients)


def lost_commands(view: LedgerView, acknowledged: Iterable[tuple[int, int, Iterable[int]]]) -> list[str]:
    """What is wrong with a history; [] if nothing is.

    Args:
        view: of a replica that holds everything decided (a linearizable read at the leader).
        acknowledged: for each client its id, the last number acknowledged, and those before it that were not.

    Returns:
        A line for each acknowledged number that is missing, and for each that came twice or out of order.
    """
    wrong = list(view.faults)
    for client, last, excused in acknowledged:
        wrong += [
            f"client {client:#x}: number {each} was acknowledged and is lost"
            for each in view.missing(client, last, excused)
        ]
    return wrong
