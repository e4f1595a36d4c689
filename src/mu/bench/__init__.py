"""Measurements: what `mu bench` does, as functions that return what its `--json` holds.

Every figure stands beside the floor or the faults of the same run, in alternating rounds, so that it says something
on any machine. `mu.bench.inside` runs in the leader's process; the rest in the one that asks.
"""

from mu.bench.failover import FAULTS, measure_failover
from mu.bench.latency import Latencies, measure_latency
from mu.bench.permission import LOG_BYTES, METHODS, measure_permission
from mu.bench.statistics import quantiles
from mu.bench.steady import measure_idle, measure_steady
from mu.bench.throughput import measure_throughput

__all__ = [
    "FAULTS",
    "LOG_BYTES",
    "METHODS",
    "Latencies",
    "measure_failover",
    "measure_idle",
    "measure_latency",
    "measure_permission",
    "measure_steady",
    "measure_throughput",
    "quantiles",
]
