"""Lets the simulator hunt a mutant: seed after seed, until a walk is caught."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BROKEN = re.compile(r"mu: invariant broken: (?P<what>.*) \(\S*?(?P<file>[\w.]+):\d+\)")
HANG = 30.0  # seconds beyond the limit: by then a step of a replica cannot be about to end


@dataclass(frozen=True)
class Catch:
    """How a hunt ended: which seed was caught, all steps that were walked, what was said, the digest of the rest."""

    caught: bool
    seed: int
    steps: int
    total_steps: int
    failure: str
    digest: int = 0


def hunt(runner: Path, first: int, limit_s: float, count: int = 1_000_000) -> Catch:
    """Walks from seed `first` on, for about so long at most."""
    command = [str(runner), "--first", str(first), "--count", str(count), "--milliseconds", str(int(limit_s * 1000))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s + HANG)
    except subprocess.TimeoutExpired:
        return Catch(True, first, 0, 0, "a step of a replica does not end")
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"{command} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    catch = Catch(**json.loads(done.stdout.splitlines()[-1]))
    broken = BROKEN.search(done.stderr)
    if catch.caught and broken is not None:
        return Catch(
            True, catch.seed, catch.steps, catch.total_steps, f"invariant: {broken['what']} ({broken['file']})"
        )
    return catch
