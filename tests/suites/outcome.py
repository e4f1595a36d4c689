"""One run of a suite: what it said of each of its tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """One run of one suite against one server."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """name -> what was said"""
    skipped: int = 0
    """by the suite itself: not for an external server, not for this version"""
    broken: str = ""
    """the suite did not come to its end: what it said last"""
    seconds: float = 0.0

    def beyond(self, plain: Outcome) -> dict[str, str]:
        """What failed here and not on a plain server."""
        return {name: said for name, said in self.failed.items() if name not in plain.failed}

    def missing(self, plain: Outcome) -> set[str]:
        """What was run on a plain server, and not here."""
        return (plain.passed | plain.failed.keys()) - self.passed - self.failed.keys()


def run_to_end(
    command: Sequence[str], tree: Path, log: Path, limit: float, variables: Mapping[str, str] | None = None
) -> Outcome:
    """Runs a suite in its tree, at most `limit` seconds; what it prints goes to `log`. No test has been read yet."""
    outcome = Outcome()
    began = time.monotonic()
    environment = {**os.environ, **(variables or {})}
    with log.open("w") as to:
        # In a session of its own: what the suite starts must not take this terminal, or its Ctrl-C.
        process = subprocess.Popen(
            command, cwd=tree, stdout=to, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            outcome.broken = f"not at its end after {limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            process.wait()
    outcome.seconds = time.monotonic() - began
    return outcome
