"""Every error of Mu, in one tree.

    MuError
    ├── ConfigError (a ValueError)      the description of the cluster, or an argument, is wrong
    │   └── UnknownReplica              no member has this id
    ├── CannotStart                     this replica could not be brought up; nothing was changed
    │   ├── IdInUse                     another process runs under this id
    │   ├── NoSpace                     no room for the segments
    │   ├── PermissionRefused           the system refused access to the segments
    │   └── OtherCluster                the segments belong to another cluster or layout version
    ├── NotProposed                     the command is in no log: send it again, here or elsewhere
    │   ├── NotLeader                   ask the leader that it names
    │   ├── NoMajority                  too few replicas can be reached
    │   ├── LogFull                     followers have not yet applied enough
    │   ├── TooLarge                    no slot takes a command of this size
    │   ├── Busy                        other commands or reads took all of the given time
    │   ├── NoMemory (a MemoryError)    this process has none left to propose with
    │   └── InDoubt                     the session's last request has to be settled first
    ├── Indeterminate                   the command may take effect, now or later, once at most, or never
    ├── CommandFailed                   the state machine raised, on every replica alike
    ├── SessionExpired                  the cluster has forgotten this session
    ├── NoLeader (a TimeoutError)       nobody led within the given time
    ├── ReplicaDown                     that replica has no process here
    ├── Closed                          this replica was closed
    └── SimViolation (an AssertionError) a simulation saw what must not happen

Invariant: an error is constructed from what pickle gives back (`args`), so it crosses processes unchanged; what
to do next is the class's, what happened is the instance's, and `str` says both.
"""

# ruff: noqa: N818  # NotLeader says what is the case, and is shorter than NotLeaderError

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar


class MuError(Exception):
    """Whatever Mu raises on purpose. `str` says what happened, what is safe, and what to do next."""

    remedy: ClassVar[str] = ""

    def __str__(self) -> str:
        what = self.what()
        if not self.remedy:
            return what
        return f"{what.rstrip('.')}. {self.remedy}" if what else self.remedy

    def what(self) -> str:
        """What happened, without the remedy."""
        return str(self.args[0]) if self.args else ""


class ConfigError(MuError, ValueError):
    """The cluster's description, a variable or an argument is wrong. Nothing was started or changed."""


class UnknownReplica(ConfigError):
    """No member of the cluster has this id."""

    def __init__(self, replica_id: int, members: Iterable[int]) -> None:
        self.replica_id = replica_id
        self.members = tuple(members)
        super().__init__(replica_id, self.members)

    def what(self) -> str:
        """What happened, without the remedy."""
        known = ", ".join(map(str, self.members)) or "none"
        return f"There is no replica {self.replica_id}; this cluster's ids are {known}."


class CannotStart(MuError):
    """This replica could not be brought up. Nothing of a running cluster was changed."""


class IdInUse(CannotStart):
    """A live process runs under this replica's id."""

    remedy = "That process was left alone. Stop it, or choose another id."


class NoSpace(CannotStart):
    """The file system of the segments is full."""

    remedy = (
        "What had been created was removed. Run `mu clean` to remove what crashed runs left, choose a smaller"
        " log_bytes, or another directory."
    )


class PermissionRefused(CannotStart):
    """The system refused access to the segments or to their directory."""

    remedy = (
        "Segments are private to one user (mode 0600): run all replicas as the same user, or choose another directory."
    )


class OtherCluster(CannotStart):
    """Segments of this name belong to another cluster (name, secret, max_sessions) or to another layout version."""

    remedy = "They were left alone. Check name and secret, choose another name or directory, or `mu clean` them."


class NotProposed(MuError):
    """The command has entered no log and will never take effect: it is safe to send it again."""


class NotLeader(NotProposed):
    """Only the leader proposes and answers linearizable reads (paper, section 4.1).

    Attributes:
        leader: the id of the leader as far as this replica knows; 0 if it knows none.
    """

    def __init__(self, leader: int = 0) -> None:
        self.leader = leader
        super().__init__(leader)

    def what(self) -> str:
        """What happened, without the remedy."""
        return "This replica is not the leader; nothing was proposed."

    def __str__(self) -> str:
        if self.leader:
            return f"{self.what()} Send the command to replica {self.leader}."
        return f"{self.what()} No leader is known yet: wait a moment (wait_for_leader), then try again."


