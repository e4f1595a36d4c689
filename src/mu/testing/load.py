"""Load from inside the replicas' processes, with a record of what was acknowledged that outlives them.

The thread that proposes writes to a memory-mapped file, one 8-byte word a store, so that after a SIGKILL the parent
reads exactly what was acknowledged, and when. Invariant: the word `acknowledged` grows only after the command's
success has returned; every smaller number was acknowledged too, but for those listed as indeterminate.
"""

from __future__ import annotations

import math
import mmap
import struct
import threading
import time
from array import array
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mu._timeout import nanoseconds
from mu.cluster import is_whole
from mu.errors import Closed, ConfigError, Indeterminate, MuError, NotLeader, NotProposed
from mu.testing.ledger import numbered

if TYPE_CHECKING:
    from mu.replica import Replica

LOOK_NS: Final = 20_000_000  # how long a follower sleeps before it looks whether it should stop; leading wakes it
REFUSED_PAUSE: Final = 200e-6  # seconds to wait when the log is full or the majority is lost
SMALLEST_COMMAND: Final = 16  # bytes: its client and its number
SAMPLES: Final = 1 << 16  # the latest latencies, per load
MOST_INDETERMINATE: Final = 4096


class Word(IntEnum):
    """The words of the record, each of 8 bytes."""

    client = 0
    acknowledged = 1  # the largest sequence number acknowledged
    attempted = 2  # the largest proposed
    tenures = 3  # how often this replica became the leader, as seen by this load
    first_success_ns = 4  # of the present tenure, CLOCK_MONOTONIC
    last_success_ns = 5
    indeterminate = 6  # how many numbers follow after the last word
    end = 8


RECORD_BYTES: Final = 8 * (Word.end + MOST_INDETERMINATE)


@dataclass(frozen=True, kw_only=True)
class LoadSpec:
    """What a load does."""

    size: int = 64
    """of a command, in bytes, at least SMALLEST_COMMAND"""
    rate: float = 0.0
    """commands a second; 0: one after the other, as fast as they are answered"""
    execute: bool = False
    """wait for the reply of each; else for the decision only"""
    timeout: float = 1.0
    """of one command, in seconds"""

    def __post_init__(self) -> None:
        """Validates."""
        if not is_whole(self.size) or self.size < SMALLEST_COMMAND:
            raise ConfigError(
                f"size: {self.size!r} bytes are too few for a command's number: at least {SMALLEST_COMMAND}."
            )
        rate: object = self.rate
        if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
            raise ConfigError(f"rate: {rate!r} should be a number of commands a second, or 0.")
        nanoseconds(self.timeout)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a load's record says, at one moment."""

    client: int
    acknowledged: int
    attempted: int
    tenures: int
    first_success_ns: int
    last_success_ns: int
    indeterminate: tuple[int, ...]

    @property
    def proof(self) -> tuple[int, int, tuple[int, ...]]:
        """For `lost_commands`."""
        return self.client, self.acknowledged, self.indeterminate


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load says of itself."""

    latencies_ns: array[int] = field(repr=False)
    """of the latest acknowledged commands"""
    refused: int
    """attempts that entered no log: not the leader, log full, no majority"""
    error: str
    """why it ended early; "": it did not"""


def read_record(path: Path) -> Acknowledged:
    """Reads a load's record, also that of a dead process."""
    data = path.read_bytes()
    words = struct.unpack_from(f"<{Word.end:d}Q", data)
    listed = struct.unpack_from(f"<{min(words[Word.indeterminate], MOST_INDETERMINATE)}Q", data, 8 * Word.end)
    return Acknowledged(
        words[Word.client],
        words[Word.acknowledged],
        words[Word.attempted],
        words[Word.tenures],
        words[Word.first_success_ns],
        words[Word.last_success_ns],
        listed,
    )


def create_record(path: Path, client: int) -> None:
    """Makes an empty record for a client."""
    path.write_bytes(struct.pack("<Q", client).ljust(RECORD_BYTES, b"\0"))


class Loader:
    """The thread that proposes, in the replica's process."""

    def __init__(self, replica: Replica, path: Path, spec: LoadSpec) -> None:
        self._replica = replica
        self._spec = spec
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), RECORD_BYTES)).cast("Q")
        self._client = self._words[Word.client]
        self._stopping = threading.Event()
        self._latencies = array("Q", bytes(8 * SAMPLES))
        self._samples = 0
        self._refused = 0
        self._error = ""
        self._thread = threading.Thread(target=self._run, name="mu-load", daemon=True)
        self._thread.start()

    def stop(self) -> LoadReport:
        """Ends the load after the command under way."""
        self._stopping.set()
        self._thread.join()
        return self.report()

    def report(self) -> LoadReport:
        """How it is going."""
        kept = self._latencies[: min(self._samples, SAMPLES)]
        return LoadReport(kept, self._refused, self._error)

    def _run(self) -> None:
        try:
            self._propose_all()
        except Closed:
            self._error = "the replica was closed"
        except MuError as error:
            self._error = f"{type(error).__name__}: {error}"

    def _propose_all(self) -> None:
        words, spec = self._words, self._spec
        call = self._replica.execute if spec.execute else self._replica.propose
        period_ns = int(1e9 / spec.rate) if spec.rate else 0
        sequence, leading, due = 0, False, time.monotonic_ns()
        while not self._stopping.is_set():
            if period_ns:
                due = self._wait_for(due, period_ns)
            sequence += 1
            words[Word.attempted] = sequence
            command = numbered(self._client, sequence, spec.size)
            began = time.monotonic_ns()
            try:
                call(command, spec.timeout)
            except Indeterminate:
                self._note_indeterminate(sequence)
                leading = False
                continue
            except NotProposed as error:
                sequence -= 1  # it is in no log: the number is free
                leading = leading and not isinstance(error, NotLeader)
                self._refused += 1
                if isinstance(error, NotLeader):
                    self._replica.native.wait_until_leading(LOOK_NS)
                else:
                    time.sleep(REFUSED_PAUSE)
                continue
            ended = time.monotonic_ns()
            words[Word.acknowledged] = sequence
            words[Word.last_success_ns] = ended
            if not leading:
                leading = True
                words[Word.first_success_ns] = ended
                words[Word.tenures] += 1
            self._latencies[self._samples % SAMPLES] = ended - began
            self._samples += 1

    def _wait_for(self, due: int, period_ns: int) -> int:
        """Waits for the moment of the next command; a load that has fallen behind does not catch up in a burst."""
        now = time.monotonic_ns()
        if now < due:
            self._stopping.wait((due - now) / 1e9)
            return due + period_ns
        return now + period_ns

    def _note_indeterminate(self, sequence: int) -> None:
        count = self._words[Word.indeterminate]
        if count >= MOST_INDETERMINATE:
            raise MuError(f"more than {MOST_INDETERMINATE} commands of one load are in doubt")
        self._words[Word.end + count] = sequence
        self._words[Word.indeterminate] = count + 1
