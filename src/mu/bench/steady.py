"""`mu bench steady` and `mu bench idle`: what happens when nothing happens.

Steady: full load, others wanting the processor too, and nobody fails; every change of leader is a false election.
Idle: no commands at all; what the replicas still cost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mu.bench import machine
from mu.testing import Ledger, LoadSpec, LocalCluster

SETTLED: Final = 30.0  # seconds for a new cluster to agree on its leader
LOOK: Final = 0.25  # seconds between looks
QUIET: Final = 3.0  # seconds after which an idle cluster counts as idle

Progress = Callable[[float], None]


def measure_steady(
    *,
    seconds: float = 300.0,
    hogs: int = 2,
    replicas: int = 3,
    payload: int = 64,
    progress: Progress = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Counts the changes of leader under full load, with nobody failing; returns what `--json` holds.

    Args:
        seconds: for how long.
        hogs: processes beside it that want a core each, all the time.
        replicas: how many.
        payload: bytes of a command, at least 16.
        progress: called with the part that is done, 0 … 1.
        options: keys of Cluster.
    """
    with LocalCluster(replicas, Ledger, **options) as cluster, _hogs(hogs):
        cluster.settle(SETTLED)
        with cluster.load(LoadSpec(size=payload)) as load:
            before = _takeovers(cluster)
            began = time.monotonic()
            while (passed := time.monotonic() - began) < seconds:
                progress(passed / seconds)
                time.sleep(LOOK)
            after, acknowledged = _takeovers(cluster), load.acknowledged
        cores, fabric = cluster.cluster.chosen_cores, cluster.cluster.fabric
    return {
        "fabric": fabric,
        "replicas": replicas,
        "payload": payload,
        "seconds": seconds,
        "hogs": hogs,
        "acknowledged": acknowledged,
        "false_elections": after - before,
        "machine": machine.facts(cores),
    }


def measure_idle(
    *, seconds: float = 20.0, replicas: int = 3, progress: Progress = lambda _: None, **options: Any
) -> dict[str, Any]:
    """The processor time that a cluster without commands uses; returns what `--json` holds.

    Args:
        seconds: for how long.
        replicas: how many.
        progress: called with the part that is done, 0 … 1.
        options: keys of Cluster.
    """
    with LocalCluster(replicas, None, **options) as cluster:
        cluster.settle(SETTLED)
        time.sleep(QUIET)
        before, began = _processor_seconds(cluster), time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            progress(passed / seconds)
            time.sleep(LOOK)
        used = _processor_seconds(cluster) - before
        passed = time.monotonic() - began
        cores, fabric = cluster.cluster.chosen_cores, cluster.cluster.fabric
    return {
        "fabric": fabric,
        "replicas": replicas,
        "seconds": seconds,
        "percent_of_a_core": round(100 * used / passed, 2),
        "machine": machine.facts(cores),
    }


def _takeovers(cluster: LocalCluster) -> int:
    statuses = cluster.statuses(SETTLED)
    return sum(each.takeovers for each in statuses.values())


def _processor_seconds(cluster: LocalCluster) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for pid in cluster.pids.values():
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = stat.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])  # user and system, of all threads
    return total / ticks


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    # They end with whoever started them, however that ends.
    command = [sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(10**5))"]
    hogs = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
