"""`mu bench throughput`: batches, several outstanding, natively and from Python; and lap after lap of the log."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Final

from mu.bench import inside, machine
from mu.bench.latency import LONGEST, SETTLED, Latencies, Progress, at_leader
from mu.bench.statistics import LEVELS, at, quantiles
from mu.testing import LocalCluster

ROUNDS: Final = 5  # turns of each
PROBE: Final = 20_000  # commands to learn how many bytes one takes in the log
PYTHON_SHARE: Final = 4  # Python proposes this part of the native number of commands: it is slower


def measure_throughput(
    *,
    replicas: int = 3,
    payload: int = 64,
    batch: int = 128,
    outstanding: int = 8,
    count: int = 2_000_000,
    laps: int = 0,
    progress: Progress = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Measures; returns what `--json` holds.

    Args:
        replicas: how many.
        payload: bytes of a command.
        batch: commands a slot.
        outstanding: slots under way at once (natively; Python's loop has one).
        count: commands natively; a quarter of that from Python.
        laps: also go round the log so often without a pause, and compare the first lap with all of them.
        progress: called with the part that is done, 0 … 1.
        options: keys of Cluster.
    """
    noted = Latencies()
    native_ns = python_ns = python_count = 0
    batches = array("q")
    with LocalCluster(replicas, None, **{"timeout_ms": inside.WAIT_MS, **options}) as cluster:
        cluster.settle(SETTLED)
        for turn in range(ROUNDS):
            part = count * (turn + 1) // ROUNDS - count * turn // ROUNDS
            elapsed, samples = at_leader(cluster, noted, inside.native_throughput, payload, batch, outstanding, part)
            native_ns += elapsed
            batches += samples
            some = max(batch, part // PYTHON_SHARE)
            python_ns += at_leader(cluster, noted, inside.python_throughput, payload, batch, some)
            python_count += some
            progress((turn + 1) / (ROUNDS + bool(laps)))
        round_the_log = _laps(cluster, payload, batch, outstanding, laps) if laps else None
        progress(1.0)
        cores, fabric = cluster.cluster.chosen_cores, cluster.cluster.fabric
    result = {
        "fabric": fabric,
        "replicas": replicas,
        "payload": payload,
        "batch": batch,
        "outstanding": outstanding,
        "commands": count,
        "seconds": native_ns / 1e9,
        "native_per_us": count * 1000 / max(1, native_ns),
        "python_per_us": python_count * 1000 / max(1, python_ns),
        "batch_ns": quantiles(batches),
        "leader_changes": noted.leader_changes,
        "machine": machine.facts(cores),
    }
    return result if round_the_log is None else {**result, "laps": round_the_log}


def _laps(cluster: LocalCluster, payload: int, batch: int, outstanding: int, laps: int) -> dict[str, Any]:
    """Goes round the log; the latency of a batch at p99.9, in ns, over the first lap, the last and all."""

    def run(function: Callable[..., Any], *args: Any) -> Any:
        return cluster.run(leader, function, *args, timeout=LONGEST)

    leader = cluster.settle(SETTLED)
    before = run(inside.chain_end)
    run(inside.native_throughput, payload, batch, outstanding, PROBE)
    bytes_each = max(1.0, (run(inside.chain_end) - before) / PROBE)
    commands = int(laps * cluster.cluster.log_bytes / bytes_each)
    began = run(inside.chain_end)
    elapsed, samples = run(inside.native_throughput, payload, batch, outstanding, commands)
    turned = (run(inside.chain_end) - began) / cluster.cluster.log_bytes
    lap = max(1, int(len(samples) / max(1.0, turned)))
    p999 = {
        "first": at(sorted(samples[:lap]), LEVELS["p999"]),
        "last": at(sorted(samples[-lap:]), LEVELS["p999"]),
        "all": at(sorted(samples), LEVELS["p999"]),
    }
    return {
        "laps": turned,
        "commands": commands,
        "seconds": elapsed / 1e9,
        "batch_p999_ns": p999,
        "max_ns": max(samples, default=0),
    }
