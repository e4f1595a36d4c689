"""`mu bench permission`: what each way of changing a write permission costs on an RDMA device (the paper's figure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from mu import fabric
from mu.bench import machine
from mu.bench.statistics import quantiles
from mu.cluster import ANY_PORT, RdmaPort

METHODS: Final = {
    "flags": "access flags of a queue pair",
    "restart": "restart of a queue pair",
    "replace": "a new queue pair",
    "register": "registering the log again",
}
LOG_BYTES: Final = tuple(mebibytes << 20 for mebibytes in (1, 4, 16, 64))

Progress = Callable[[float], None]


def measure_permission(
    *,
    log_bytes: Sequence[int] = LOG_BYTES,
    rounds: int = 200,
    rdma: RdmaPort = ANY_PORT,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Measures each method, in turns, for each size of the log; returns what `--json` holds.

    Args:
        log_bytes: sizes of the log.
        rounds: how often each.
        rdma: the port whose queue pairs are changed.
        progress: called with the part that is done, 0 … 1.

    Raises:
        MuError: there is no RDMA device, or it refuses.
    """
    sizes = []
    for done, size in enumerate(log_bytes):
        times = fabric.permission_times(rdma, size, rounds)
        sizes.append({"log_bytes": size, **{f"{name}_ns": quantiles(times[name]) for name in METHODS}})
        progress((done + 1) / len(log_bytes))
    return {"rounds": rounds, **asdict(rdma), "sizes": sizes, "machine": machine.facts("shared")}
