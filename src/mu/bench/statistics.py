"""Quantiles by nearest rank: each is a value that was really measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

LEVELS: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def quantiles(samples: Iterable[float], names: Iterable[str] = LEVELS) -> dict[str, float]:
    """The named quantiles and the maximum; all 0 if there are no samples."""
    ordered = sorted(samples)
    found = {name: at(ordered, LEVELS[name]) for name in names}
    return {**found, "max": at(ordered, 1.0)}


def at(ordered: list[float], level: float) -> float:
    """The smallest of the sorted samples such that at least this part of them is not above it."""
    if not ordered:
        return 0
    return ordered[max(0, math.ceil(round(level * len(ordered), 9)) - 1)]
