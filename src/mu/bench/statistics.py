"""Quantiles of measured times.

By nearest rank each is a value that was really measured. But some machines' clocks tick only every ten nanoseconds, and
a whole proposal takes a few ticks: there a quantile is placed within its tick by how many samples share it, as for any
grouped data.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

LEVELS: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
ONE_TICK: Final = 2  # values so near each other are one tick of the clock, rounded differently


def quantiles(samples: Iterable[float], names: Iterable[str] = LEVELS, tick: float = 0) -> dict[str, float]:
    """The named quantiles and the maximum; all 0 if there are no samples.

    Args:
        samples: what was measured.
        names: of LEVELS.
        tick: the clock's resolution, in the samples' unit; 0: finer than one unit.
    """
    ordered = sorted(samples)
    found = {name: at(ordered, LEVELS[name], tick) for name in names}
    return {**found, "max": at(ordered, 1.0)}


def at(ordered: Sequence[float], level: float, tick: float = 0) -> float:
    """The smallest of the sorted samples such that at least this part of them is not above it."""
    if not ordered:
        return 0
    rank = max(0, math.ceil(round(level * len(ordered), 9)) - 1)
    value = ordered[rank]
    if tick <= ONE_TICK:
        return value
    below, upto = bisect_left(ordered, value - ONE_TICK), bisect_right(ordered, value + ONE_TICK)
    return round(value - tick / 2 + tick * (rank + 0.5 - below) / (upto - below), 1)


def clock_tick(samples: Iterable[float]) -> float:
    """The resolution of the clock behind these samples; 0 if it is finer than can be told."""
    ordered = sorted(samples)
    usual = sorted(set(ordered[: max(1, len(ordered) * 99 // 100)]))
    gaps = [after - before for before, after in pairwise(usual) if after - before > ONE_TICK]
    return statistics.median(gaps) if len(gaps) >= len(usual) / 4 else 0
