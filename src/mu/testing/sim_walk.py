"""Random walks over simulated clusters, many seeds in several processes: what `mu sim` runs.

A walk is decided by its seed, its steps and its replicas alone. A broken invariant inside a replica ends the process
that walks, so every batch of seeds has a process of its own to end.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from mu import _core

BATCH: Final = 25  # seeds for one process at a time
BROKEN: Final = "a replica lost an invariant of its own (the process that walked says more above)"


@dataclass(frozen=True, slots=True)
class Violation:
    """What one walk has seen that must not be.

    Attributes:
        seed, steps, replicas: which walk; `steps` is the shortest prefix found that shows it.
        text: what was seen.
        transcript: the last operations before it, one a line.
        state: how every replica stood then.
        reproduction: the command that shows it again.
    """

    seed: int
    steps: int
    replicas: int
    text: str
    transcript: str
    state: str
    reproduction: str


@dataclass(frozen=True, slots=True)
class Walked:
    """What some walks came to.

    Attributes:
        seeds, steps: how many.
        seconds: of one processor.
        violation: which ended them.
        digest: of everything that happened in them, 64 bits: the same seeds have the same one on every machine.
    """

    seeds: int = 0
    steps: int = 0
    seconds: float = 0.0
    violation: Violation | None = None
    digest: int = 0


def walk(seed: int, steps: int = 0, replicas: int = 0) -> Walked:
    """One walk in this process.

    Args:
        seed: 64 bits.
        steps: of the storm; 0: as the seed says (10,000 to 50,000).
        replicas: 0: as the seed says (1, 3, 5 or 7).
    """
    began = time.process_time()
    one = _core.Walk(seed=seed, steps=steps, replicas=replicas, log_bytes=0, state_machine=None)
    sound = one.run()
    report = one.report()
    spent = time.process_time() - began
    if sound:
        return Walked(1, report["steps"], spent, digest=report["digest"])
    violation = Violation(
        seed=seed,
        steps=steps or report["steps"],
        replicas=report["replicas"],
        text=report["failure"],
        transcript=report["transcript"],
        state=report["state"],
        reproduction=report["reproduction"],
    )
    return Walked(1, report["steps"], spent, violation, report["digest"])


def shortest(found: Violation) -> Violation:
    """The walk of fewest steps, found by halving, that still shows a violation, and this violation or another."""
    least, most = 0, found.steps
    while least + 1 < most:
        middle = (least + most) // 2
        earlier = walk(found.seed, middle, found.replicas).violation
        if earlier is None:
            least = middle
        else:
            most, found = middle, earlier
    return walk(found.seed, most, found.replicas).violation or found


def walk_batch(seeds: list[int], steps: int, replicas: int) -> Walked:
    """Walks in this process until one sees a violation, which is made as short as it gets."""
    all_of_them = Walked()
    for seed in seeds:
        all_of_them = together(all_of_them, walk(seed, steps, replicas))
        if all_of_them.violation is not None:
            return replace(all_of_them, violation=shortest(all_of_them.violation))
    return all_of_them


def together(one: Walked, other: Walked) -> Walked:
    """What some walks and some others came to, in whichever order they were walked."""
    return Walked(
        one.seeds + other.seeds,
        one.steps + other.steps,
        one.seconds + other.seconds,
        one.violation or other.violation,
        (one.digest + other.digest) % (1 << 64),
    )


def walk_seeds(
    seeds: Iterable[int],
    *,
    steps: int = 0,
    replicas: int = 0,
    jobs: int | None = None,
    goes_on: Callable[[], bool] = lambda: True,
) -> Iterator[Walked]:
    """Walks many seeds in several processes; yields what each batch came to, in no particular order.

    Args:
        seeds: taken as they are needed.
        steps: of each walk; 0: as its seed says.
        replicas: of each cluster; 0: as its seed says.
        jobs: processes; None: as many as this one may use processors.
        goes_on: asked before another batch begins.
    """
    jobs = jobs or len(os.sched_getaffinity(0))
    batches = _batches(seeds)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending: dict[Future[Walked], list[int]] = {}
        for batch in islice(batches, 2 * jobs):
            pending[pool.submit(walk_batch, batch, steps, replicas)] = batch
        while pending:
            for done in wait(pending, return_when=FIRST_COMPLETED).done:
                batch = pending.pop(done)
                try:
                    yield done.result()
                except BrokenProcessPool:
                    yield _broken([batch, *pending.values()], steps, replicas)
                    return
                if goes_on() and (further := next(batches, None)):
                    pending[pool.submit(walk_batch, further, steps, replicas)] = further


def _batches(seeds: Iterable[int]) -> Iterator[list[int]]:
    source = iter(seeds)
    while batch := list(islice(source, BATCH)):
        yield batch


def _broken(batches: list[list[int]], steps: int, replicas: int) -> Walked:
    """A process ended: finds out at which seed and, by halving, after how few steps; one process a try."""
    for seed in (seed for batch in batches for seed in batch):
        if _ends_well(seed, steps, replicas):
            continue
        plan = _core.Walk(seed=seed, steps=steps, replicas=replicas, log_bytes=0, state_machine=None).report()
        least, most = 0, plan["planned_steps"]
        while least + 1 < most:
            middle = (least + most) // 2
            least, most = (middle, most) if _ends_well(seed, middle, replicas) else (least, middle)
        _ends_well(seed, most, replicas, quiet=False)  # says what it was
        again = _core.Walk(seed=seed, steps=most, replicas=replicas, log_bytes=0, state_machine=None).report()
        found = Violation(seed, most, plan["replicas"], BROKEN, "", "", again["reproduction"])
        return Walked(1, 0, 0.0, found)
    raise RuntimeError("A process that walked was ended from outside; nothing was found. Run the same seeds again.")


def _ends_well(seed: int, steps: int, replicas: int, *, quiet: bool = True) -> bool:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_close_stderr if quiet else None) as pool:
        try:
            return pool.submit(walk, seed, steps, replicas).result().violation is None
        except BrokenProcessPool:
            return False


def _close_stderr() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
