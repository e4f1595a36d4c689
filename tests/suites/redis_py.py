"""redis-py's own tests, of what a server does (those of the client's inside need none)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from mu.apps.redis import Address
from tests.suites.outcome import Outcome, run_to_end

FILES: Final = ("commands", "pipeline", "pubsub", "scripting", "lock", "monitor", "function", "encoding")
# Its marks for what is not there with Mu: other modules, Redis Cluster, TLS.
MARKED: Final = "not redismod and not onlycluster and not ssl"
NUMBERS: Final = re.compile(r"0x[0-9a-f]+")


def read(report: Path, outcome: Outcome) -> None:
    """Reads pytest's report."""
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('tests.')[2]}::{NUMBERS.sub('', case.get('name', ''))}"
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        if wrong is not None:
            outcome.failed[name] = f"{name}: {wrong.get('message', '')[:300]}"
        elif case.find("skipped") is not None:
            outcome.skipped += 1
        else:
            outcome.passed.add(name)


def run(
    tree: Path, address: Address, names: Sequence[str], left_out: Iterable[str], log: Path, limit: float
) -> Outcome:
    """Runs the files (none: those of FILES) against a server. What pytest says goes to `log`."""
    report = log.with_suffix(".xml")
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=60", f"--junitxml={report}"]
    command += [f"--redis-url=redis://{address}/0", "-m", MARKED]
    command += [f"--deselect={name}" for name in left_out]
    command += [f"tests/test_{name}.py" for name in names or FILES]
    outcome = run_to_end(command, tree, log, limit, {"PYTHONPATH": str(tree)})
    if report.exists():
        read(report, outcome)
    elif not outcome.broken:
        outcome.broken = f"it ended by itself: {log.read_text(errors='replace')[-300:]}"
    return outcome
