"""`mu sim`: random walks over simulated clusters, to find what must not happen."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from mu.cli.show import JsonFile, console, errors, progress_bar, say, write_json
from mu.testing.sim_walk import Violation, Walked, together, walk_seeds

FRESH_BITS: Final = 48


def sim(
    seeds: Annotated[str | None, typer.Option(metavar="A..B", help="Which walks: a seed, or from A to B.")] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps of each walk; 0: as its seed says.")] = 0,
    replicas: Annotated[int, typer.Option(min=0, max=15, help="Replicas of each cluster; 0: as its seed says.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="Begin no walks after so long; 0: no limit.")] = 0.0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are processors.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Random walks of the real replicas over a simulated fabric: every fault it allows, and a judge beside it.

    Without --seeds the walks are fresh ones, and for 60 seconds unless --seconds says otherwise.

    Examples: mu sim --seeds 1..1000; mu sim --seeds 17..17 --steps 4711 --replicas 3; mu sim --seconds 120
    """
    if seeds is None:
        first = random.SystemRandom().getrandbits(FRESH_BITS)
        chosen: Iterable[int] = itertools.count(first)
        seconds, total = seconds or 60.0, 0
        errors.print(f"fresh seeds from {first} on", highlight=False)
    else:
        first, last = _range(seeds)
        chosen, total = range(first, last + 1), last + 1 - first
    result = _run(chosen, total, steps, replicas, seconds, jobs)
    violation: Violation | None = result.pop("found")
    result["first_seed"] = first
    if json_file is not None:
        write_json({**result, "violation": _plain(violation)}, json_file)
    if json_file != "-":
        _print(result, violation)
    if violation is not None:
        raise typer.Exit(1)


def _run(
    seeds: Iterable[int], total: int, steps: int, replicas: int, seconds: float, jobs: int | None
) -> dict[str, Any]:
    began, walked = time.monotonic(), Walked()

    def passed() -> float:
        return time.monotonic() - began

    def goes_on() -> bool:
        return walked.violation is None and (not seconds or passed() < seconds)

    with progress_bar("walking") as progress:
        for batch in walk_seeds(seeds, steps=steps, replicas=replicas, jobs=jobs, goes_on=goes_on):
            walked = together(walked, batch)
            progress(walked.seeds / total if total else min(1.0, passed() / seconds))
    return {
        "seeds": walked.seeds,
        "steps": walked.steps,
        "seconds": passed(),
        "steps_per_s_per_core": round(walked.steps / walked.seconds) if walked.seconds else 0,
        "digest": f"{walked.digest:016x}",
        "found": walked.violation,
    }


def _range(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    try:
        a, b = int(first), int(last if dots else first)
    except ValueError:
        a, b = 1, 0
    if not 0 <= a <= b < 1 << 64:
        raise typer.BadParameter(f"{text!r} is no range of seeds; give one like 1..1000, or a single seed")
    return a, b


def _plain(violation: Violation | None) -> dict[str, Any] | None:
    if violation is None:
        return None
    return {name: getattr(violation, name) for name in Violation.__slots__}


def _print(result: dict[str, Any], violation: Violation | None) -> None:
    table = Table(title="simulated", title_justify="left", show_header=False)
    for name, value in (
        ("seeds", f"{result['seeds']:,} from {result['first_seed']} on"),
        ("steps", f"{result['steps']:,}"),
        ("steps a second and processor", f"{result['steps_per_s_per_core']:,}"),
        ("digest, the same on every machine", result["digest"]),
        ("violations", "none" if violation is None else "one"),
    ):
        table.add_row(name, value)
    if violation is None:
        console.print(table)
        return
    console.out(violation.transcript + violation.state, highlight=False)
    console.print(table)
    when = f"seed {violation.seed}, after {violation.steps:,} steps with {violation.replicas} replicas"
    say(f"{when}: {escape(violation.text)}")
    say(f"again: {violation.reproduction}")
