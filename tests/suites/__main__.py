"""Runs outside suites against a leader with two followers, and against a plain redis-server beside it.

./dev redis-suite tcl|py|all [--all] [--only UNIT]… [--limit SECONDS]

A test fails here if it fails with Mu and not without; tests that Mu cannot pass are left out, each with its reason
(left_out.py). At the end all servers must hold the same. The exit code is 0 only if all of that is so.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mu.apps.redis import LocalRedis
from mu.apps.redis.bench import plain_server
from mu.errors import MuError
from tests.apps.redis.workload import PATIENT
from tests.suites import left_out, redis_py, sources, tcl
from tests.suites.outcome import Outcome

OPTIONS = ("--enable-debug-command", "local", "--enable-protected-configs", "local")

# Of Redis's own suite in CI: what is about effects, their replication, and the parts of redis that Mu looks at.
CHOSEN = (
    "unit/protocol",
    "unit/keyspace",
    "unit/info",
    "unit/type/string",
    "unit/type/incr",
    "unit/type/list-2",
    "unit/type/hash",
    "unit/type/stream",
    "unit/type/stream-cgroups",
    "unit/expire",
    "unit/multi",
    "unit/acl",
    "unit/pubsub",
    "unit/scripting",
    "unit/functions",
    "unit/maxmemory",
    "unit/bitops",
    "unit/wait",
    "unit/tracking",
)

console = Console(soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Suite:
    """One of them."""

    name: str
    module: Any
    tree: Path
    left_out: Mapping[str, str]
    units: tuple[str, ...]


def suites(arguments: argparse.Namespace) -> list[Suite]:
    """Those that were asked for, fetched."""
    found = []
    if arguments.suite in {"tcl", "all"}:
        units = tuple(arguments.only) or (() if arguments.all else CHOSEN)
        found.append(Suite("Redis's own", tcl, sources.tcl_suite(), left_out.TCL, units))
    if arguments.suite in {"py", "all"}:
        units = tuple(arguments.only) if arguments.suite == "py" else ()
        found.append(Suite("redis-py's", redis_py, sources.redis_py_tests(), left_out.PY, units))
    return found


def run(suite: Suite, limit: float, logs: Path) -> bool:
    """Runs one suite on both; says what came of it; whether nothing failed beyond the plain server's failures."""
    with (
        LocalRedis(3, options=OPTIONS, tuning=PATIENT) as servers,
        plain_server(options=OPTIONS) as plain,
        ThreadPoolExecutor() as at_once,
    ):
        leader = servers.settle()
        reigns = count_reigns(servers)
        assert reigns, "the leader's log does not say that it leads: then it would not tell of another one either"
        pending = {
            name: at_once.submit(
                suite.module.run, suite.tree, address, suite.units, suite.left_out, logs / f"{name}.log", limit
            )
            for name, address in (("plain", plain), ("mu", servers.addresses[leader]))
        }
        without, ours = pending["plain"].result(), pending["mu"].result()
        settled = servers.settle()
        digests = servers.digests()
        reigns = count_reigns(servers) - reigns
        same = len(set(digests.values())) == 1
    show(suite, without, ours)
    if not same:
        console.print(f"[red]The servers hold different data: {digests}")
    if reigns:
        console.print(f"[red]{reigns} times another reign began: replica {leader} led at first, {settled} at the end.")
    bad = ours.beyond(without)
    lost = ours.missing(without)
    if lost:
        console.print(f"[red]{len(lost)} tests ran without Mu, and not with it: {', '.join(sorted(lost)[:5])} …")
    return not (bad or lost or ours.broken or without.broken) and same and not reigns


def count_reigns(servers: LocalRedis) -> int:
    """How often a server has begun to lead: a reign that begins in the middle breaks clients' connections."""
    return sum(servers.log(each).count(" leads\n") for each in servers.cluster.replicas)


def show(suite: Suite, plain: Outcome, ours: Outcome) -> None:
    """One table of numbers, and what failed."""
    table = Table(title=f"{suite.name} tests", title_justify="left")
    for name in ("", "passed", "failed", "skipped by themselves", "seconds"):
        table.add_column(name, justify="right")
    for name, outcome in (("plain redis", plain), ("with Mu", ours)):
        numbers = (len(outcome.passed), len(outcome.failed), outcome.skipped, round(outcome.seconds))
        table.add_row(name, *map(str, numbers))
    console.print(table)
    for name, outcome in (("plain redis", plain), ("with Mu", ours)):
        if outcome.broken:
            console.print(f"[red]The suite broke off ({name}): {outcome.broken}", markup=True)
    bad = ours.beyond(plain)
    for name in sorted(plain.failed):
        console.print(f"fails without Mu, too: {name}" if name in ours.failed else f"fails without Mu only: {name}")
    for said in bad.values():
        console.print(f"FAILS with Mu: {said}", style="red", markup=False)


def show_left_out(suite: Suite) -> None:
    """The table of what is left out."""
    table = Table(title=f"Left out of {suite.name} tests", title_justify="left", show_lines=False)
    table.add_column("test")
    table.add_column("why")
    for name, why in suite.left_out.items():
        table.add_row(name, why)
    console.print(table)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./dev redis-suite", description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=("tcl", "py", "all"))
    parser.add_argument("--all", action="store_true", help="all units of Redis's own suite, not only the chosen ones")
    parser.add_argument("--only", action="append", default=[], help="this unit only (unit/expire; commands)")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds for a suite; 300, with --all 900")
    parser.add_argument("--logs", type=Path, help="where to keep what the suites say")
    arguments = parser.parse_args()
    limit = arguments.limit or (900.0 if arguments.all else 300.0)
    good = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    try:
        with tempfile.TemporaryDirectory(prefix="mu-suites-") as directory:
            for suite in suites(arguments):
                show_left_out(suite)
                logs = (arguments.logs or Path(directory)).resolve()
                logs.mkdir(parents=True, exist_ok=True)
                good = run(suite, limit, logs) and good
    except (sources.FetchError, MuError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    console.print("nothing fails beyond what fails without Mu" if good else "[red]that failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
