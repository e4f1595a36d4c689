"""`mu sim`: ranges, violations, the shortest walk that shows one, and the same walk in every process."""

from __future__ import annotations

import json
import os
import subprocess
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
            "digest": self.seed,
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


def test_a_process_that_ends_is_traced_to_its_seed_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that ends the process that walks it is found again: which seed, and the first step that shows it."""
    monkeypatch.setattr(sim_walk, "walk_batch", deadly_batch)
    monkeypatch.setattr(sim_walk, "walk", deadly_walk)
    walks = list(sim_walk.walk_seeds(range(1, 4), steps=LEAST_DEADLY * 2, replicas=3, jobs=1))
    found = walks[-1].violation
    assert found is not None
    assert (found.seed, found.steps, found.text) == (DEADLY_SEED, LEAST_DEADLY, sim_walk.BROKEN)
    assert found.reproduction == f"mu sim --seeds {DEADLY_SEED}..{DEADLY_SEED} --steps {LEAST_DEADLY} --replicas 3"


DEADLY_SEED = 2
LEAST_DEADLY = 3


def deadly_walk(seed: int, steps: int = 0, replicas: int = 0) -> sim_walk.Walked:
    """A walk that, with one seed, ends its process."""
    if (seed, replicas) == (DEADLY_SEED, 3) and steps >= LEAST_DEADLY:
        os._exit(1)
    return sim_walk.Walked(1, steps)


def deadly_batch(seeds: list[int], steps: int, replicas: int) -> sim_walk.Walked:
    """In its own process: one walk after the other."""
    for seed in seeds:
        deadly_walk(seed, steps, replicas)
    return sim_walk.Walked(len(seeds))


def test_a_seed_is_one_walk_in_every_build_and_on_every_machine() -> None:
    """What happens in the walks of 25 seeds is what happened where the digest below was written down.

    It is another one after every change of the protocol or of the dice: then it is written down anew.
    """
    seeds, steps = 25, 4000
    here = sim_walk.walk_batch(list(range(1, seeds + 1)), steps, 0).digest
    command = [RUNNER, "--first", "1", "--count", str(seeds), "--steps", str(steps)]
    other_build = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["digest"]
    assert (f"{here:016x}", f"{other_build:016x}") == (DIGEST, DIGEST)


DIGEST = "1f31e1344a79d6e7"
RUNNER = str(Path(os.environ.get("MU_TEST_BINARIES", "build/tests")) / "mu_sim_runner")


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_shorter_walk_is_the_beginning_of_a_longer_one(seed: int) -> None:
    """After so many steps by hand everything is as it is in a storm that was planned to be longer."""
    storms = []
    for planned in (6_000, 60_000):
        one = _core.Walk(seed=seed, steps=planned, replicas=3, log_bytes=0, state_machine=None)
        assert one.storm(6_000)
        storms.append(one.report()["digest"])
    assert storms[0] == storms[1]


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
