"""`mu bench latency`: one proposal after the other, natively and from Python, beside the floor.

The three take turns within one run, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from mu.bench import inside, machine
from mu.bench.perftest import write_latency_us
from mu.bench.statistics import clock_tick, quantiles
from mu.cluster import Cluster
from mu.errors import NotLeader
from mu.fabric import fabrics
from mu.testing import LocalCluster

T = TypeVar("T")

ROUNDS: Final = 10  # turns of each of the three
WARM_UP: Final = 2000  # commands, not counted
SETTLED: Final = 30.0  # seconds for a new cluster to agree on its leader
LONGEST: Final = 600.0  # seconds for one turn
LEADER_CHANGES: Final = 10  # a measurement that is interrupted more often measures something else

Progress = Callable[[float], None]


@dataclass(slots=True)
class Latencies:
    """The samples of one run, in ns."""

    native: array[int] = field(default_factory=lambda: array("q"))
    python: array[int] = field(default_factory=lambda: array("q"))
    floor: array[int] = field(default_factory=lambda: array("q"))
    leader_changes: int = 0

    @staticmethod
    def dump_name(payload: int, outstanding: int) -> str:
        """The file of `dump`, as the paper's artifact names it."""
        return f"dump-st-{payload}-{outstanding}.txt"

    def dump(self, directory: Path, payload: int, outstanding: int) -> Path:
        """Writes the native ones, one a line."""
        path = directory / self.dump_name(payload, outstanding)
        path.write_text("".join(f"{each}\n" for each in self.native), encoding="ascii")
        return path


def measure_latency(
    *,
    replicas: int = 3,
    payload: int = 64,
    outstanding: int = 1,
    count: int = 100_000,
    progress: Progress = lambda _: None,
    **options: Any,
) -> tuple[dict[str, Any], Latencies]:
    """Measures; returns what `--json` holds, and the samples.

    Args:
        replicas: how many.
        payload: bytes of a command.
        outstanding: proposals under way at once (natively; Python's loop has one).
        count: commands natively, and again from Python, and again of the floor.
        progress: called with the part that is done, 0 … 1.
        options: keys of Cluster.
    """
    samples = Latencies()
    with LocalCluster(replicas, None, **{"timeout_ms": inside.WAIT_MS, **options}) as cluster:
        cluster.settle(SETTLED)
        at_leader(cluster, samples, inside.native_latencies, payload, outstanding, WARM_UP)
        at_leader(cluster, samples, inside.python_latencies, payload, WARM_UP)
        rounds = min(ROUNDS, count)
        for turn in range(rounds):
            part = count * (turn + 1) // rounds - count * turn // rounds
            samples.native += at_leader(cluster, samples, inside.native_latencies, payload, outstanding, part)
            samples.python += at_leader(cluster, samples, inside.python_latencies, payload, part)
            samples.floor += at_leader(cluster, samples, inside.floor_latencies, payload, part)
            progress((turn + 1) / rounds)
        cores, fabric = cluster.cluster.chosen_cores, cluster.cluster.fabric
    beside = _perftest(cluster.cluster, payload) if fabric == "verbs" else {}
    tick = clock_tick(samples.native)
    native, python, floor = (quantiles(each, tick=tick) for each in (samples.native, samples.python, samples.floor))
    return {
        "fabric": fabric,
        "replicas": replicas,
        "payload": payload,
        "outstanding": outstanding,
        "count": count,
        "propose_ns": native,
        "python_ns": python,
        "floor_ns": floor,
        "ratio_to_floor": {"p50": native["p50"] / max(1, floor["p50"]), "p99": native["p99"] / max(1, floor["p99"])},
        "python_adds_ns": {"p50": python["p50"] - native["p50"]},
        "clock_tick_ns": tick,
        "leader_changes": samples.leader_changes,
        **beside,
        "machine": machine.facts(cores),
    }, samples


def _perftest(cluster: Cluster, payload: int) -> dict[str, float]:
    """What `ib_write_lat` says of a write of that size between the first two replicas' devices, if it is here."""
    devices = [cluster.rdma_device.replace("{id}", str(each)) for each in cluster.replicas[:2]]
    ports = {port["device"]: port for report in fabrics() for port in report.ports if port["state"] == "active"}
    devices = [each or next(iter(ports), "") for each in devices]
    if len(devices) < 2 or not all(each in ports for each in devices):
        return {}
    latency_us = write_latency_us(devices[1], devices[0], ports[devices[0]]["gid_index"], payload)
    return {} if latency_us is None else {"ib_write_lat_ns": latency_us * 1000}


def at_leader(cluster: LocalCluster, samples: Latencies, function: Callable[..., T], *args: Any) -> T:
    """Runs one turn in the leader's process; again, and noted, if the leader changes under it."""
    while True:
        try:
            return cluster.run(cluster.leader(), function, *args, timeout=LONGEST)
        except NotLeader:
            samples.leader_changes += 1
            if samples.leader_changes > LEADER_CHANGES:
                raise
