"""Builds every mutant, lets the simulator hunt it from ten first seeds, and prints how soon it was caught.

./dev mutants [--only NAME]… [--seeds 10] [--limit 60] [--jobs 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.mutants.build import Workshop
from tests.mutants.hunt import Catch, hunt
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.mutants import MUTANTS

APART = 1_000_000  # seeds between one run's first and the next one's


@dataclass(frozen=True)
class Result:
    """All runs against one mutant."""

    mutant: Mutant
    catches: list[Catch]

    @property
    def median(self) -> float | None:
        """The median of all steps until it was caught; None if that was not in half of the runs."""
        steps = [catch.total_steps if catch.caught else float("inf") for catch in self.catches]
        median = statistics.median(steps)
        return None if median == float("inf") else median

    @property
    def said(self) -> str:
        """What was said most often, without its numbers' meaning: the first words."""
        said = [catch.failure.split(":")[0] for catch in self.catches if catch.caught]
        return ", ".join(sorted(set(said), key=said.count, reverse=True)) or "nothing: it survived"

    def as_json(self) -> dict[str, object]:
        """For other programs."""
        about = {"name": self.mutant.name, "rule": self.mutant.rule, "kind": self.mutant.kind.value}
        return {**about, "median_steps": self.median, "runs": [asdict(catch) for catch in self.catches]}


def readable(steps: float | None) -> str:
    """A number of steps, to two digits."""
    if steps is None:
        return "—"
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if steps >= size:
            return f"{steps / size:.2g} {unit}" if steps < 10 * size else f"{steps / size:.0f} {unit}"
    return f"{steps:.0f}"


def table(results: list[Result]) -> Table:
    """What came of it, one line a mutant."""
    sheet = Table("mutant", "rule", "kind", "steps", "caught", "what was said")
    for result in results:
        caught = sum(catch.caught for catch in result.catches)
        style = "" if caught == len(result.catches) else "bold red"
        sheet.add_row(
            result.mutant.name,
            result.mutant.rule,
            result.mutant.kind.value,
            readable(result.median),
            f"{caught}/{len(result.catches)}",
            result.said,
            style=style,
        )
    return sheet


def run(
    wanted: list[Mutant], workshop: Workshop, seeds: int, limit_s: float, jobs: int, console: Console
) -> list[Result]:
    """Hunts every wanted mutant, `jobs` at a time."""
    columns = (TextColumn("{task.description:>34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("", total=len(wanted) * seeds)

        def one(mutant: Mutant) -> Result:
            runner = workshop.runner(mutant)
            catches = []
            for index in range(seeds):
                progress.update(task, description=mutant.name)
                catches.append(hunt(runner, 1 + index * APART, limit_s))
                progress.advance(task)
            return Result(mutant, catches)

        return list(pool.map(one, wanted))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="./dev mutants", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutant (may be repeated)")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each mutant, from different first seeds")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a run gives up")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("MU_JOBS", "1")), help="mutants at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all runs there")
    return parser.parse_args()


def main() -> int:
    """0: every run of every mutant was caught."""
    asked = arguments()
    console = Console()
    unknown = set(asked.only).difference(mutant.name for mutant in MUTANTS)
    if unknown:
        console.print(f"There is no mutant {', '.join(sorted(unknown))}.")
        return 2
    wanted = [mutant for mutant in MUTANTS if not asked.only or mutant.name in asked.only]
    workshop = Workshop(Path(os.environ.get("MU_TEST_BINARIES", ROOT / "build/tests")))
    results = run(wanted, workshop, asked.seeds, asked.limit, asked.jobs, console)
    console.print(table(results))
    if asked.json:
        asked.json.write_text(json.dumps([result.as_json() for result in results], indent=1) + "\n", encoding="utf-8")
    return 0 if all(catch.caught for result in results for catch in result.catches) else 1


if __name__ == "__main__":
    sys.exit(main())
