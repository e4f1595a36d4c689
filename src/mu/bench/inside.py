"""What runs in the leader's process to measure it. Times in nanoseconds."""

from __future__ import annotations

import time
from array import array

from mu.replica import Replica

WAIT_MS = 10_000  # a measured command's time-out: a stall shows in the figures, not as an error


def native_latencies(replica: Replica, payload: int, outstanding: int, count: int) -> array[int]:
    """Each proposal of a native loop, from its call to its decision."""
    return array("q", replica.native.bench_latency(payload, outstanding, count))


def floor_latencies(replica: Replica, payload: int, count: int) -> array[int]:
    """The bare cost of moving the same bytes over the same medium."""
    return array("q", replica.native.bench_floor(payload, count))


def python_latencies(replica: Replica, payload: int, count: int) -> array[int]:
    """Each proposal of a Python loop, including one reading of the clock."""
    command, propose, clock = b"x" * payload, replica.propose, time.perf_counter_ns
    samples = array("q", bytes(8 * count))
    for i in range(count):
        began = clock()
        propose(command)
        samples[i] = clock() - began
    return samples


def native_throughput(
    replica: Replica, payload: int, batch: int, outstanding: int, count: int
) -> tuple[int, array[int]]:
    """How long a native loop took for `count` commands, and the latency of each of its batches."""
    elapsed, samples = replica.native.bench_throughput(payload, batch, outstanding, count)
    return elapsed, array("q", samples)


def python_throughput(replica: Replica, payload: int, batch: int, count: int) -> int:
    """How long a Python loop took for `count` commands, proposed `batch` at a time."""
    command = b"x" * payload
    batches, rest = divmod(count, batch)
    began = time.perf_counter_ns()
    if batch == 1:
        for _ in range(count):
            replica.propose(command)
    else:
        commands = [command] * batch
        for _ in range(batches):
            replica.propose_many(commands)
        if rest:
            replica.propose_many([command] * rest)
    return time.perf_counter_ns() - began


def chain_end(replica: Replica) -> int:
    """How many bytes have been appended to the log since the beginning."""
    return replica.status().chain_end