class NoMajority(NotProposed):
    """More than half of the members have to be reached, and are not."""

    remedy = (
        "Nothing was proposed by this call, and nothing decided earlier is lost. Start or reconnect the missing"
        " replicas, then try again."
    )


class LogFull(NotProposed):
    """The log has no room until the followers have applied more of it."""

    remedy = (
        "Nothing was proposed. Try again in a moment, propose less at a time, or choose a larger log_bytes;"
        " a follower that stalls is dropped after stall_limit_ms."
    )


class TooLarge(NotProposed):
    """No slot takes a command of this size.

    Attributes:
        size: of the command, in bytes.
        limit: the largest command that this log takes, in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(size, limit)

    def what(self) -> str:
        """What happened, without the remedy."""
        return f"A command of {self.size:,} bytes is larger than this log's limit of {self.limit:,} bytes."

    remedy = "Nothing was proposed. Split the command, or choose a larger log_bytes for the cluster."


class Busy(NotProposed):
    """Other commands or reads, one of which took long, occupied this replica for all of the given time."""

    remedy = "Nothing was proposed. Try again, or allow more time; commands and reads should take milliseconds at most."


class NoMemory(NotProposed, MemoryError):
    """This process has no memory left to put the proposal together. The replica goes on."""

    remedy = "Nothing was proposed. Free memory, or propose less at a time, then try again."


class InDoubt(NotProposed):
    """The session's last request is still in doubt, so it takes no new one."""

    remedy = "Settle it first with session.retry(), which applies it once at most; or give it up with a new session."


class Indeterminate(MuError):
    """The command was proposed, and it is not known whether it is decided: it may yet take effect, once, or never."""

    remedy = (
        "Nothing that was acknowledged is lost. Read the state to find out, or propose through a Session, whose"
        " retry() applies a command once at most."
    )


class CommandFailed(MuError):
    """The state machine's `apply` raised. The command is decided, and failed alike on every replica.

    Attributes:
        text: the exception, as text.
        index: of a batch, where the first command that failed stands, from 0. The others are decided and applied, too.
        replies: of a batch, every command's reply in order (bytes), or the text of its exception (str); else empty.
    """

    def __init__(self, text: str = "", index: int = 0, replies: Sequence[bytes | str] = ()) -> None:
        self.text = text
        self.index = index
        self.replies = tuple(replies)
        super().__init__(text, index, self.replies)

    def what(self) -> str:
        """What happened, without the remedy."""
        which = f" at command {self.index} of {len(self.replies)}" if self.replies else ""
        return f"The state machine raised{which}: {self.text}"

    remedy = (
        "The command was decided and the replicas stay equal if apply changes nothing before it raises."
        " Mend the command; sending it again will fail again."
    )


class SessionExpired(MuError):
    """The cluster has forgotten this session: more than max_sessions others have been used since.

    Or another session uses the same client id, and has used this request's number.
    """

    remedy = (
        "This request was not applied again, but whether an earlier try of it was is no longer known. Read the"
        " state, then go on with a new session; raise max_sessions if there are that many clients."
    )


class NoLeader(MuError, TimeoutError):
    """Nobody led within the given time."""

    remedy = "Nothing is lost. Check that a majority of the replicas runs (`mu status`), or wait for longer."


class ReplicaDown(MuError):
    """That replica has no process on this machine, so it was asked nothing."""

    remedy = "Start it (`mu replica --id`, or restart(id) of a LocalCluster), or ask another."


class Closed(MuError):
    """This replica was closed, before or while it worked on the call."""

    remedy = "A command that was under way may have been decided. Open the replica again, or ask another one."


class SimViolation(MuError, AssertionError):
    """A simulated cluster did what no cluster may do: lost, doubled or reordered a command, or came apart.

    Attributes:
        text: what was seen.
        transcript: the last operations before it, one a line.
    """

    def __init__(self, text: str = "", transcript: str = "") -> None:
        self.text = text
        self.transcript = transcript
        super().__init__(text, transcript)

    def what(self) -> str:
        """What happened, without the remedy."""
        return f"{self.transcript}{self.text}"

    remedy = (
        "The same seed and the same calls show it again. If replicas disagree, look first whether apply reads anything"
        " but its state and its command; else it is a fault of Mu, and its seed is worth a report."
    )
