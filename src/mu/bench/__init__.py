"""Measurements: what `mu bench` does, as functions that return what its `--json` holds.

Every figure stands beside the floor or the faults of the same run, in alternating rounds, so that it says something
on any machine. `mu.bench.inside` runs in the leader's process; the rest in the one that asks.
"""

from mu.bench.failover import FAULTS, failover
from mu.bench.latency import Latencies, latency
from mu.bench.quantiles import quantiles
from mu.bench.throughput import throughput

__all__ = ["FAULTS", "Latencies", "failover", "latency", "quantiles", "throughput"]
