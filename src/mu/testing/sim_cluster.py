"""A whole cluster in one thread: the real replicas, a simulated fabric and clock, and one seed that decides everything.

What `LocalCluster` does with processes and signals, this does a hundred thousand times faster and the same way every
time: replicas crash, restart with empty memory, freeze between two operations, lose links; operations land late, torn
or not at all. Beside the replicas a judge remembers what was acknowledged, applied and read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from mu import _core
from mu.errors import (
    CommandFailed,
    ConfigError,
    Indeterminate,
    LogFull,
    NoLeader,
    NoMajority,
    NotLeader,
    SimViolation,
    TooLarge,
    UnknownReplica,
)
from mu.state_machine import StateMachine

T = TypeVar("T")

MOST_REPLICAS: Final = 15
PATIENCE: Final = 3000  # rounds of calm within which a healthy cluster decides
SIXTY_FOUR_KIB: Final = 65536


class SimCluster:
    """Replicas of a state machine, simulated; a context manager only for symmetry with `LocalCluster`.

    Nothing happens by itself: `calm` and `storm` let steps pass, and the methods that wait for something take calm
    rounds until it is so.

    Args:
        replicas: how many, 1 to 15; their ids are 1 … replicas.
        state_machine: makes a state machine; called for every life of every replica.
        seed: what decides every chance; the same seed and the same calls give the same history.
        log_bytes: the log's ring, a power of two of at least 4096.
        storm_commands: what random clients propose during storms, taken in turn; none: there are no such clients.

    Example:
        >>> from mu import Counter
        >>> from mu.testing import SimCluster
        >>> sim = SimCluster(3, Counter, seed=7)
        >>> sim.execute(b"+1")
        b'1'
        >>> sim.crash(sim.settle())
        >>> sim.execute(b"+1")
        b'2'
        >>> sim.conclude()
    """

    def __init__(
        self,
        replicas: int,
        state_machine: Callable[[], StateMachine],
        *,
        seed: int = 1,
        log_bytes: int = SIXTY_FOUR_KIB,
        storm_commands: Sequence[bytes] = (),
    ) -> None:
        if not 1 <= replicas <= MOST_REPLICAS:
            raise ConfigError(f"A simulated cluster has 1 to {MOST_REPLICAS} replicas, not {replicas}")
        if log_bytes < 4096 or log_bytes & (log_bytes - 1):
            raise ConfigError(f"log_bytes is a power of two of at least 4096, not {log_bytes}")
        if not 0 <= seed < 1 << 64:
            raise ConfigError(f"A seed has 64 bits; {seed} does not fit")
        self.seed = seed
        self.replicas = tuple(range(1, replicas + 1))
        self._log_bytes = log_bytes
        self._storm_commands = tuple(storm_commands)
        self._storms = 0
        self._walk = _core.Walk(seed=seed, steps=0, replicas=replicas, log_bytes=log_bytes, state_machine=state_machine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    # --- Time -----------------------------------------------------------------------------------------------------

    def calm(self, rounds: int = 1) -> None:
        """Rounds in which everybody alive and not frozen steps and every operation lands.

        Raises:
            SimViolation: something happened that must not.
        """
        self._walk.calm(rounds)
        self._judge()

    def storm(self, steps: int = 1000) -> None:
        """Random steps, faults among them: the enemy's turn.

        Raises:
            SimViolation: something happened that must not.
        """
        if self._storm_commands:
            self._walk.propose_in_storms(self._storm_commands[self._storms % len(self._storm_commands)])
        self._storms += 1
        self._walk.storm(steps)
        self._judge()

    def settle(self) -> int:
        """Takes calm rounds until somebody leads; returns its id.

        Raises:
            NoLeader: nobody leads within a time in which a healthy cluster elects one.
            SimViolation: something happened that must not.
        """
        for _ in range(PATIENCE):
            leader = self._walk.leader()
            if leader:
                return leader
            self.calm()
        raise NoLeader("Nobody leads this simulated cluster")

    def conclude(self) -> None:
        """Heals everything; then a new command must be decided soon, and all replicas must come to the same state.

        Raises:
            SimViolation: that does not come about though a majority was never lost; or something else must not be.
        """
        self._walk.conclude()
        self._judge()
        self._compare_states()

    # --- Clients --------------------------------------------------------------------------------------------------

    def execute(self, command: bytes) -> bytes:
        """Has a command decided and applied at whoever leads; takes calm rounds meanwhile.

        Raises:
            NoLeader, NoMajority, LogFull, TooLarge: nothing was proposed.
            Indeterminate: its leader was deposed or died; it may yet take effect.
            CommandFailed: the state machine raised.
            SimViolation: something happened that must not.
        """
        leader = self.settle()
        number = self.propose(leader, command)
        for _ in range(PATIENCE):
            if self.fate(number) == "indeterminate":
                break
            if self.fate(number) == "acknowledged" and (reply := self._walk.reply(leader, number)) is not None:
                applied, answer = reply
                if not applied:
                    raise CommandFailed(answer.decode())
                return answer
            self.calm()
        raise Indeterminate(f"Replica {leader} stopped leading while command {number} was under way")

    def propose(self, replica_id: int, command: bytes) -> int:
        """Proposes at one replica and lets no step pass; returns the command's number, for `fate`.

        Raises:
            NotLeader, NoMajority, LogFull, TooLarge: nothing was proposed.
        """
        number = self._walk.propose(self._member(replica_id), command)
        if number:
            return number
        match self._walk.why():
            case "no_majority":
                raise NoMajority(f"Replica {replica_id} leads, but cannot reach a majority")
            case "no_room":
                raise LogFull("The simulated log is full")
            case "too_large":
                raise TooLarge(len(command), _core.max_command(self._log_bytes) - 8)
            case _:
                raise NotLeader(self._walk.leader())

    def fate(self, number: int) -> Literal["open", "acknowledged", "indeterminate"]:
        """What its client knows of a command: still waiting, decided, or that nobody will tell any more."""
        fate = self._walk.fate(number)
        assert fate in {"open", "acknowledged", "indeterminate"}
        return fate  # type: ignore[return-value]  # one of the three

    def read(self, function: Callable[[Any], T], replica_id: int | None = None) -> T:
        """A linearizable read: calls `function` with the leader's state machine, once that may be read.

        Raises:
            NotLeader: that replica does not lead, or was deposed meanwhile.
            NoLeader: nobody leads.
        """
        where = self._member(replica_id) if replica_id is not None else self.settle()
        for _ in range(PATIENCE):
            done = self._walk.read(where)
            self._judge()
            if done:
                return function(self._walk.machine(where))
            if done is False:
                raise NotLeader(self._walk.leader())
            self.calm()
        raise NoLeader(f"Replica {where} could not confirm that it still leads")

    # --- Faults ---------------------------------------------------------------------------------------------------

    def crash(self, replica_id: int, *, reported: bool = True) -> None:
        """Ends a replica and its memory; `reported`: the fabric tells the others at once. Dead already: nothing."""
        self._walk.crash(self._member(replica_id), reported)

    def restart(self, replica_id: int) -> None:
        """A new life with empty memory. Alive: nothing."""
        self._walk.restart(self._member(replica_id))

    def cut(self, sender: int, receiver: int) -> None:
        """From now on what `sender` writes to and reads from `receiver` waits."""
        self._walk.cut(self._member(sender), self._member(receiver))

    def heal(self, sender: int, receiver: int) -> None:
        """Undoes a cut, in this direction."""
        self._walk.heal(self._member(sender), self._member(receiver))

    def heal_everything(self) -> None:
        """All links work, everybody lives, nobody is frozen or paused."""
        self._walk.heal_everything()

    def freeze(self, replica_id: int) -> None:
        """Stops a replica between two of its steps; its memory stays."""
        self._walk.freeze(self._member(replica_id), True)

    def thaw(self, replica_id: int) -> None:
        """Lets a frozen replica go on."""
        self._walk.freeze(self._member(replica_id), False)

    def pause(self, replica_id: int) -> None:
        """Silences a replica's heartbeat, as `mu pause` does. Dead: nothing."""
        self._walk.pause(self._member(replica_id), True)

    def resume(self, replica_id: int) -> None:
        """Undoes `pause`. Dead: nothing."""
        self._walk.pause(self._member(replica_id), False)

    # --- What there is to see -------------------------------------------------------------------------------------

    @property
    def leader(self) -> int:
        """Who leads, 0 if nobody does; of several who believe to, the one with the highest proposal."""
        return self._walk.leader()

    @property
    def steps(self) -> int:
        """How many steps and rounds have passed."""
        steps: int = self._walk.report()["steps"]
        return steps

    def alive(self, replica_id: int) -> bool:
        """Whether a replica lives."""
        return self._walk.alive(self._member(replica_id))

    def state_machine(self, replica_id: int) -> Any:
        """The state machine of a replica's present life; to be looked at, not to be changed."""
        return self._walk.machine(self._member(replica_id))

    def status(self, replica_id: int) -> dict[str, Any]:
        """How a replica is: alive, leads, applied and decided (offsets in bytes), executed (commands), joined."""
        return self._walk.replica(self._member(replica_id))

    def transcript(self) -> str:
        """The last operations, one a line."""
        transcript: str = self._walk.report()["transcript"]
        return transcript

    # --- Inside ---------------------------------------------------------------------------------------------------

    def _member(self, replica_id: int) -> int:
        if replica_id not in self.replicas:
            raise UnknownReplica(replica_id, self.replicas)
        return replica_id

    def _judge(self) -> None:
        report = self._walk.report
        failure = report()["failure"]
        if failure:
            raise SimViolation(f"seed {self.seed}, after {report()['steps']} steps: {failure}", report()["transcript"])

    def _compare_states(self) -> None:
        """Replicas that have executed as many commands must be in the same state."""
        states: dict[int, tuple[int, bytes]] = {}
        for each in self.replicas:
            if not self.alive(each):
                continue
            executed, state = self.status(each)["executed"], self.state_machine(each).snapshot()
            first, expected = states.setdefault(executed, (each, state))
            if state != expected:
                raise SimViolation(
                    f"seed {self.seed}: replicas {first} and {each} have executed the same {executed} commands, and the"
                    " snapshots of their state machines differ"
                )
