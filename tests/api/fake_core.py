"""A stand-in for the native core, in one process and without a protocol: it applies what it is told to, at once.

It answers the questions of the Python face alone: which arguments arrive, in which order, and what becomes of errors.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from mu.errors import Closed, CommandFailed, IdInUse, Indeterminate, NotLeader, TooLarge

LARGEST = 4096  # bytes of a command


class World:
    """What the nodes of one test share."""

    def __init__(self) -> None:
        self.nodes: dict[int, FakeNode] = {}
        self.leader = 1
        self.applied: list[bytes] = []
        self.timeouts_ns: list[int] = []
        self.raises: deque[BaseException] = deque()
        """what the next calls raise instead of doing anything"""
        self.lost_answers = 0
        """so many calls are applied, and then raise Indeterminate"""
        self.notice = ""
        self.failure = ""
        self.gate = threading.Event()
        """while it is clear, calls wait"""
        self.gate.set()
        self.entered = threading.Semaphore(0)
        """released by each call that begins"""
        self.replies: dict[int, tuple[int, bytes]] = {}

    def Node(self, **settings: Any) -> FakeNode:  # noqa: N802  # it stands for a class
        """Makes a node of this world."""
        return FakeNode(self, settings)


class FakeNode:
    """What `_core.Node` looks like."""

    def __init__(self, world: World, settings: dict[str, Any]) -> None:
        self.world = world
        self.settings = settings
        self.id: int = settings["replica_id"]
        self.machine = settings["state_machine"]
        self.started = self.closed = self.paused = False
        if self.id in world.nodes:
            raise IdInUse(f"Process 42 is replica {self.id}")
        world.nodes[self.id] = self

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        self.closed = True
        self.world.nodes.pop(self.id, None)
        self.world.gate.set()

    def notice(self) -> str:
        return self.world.notice

    def _enter(self, timeout_ns: int) -> None:
        self.world.timeouts_ns.append(timeout_ns)
        self.world.entered.release()
        self.world.gate.wait()
        if self.closed:
            raise Closed("This replica was closed")
        if self.world.raises:
            raise self.world.raises.popleft()
        if self.world.leader != self.id:
            raise NotLeader(self.world.leader)

    def _apply(self, command: bytes) -> bytes:
        if len(command) > LARGEST:
            raise TooLarge(len(command), LARGEST)
        self.world.applied.append(command)
        try:
            reply: bytes = self.machine.apply(command)
        except Exception as error:  # noqa: BLE001  # as the core does
            raise CommandFailed(f"{type(error).__name__}: {error}") from None
        return reply

    def execute(self, command: bytes, timeout_ns: int, client: int = 0, number: int = 0) -> bytes:
        self._enter(timeout_ns)
        number &= (1 << 63) - 1  # the rest says that it was sent before
        known, reply = self.world.replies.get(client, (0, b""))
        if not client or number != known:
            reply = self._apply(command)
            self.world.replies[client] = (number, reply)
        if self.world.lost_answers:
            self.world.lost_answers -= 1
            raise Indeterminate("The answer was lost")
        return reply

    def execute_many(self, commands: Sequence[bytes], timeout_ns: int) -> list[bytes]:
        self._enter(timeout_ns)
        return [self._apply(each) for each in commands]

    def propose(self, command: bytes, timeout_ns: int) -> int:
        self._enter(timeout_ns)
        self._apply(command)
        return len(self.world.applied)

    def propose_many(self, commands: Sequence[bytes], timeout_ns: int) -> int:
        self.execute_many(commands, timeout_ns)
        return len(self.world.applied)

    def read(self, function: Callable[[], Any], timeout_ns: int) -> Any:
        self._enter(timeout_ns)
        return function()

    def wait_until_leading(self, timeout_ns: int) -> bool:
        """Looks, again and again, until it leads or the time is up."""
        until = time.monotonic_ns() + timeout_ns
        while self.status()["role"] != "leader":
            if time.monotonic_ns() >= until:
                return False
        return True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def status(self) -> dict[str, Any]:
        leads = self.world.leader == self.id
        return {
            "replica_id": self.id,
            "role": "leader" if leads else "follower",
            "leader": self.world.leader,
            "scores": {2: 15},
            "alive": [1, 2, 3],
            "paused": self.paused,
            "failure": self.world.failure,
            "a_key_of_the_future": 1,
        }
