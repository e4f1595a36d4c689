"""Redis's own suite, in its mode for a server that runs already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mu.apps.redis import Address
from mu.apps.redis.local import free_ports
from tests.suites.outcome import Outcome, run_to_end

BELOW_BASE: Final = 32  # there the suite's own two processes meet
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
SAID: Final = re.compile(r"^\[(ok|err|exception|skip|ignore)\]: ?(.*)$")
TIME: Final = re.compile(r" \(\d+ ms\)$")
TEST: Final = re.compile(r"^(?P<name>.*?) in tests/(?P<unit>\S+)\.tcl")


def parse(text: str, outcome: Outcome) -> None:
    """Reads what the suite has printed."""
    for line in COLOUR.sub("", text).splitlines():
        if not (found := SAID.match(line)):
            continue
        kind, rest = found.groups()
        if kind == "ok":
            outcome.passed.add(TIME.sub("", rest))
        elif kind == "err":
            named = TEST.match(rest)
            outcome.failed[named["name"] if named else rest] = rest
        elif kind == "exception":
            outcome.broken = rest
        else:
            outcome.skipped += 1


def run(
    tree: Path, address: Address, units: Sequence[str], left_out: Iterable[str], log: Path, limit: float
) -> Outcome:
    """Runs the units (none: all) against a server. What it says goes to `log`, too."""
    skipped = log.with_suffix(".skip")
    skipped.write_text("\n".join(left_out) + "\n")
    command = ["tclsh", "tests/test_helper.tcl", "--host", address.host, "--port", str(address.port), "--durable"]
    command += ["--skipfile", str(skipped), "--baseport", str(free_ports(1)[0] + BELOW_BASE)]
    command += [part for unit in units for part in ("--single", unit)]
    outcome = run_to_end(command, tree, log, limit)
    text = log.read_text(errors="replace")
    parse(text, outcome)
    if not outcome.broken and "The End" not in text:
        outcome.broken = f"it ended by itself: {text[-300:]}"
    return outcome
