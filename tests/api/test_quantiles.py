"""Quantiles by nearest rank."""

from __future__ import annotations

import random

import pytest

from mu.bench import quantiles
from mu.bench.statistics import clock_tick


def test_of_a_hundred_numbers() -> None:
    """Of 1 … 100 the quantiles are their own names."""
    samples = list(range(1, 101))
    random.Random(1).shuffle(samples)
    assert quantiles(samples) == {"p50": 50, "p90": 90, "p99": 99, "p999": 100, "max": 100}


def test_of_a_thousand_numbers() -> None:
    """p99.9 of 1 … 1000 is 999: rounding errors of floating point do not make it 1000."""
    assert quantiles(range(1, 1001)) == {"p50": 500, "p90": 900, "p99": 990, "p999": 999, "max": 1000}


def test_of_one_number() -> None:
    """One sample is every quantile."""
    assert set(quantiles([7]).values()) == {7}


def test_of_none() -> None:
    """No samples, no crash."""
    assert quantiles([], ["p50"]) == {"p50": 0, "max": 0}


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 1001])
def test_a_quantile_was_measured(count: int) -> None:
    """Every quantile is one of the samples, and they do not fall."""
    random_number = random.Random(count)
    samples = [random_number.random() for _ in range(count)]
    found = list(quantiles(samples).values())
    assert set(found) <= set(samples)
    assert found == sorted(found)


def test_a_coarse_clock_is_seen_through() -> None:
    """Samples of a clock that ticks every 10 ns give a median between the ticks, near that of the true times."""
    true = [41 + i % 13 for i in range(13_000)]
    coarse = [each // 10 * 10 + (each % 3 == 0) for each in true]
    tick = clock_tick(coarse)
    assert 8 <= tick <= 10
    assert abs(quantiles(coarse, ["p50"], tick)["p50"] + 5 - 47) < 3


def test_a_fine_clock_is_left_alone() -> None:
    """Samples at every nanosecond have no tick to see through."""
    assert clock_tick(range(1000)) == 0
