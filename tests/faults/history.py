"""Clients that set, add and read on several keys, each a thread, and the history that they record.

A client goes to the replica that it takes for the leader, whatever that one has become meanwhile, and now and then to
any other, so that deposed leaders are asked too. What was not proposed is left out of the history, which claims that it
never takes effect; what is indeterminate stays open in it. Keys are fresh ones after a while: the check's effort grows
with a key's operations.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from mu.errors import Indeterminate, MuError, NotLeader, NotProposed, ReplicaDown
from mu.testing import Counter, LocalCluster, Operation, Register, Verdict, check_linearizable
from tests.faults.witness import Sum, Value

OPERATIONS_PER_KEYS: Final = 400  # of all clients, then the next keys
KEYS: Final = 2  # registers at a time, and as many counters
STRAY: Final = 0.1  # of the operations
CALL_TIMEOUT: Final = 0.5  # seconds


class Clients:
    """Threads that operate until they are stopped. A context manager."""

    def __init__(self, cluster: LocalCluster, seed: int, count: int = 4) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._begun = 0
        self.history: list[Operation] = []
        self.faults: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed + each),), name=f"client-{each}", daemon=True)
            for each in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def answered(self) -> int:
        """How many operations have got their result."""
        with self._lock:
            return sum(each.returned is not None for each in self.history)

    def stop(self) -> None:
        """Ends the clients after their operations under way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, choices: random.Random) -> None:
        replica = choices.choice(self._cluster.cluster.replicas)
        try:
            while not self._stopping.is_set():
                replica = self._operate(choices, replica)
        except Exception as error:  # noqa: BLE001  # the test's thread tells of it
            self.faults.append(f"{threading.current_thread().name}: {type(error).__name__}: {error}")

    def _operate(self, choices: random.Random, replica: int) -> int:
        """One operation; returns the replica to ask next."""
        with self._lock:
            self._begun += 1
            number = self._begun
        if choices.random() < STRAY:
            replica = choices.choice(self._cluster.cluster.replicas)
        keys = f"{number // OPERATIONS_PER_KEYS}-{choices.randrange(KEYS)}"
        action, call = self._choose(choices, keys, number)
        key = ("sum" if action[0] == "add" or call.__name__ == "read_sum" else "value", keys)
        called = time.monotonic_ns()
        try:
            result = call(replica)
        except NotProposed as error:
            return self._elsewhere(choices, error)
        except ReplicaDown:
            return choices.choice(self._cluster.cluster.replicas)
        except Indeterminate:
            if action != ("read",):
                self._enter(Operation(key, action, None, called, None))
            return choices.choice(self._cluster.cluster.replicas)
        self._enter(Operation(key, action, result, called, time.monotonic_ns()))
        return replica

    def _elsewhere(self, choices: random.Random, error: MuError) -> int:
        self._stopping.wait(0.002)  # a client that is refused does not hammer
        if isinstance(error, NotLeader) and error.leader:
            return error.leader
        return choices.choice(self._cluster.cluster.replicas)

    def _choose(
        self, choices: random.Random, keys: str, number: int
    ) -> tuple[tuple[Any, ...], Callable[[int], object]]:
        cluster = self._cluster

        def write(replica: int) -> None:
            cluster.execute(f"kv r{keys} set {number}".encode(), replica, CALL_TIMEOUT)

        def add(replica: int) -> int:
            return int(cluster.execute(f"kv c{keys} add {addend}".encode(), replica, CALL_TIMEOUT))

        def read_value(replica: int) -> str | None:
            return cluster.read(Value(f"r{keys}"), replica, CALL_TIMEOUT)

        def read_sum(replica: int) -> int:
            return cluster.read(Sum(f"c{keys}"), replica, CALL_TIMEOUT)

        addend = choices.randrange(1, 1000)
        kinds: list[tuple[tuple[Any, ...], Callable[[int], object]]] = [
            (("write", str(number)), write),
            (("add", addend), add),
            (("read",), read_value),
            (("read",), read_sum),
        ]
        return choices.choice(kinds)

    def _enter(self, operation: Operation) -> None:
        with self._lock:
            self.history.append(operation)


def check(history: list[Operation], timeout: float = 60.0) -> Verdict:
    """Whether a history of Clients is linearizable: its registers and its counters."""
    values = [each for each in history if each.key[0] == "value"]  # type: ignore[index]
    sums = [each for each in history if each.key[0] == "sum"]  # type: ignore[index]
    return check_linearizable(values, Register(), timeout=timeout) and check_linearizable(
        sums, Counter(), timeout=timeout
    )
