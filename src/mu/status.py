"""What a replica says about itself, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A replica, seen from inside at one moment. Offsets are absolute positions in the log, in bytes."""

    replica_id: int
    role: str
    """leader, follower, candidate, joining (not yet admitted) or forming (waits for the first majority)"""
    leader: int = 0
    """the id of the leader as this replica sees it; 0: none"""
    incarnation: int = 0
    """names this life of the replica"""
    proposal: int = 0
    """the proposal number of the tenure it follows or leads"""
    applied: int = 0
    """executed up to here"""
    fuo: int = 0
    """first undecided offset, as far as known here"""
    decided: int = 0
    """decided up to here (leader)"""
    chain_end: int = 0
    """accepted up to here"""
    log_bytes: int = 0
    max_command: int = 0
    """the largest command, in bytes"""
    admitted: bool = False
    """may grant and count"""
    eligible: bool = False
    """may lead"""
    paused: bool = False
    """asked to stop its heartbeat"""
    scores: Mapping[int, int] = field(default_factory=dict)
    """pull score of each peer, 0…15"""
    alive: tuple[int, ...] = ()
    confirmed: tuple[int, ...] = ()
    """the confirmed followers (leader)"""
    members: tuple[int, ...] = ()
    takeovers: int = 0
    aborts: int = 0
    commands_applied: int = 0
    digest: int = 0
    """of the applied commands (native state machine only)"""
    took_over_us: float = 0.0
    """how long the last takeover took, from the request for permission to the decided seal"""
    takeover_began_ns: int = 0
    """when the last takeover began, on CLOCK_MONOTONIC; 0: unknown"""
    propose_p50_ns: int = 0
    """how long recent proposals here took until they were known to be decided, of all tenures: the median of a sample
    (the first 64, then one in 64; the last 512 of those); 0: none was timed"""
    propose_p99_ns: int = 0
    failure: str = ""
    """why this replica stopped by itself (its state machine broke its contract, say); "": it did not"""
    pid: int = 0

    @property
    def leads(self) -> bool:
        """Whether this replica is the leader, sealed and ready to propose."""
        return self.role == "leader"

    @classmethod
    def from_native(cls, values: Mapping[str, Any]) -> Status:
        """Makes the record from what the extension reports; what only a newer one knows is left out."""
        known: dict[str, Any] = {}
        for each in fields(cls):
            if each.name in values:
                value = values[each.name]
                known[each.name] = tuple(value) if isinstance(value, list | set) else value
        return cls(**known)
