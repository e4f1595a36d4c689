"""Faults at random under concurrent clients: histories are linearizable, nothing is lost or doubled, all end equal."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
import redis
import redis.sentinel
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from mu.apps.redis import LocalRedis
from mu.testing import Operation
from tests.apps.redis.test_failover import Writers, check, strike
from tests.faults import history

SECONDS: Final = 60.0  # of faults
QUIET: Final = 0.8  # seconds at most between two of them
BOTH: Final = 0.4  # of the faults: that another replica's comes to it
OPERATIONS_PER_KEYS: Final = 120  # on a register and a counter, then the next ones: the check's effort grows with them
SEED: Final = int(os.environ.get("MU_REDIS_SEED", "0")) or random.SystemRandom().randrange(1 << 32)


def was_refused(error: redis.RedisError) -> bool:
    """Whether the command certainly was not executed: the history then claims that it never takes effect."""
    never_sent = ("Error 111 connecting", "The previous master is now a slave")
    return isinstance(error, redis.sentinel.MasterNotFoundError | redis.ResponseError) or str(error).startswith(
        never_sent
    )


class Clients:
    """Clients that set and read registers, add to counters and read those, and what they saw."""

    def __init__(self, servers: LocalRedis, count: int = 3) -> None:
        self.history: list[Operation] = []
        self._servers = servers
        self._era = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        chosen = random.Random(SEED + number)
        sentinel = self._servers.sentinel(socket_timeout=0.5)
        client: Any = sentinel.master_for(
            self._servers.cluster.name, socket_timeout=0.5, retry=Retry(ConstantBackoff(0.01), 0)
        )
        while not self._stopping.is_set():
            kind = chosen.choice(("value", "sum"))
            self._operate(client, kind, None if chosen.random() < 0.5 else chosen.randrange(1 << 30))

    def _operate(self, client: Any, kind: str, argument: int | None) -> None:
        """Sets a register or adds to a counter; without an argument, reads it."""
        key = (kind, f"{self._era}-{len(self.history) // OPERATIONS_PER_KEYS}")
        name = ":".join(key)
        action = ("read",) if argument is None else ("write" if kind == "value" else "add", argument)
        called = time.monotonic_ns()
        try:
            if argument is None:
                result = client.get(name)
            else:
                result = client.set(name, argument) if kind == "value" else client.incrby(name, argument)
        except redis.RedisError as error:
            if argument is not None and not was_refused(error):
                self._record(Operation(key, action, None, called, None))
                self._era += 1  # a key with many open operations takes the check too long
            return
        returned = time.monotonic_ns()
        if kind == "value":
            seen = None if argument is not None or result is None else int(result)
        else:
            seen = int(result or 0)
        self._record(Operation(key, action, seen, called, returned))

    def _record(self, operation: Operation) -> None:
        with self._lock:
            self.history.append(operation)

    def stop(self) -> None:
        """Ends the clients."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def whole(servers: LocalRedis) -> bool:
    """Whether every server runs and holds the data: only then may one be killed."""
    infos = [servers.info(each) for each in servers.cluster.replicas]
    return all(info.get("mu_trusted") == 1 and info.get("mu_role") in {"following", "leading"} for info in infos)


def rage(servers: LocalRedis, seconds: float) -> dict[str, int]:
    """Faults for so long, some of them two at once; how many there were of each kind.

    At most one of three is dead or stopped, so that the others can go on. One that is paused still takes part in what
    they decide, though it cannot lead.
    """
    chosen = random.Random(SEED)
    quiet = threading.Event()  # never set: the storm's own rhythm, for which there is no event
    struck = {"kill": 0, "stop": 0, "pause": 0, "two": 0}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        victim, other = chosen.sample(servers.cluster.replicas, 2)
        fault = chosen.choice(("kill", "stop", "pause"))
        if fault == "kill" and not whole(servers):
            quiet.wait(0.05)
            continue
        struck[fault] += 1
        undo = [strike(servers, fault, victim)]
        if chosen.random() < BOTH:
            struck["two"] += 1
            quiet.wait(chosen.random() * QUIET / 4)
            undo.append(strike(servers, "pause", other))
        quiet.wait(chosen.random() * QUIET)
        chosen.shuffle(undo)
        for each in undo:
            each()
            quiet.wait(chosen.random() * QUIET)
    return struck


@pytest.mark.slow
def test_a_storm_loses_nothing(fresh: Callable[..., LocalRedis], binary: str) -> None:
    """After kills, stops and pauses at random every history is linearizable and all servers have the same data."""
    sys.stdout.write(f"again with: MU_REDIS_SEED={SEED}\n")
    servers = fresh(binary=binary, tuning={})
    servers.settle()
    clients = Clients(servers)
    with Writers(servers) as writers:
        writers.go_on()
        struck = rage(servers, SECONDS)
        sys.stdout.write(f"{struck}, {writers.progress()} transactions, {len(clients.history)} operations\n")
        writers.go_on()
    clients.stop()
    assert sum(struck.values()) > 0
    check(servers, writers)
    verdict = history.check(clients.history)
    assert verdict, verdict
