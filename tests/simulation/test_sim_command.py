"""`mu sim`: ranges, violations, the shortest walk that shows one, and the same walk in every process."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mu import _core
from mu.cli.app import app
from mu.testing import sim_walk

FAULTY_STEP = 700


class Faulty:
    """A walk that goes wrong after so many steps, whatever its seed."""

    def __init__(self, *, seed: int, steps: int, replicas: int, **_: Any) -> None:
        self.seed, self.steps, self.replicas = seed, steps or 20_000, replicas or 3

    def run(self) -> bool:
        """True if it ends before the fault."""
        return self.steps < FAULTY_STEP

    def report(self) -> dict[str, Any]:
        """What the extension's walk reports."""
        steps = min(self.steps, FAULTY_STEP)
        return {
            "steps": steps,
            "failure": "" if self.run() else "lost: command 1",
            "replicas": self.replicas,
            "transcript": "land\n",
            "state": "1 leads\n",
            "reproduction": f"mu sim --seeds {self.seed}",
        }


def test_walks_of_a_range_are_counted(tmp_path: Path) -> None:
    """A range of seeds is walked whole, and the result says so."""
    target = tmp_path / "result.json"
    done = CliRunner().invoke(app, ["sim", "--seeds", "1..60", "--steps", "500", "--json", str(target)])
    assert done.exit_code == 0, done.output
    result = json.loads(target.read_text())
    assert (result["seeds"], result["first_seed"], result["violation"]) == (60, 1, None)
    assert result["steps"] >= 60 * 500


@pytest.mark.parametrize("text", ["2..1", "x", "-1..3", "1..", f"1..{1 << 64}"])
def test_what_is_no_range_is_refused(text: str) -> None:
    """With a word on what a range looks like."""
    done = CliRunner().invoke(app, ["sim", "--seeds", text])
    assert done.exit_code == 2
    assert "range" in done.output


def test_a_violation_is_made_as_short_as_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving finds the first step count that shows it, and the batch ends there."""
    monkeypatch.setattr(_core, "Walk", Faulty)
    walked = sim_walk.walk_batch([4, 5, 6], 0, 0)
    assert walked.seeds == 1
    assert walked.violation is not None
    assert (walked.violation.seed, walked.violation.steps, walked.violation.replicas) == (4, FAULTY_STEP, 3)


def test_the_command_says_what_was_seen_and_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A violation is exit code 1, its transcript, its seed and the line that reproduces it."""
    violation = sim_walk.Violation(4, FAULTY_STEP, 3, "lost: command 1", "land\n", "1 leads\n", "mu sim --seeds 4..4")
    monkeypatch.setattr("mu.cli.sim.walk_seeds", lambda *_, **__: iter([sim_walk.Walked(1, 10, 0.1, violation)]))
    done = CliRunner().invoke(app, ["sim", "--seeds", "4"])
    assert done.exit_code == 1
    for expected in ("land", "1 leads", "seed 4", "700 steps", "lost: command 1", "mu sim --seeds 4..4"):
        assert expected in done.output


def test_the_same_seed_is_the_same_walk_in_every_process() -> None:
    """The reports of one seed, made here and in another process, are equal to the letter."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(report_of, 23).result()
    assert there == report_of(23)


def report_of(seed: int) -> dict[str, Any]:
    """All that a walk reports."""
    walk = _core.Walk(seed=seed, steps=3000, replicas=3, log_bytes=0, state_machine=None)
    assert walk.run()
    return walk.report()
