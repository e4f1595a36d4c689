"""What `./dev vm test` runs inside the guest: THE LIST below. To add to it, enter a line.

`every-fault`, which takes twenty minutes, is run only if it is named. Every suite finds the hosts 1 to 3, or as many as
it asks for, up and healthy, whatever the one before did to them, and the variables MU_TREE (the source tree, where it
starts) and MU_TEST_BINARIES (the C++ tests). It is good if its command ends with 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm import hosts

HOSTS = 3
MOST_HOSTS = 5  # as many as some of the paper's claims have replicas
BINARIES = os.environ.get("MU_TEST_BINARIES", "build/tests")
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--no-header", "--durations=5")
# Fault tests of the kinds that a fabric can spoil: death, stops, two leaders, lost memory, a lapped log, the loss of a
# majority. (Each starts processes, which takes an emulated machine ten seconds and more. `every-fault` runs all.)
FAULTS = (
    "tests/faults/test_storm.py::test_a_storm_loses_nothing_and_stays_linearizable",
    "tests/faults/test_leaders.py",
    "tests/faults/test_restart.py::test_all_replicas_forget_in_turn",
    "tests/faults/test_lapped.py::test_a_lapped_replica_rejoins_by_snapshot[follower-small state]",
    # A lost majority: by death, which a fabric has to notice for writes to a dead one's memory not to count; and by
    # stops and lost memory at once, where a replica that waits in vain has to lead, and the others to be brought up,
    # once the stopped one is back. (The rest of the file varies these, at up to two minutes each.)
    "tests/faults/test_majority.py::test_a_survivor_among_the_dead_says_so[leader]",
    "tests/faults/test_majority.py::test_an_amnesiac_neither_grants_nor_counts",
)
# The paper's claims that need a freedom of the sim's which verbs does not have: name -> why.
SIM_ONLY = {
    "A read does not wait for what was proposed but not decided when it began": "A confirmation has to succeed behind "
    "a write that failed. On verbs the queue pair stands in the error state then, until the next tenure.",
    "What is heard late of an earlier tenure counts for nothing in the present one": "A write has to land long before "
    "its writer hears of it. On verbs the device tells, and its queue pair is gone with the tenure.",
}
ON_VERBS = "--test-case-exclude=" + ",".join(name.replace(",", "\\,") for name in SIM_ONLY)


@dataclass(frozen=True)
class Suite:
    """Some tests that need the guest."""

    name: str
    command: tuple[str, ...]
    hosts: int = HOSTS
    by_name_only: bool = False  # takes too long for every time


def devices(count: int) -> str:
    """The variable that names the RDMA devices of so many hosts."""
    return "MU_VERBS_DEVICES=" + ",".join(hosts.Host(number).rdma_device for number in range(1, count + 1))


SUITES = [
    Suite("hosts", (*PYTEST, "tests/vm/inside")),
    Suite("verbs", ("env", devices(HOSTS), f"{BINARIES}/mu_verbs_tests", "--duration=true")),
    Suite(
        "paper",
        (
            "env",
            "MU_PAPER_FABRIC=verbs",
            devices(MOST_HOSTS),
            f"{BINARIES}/mu_paper_tests",
            "--duration=true",
            ON_VERBS,
        ),
        hosts=MOST_HOSTS,
    ),
    Suite("faults", ("env", "MU_FAULTS_FABRIC=verbs", "MU_FAULTS_SECONDS=30", *PYTEST, *FAULTS)),
    Suite(
        "every-fault",
        (
            "env",
            "MU_FAULTS_FABRIC=verbs",
            "MU_FAULTS_SECONDS=30",
            *PYTEST,
            "tests/faults",
            "--deselect=tests/faults/test_bad_input.py",
            "--timeout=1200",  # nine replicas on an emulated machine
        ),
        hosts=hosts.MAX_HOSTS,
        by_name_only=True,
    ),
    Suite("network", (*PYTEST, "tests/verbs/test_network.py")),
    Suite("benches", (*PYTEST, "tests/verbs/test_benches.py")),
    Suite("redis", (*PYTEST, "tests/verbs/test_redis.py")),
]


def say(text: str) -> None:
    """One line on the guest's console, in order with what the suites print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(suite: Suite) -> bool:
    """Runs one suite on healthy hosts; whether it was good."""
    began = time.monotonic()
    if len(hosts.hosts()) != suite.hosts:
        hosts.down()
        hosts.up(suite.hosts)
    hosts.heal()
    say(f"---- {suite.name}: {' '.join(suite.command)}")
    code = subprocess.run(suite.command, cwd=Path(__file__).resolve().parent.parent.parent).returncode
    say(f"---- {suite.name}: {'good' if code == 0 else f'ended with {code}'}, {time.monotonic() - began:.0f} s")
    return code == 0


def main(names: list[str]) -> int:
    """Runs the suites of these names, or all that are not run by name only; 0 if all were good."""
    chosen = [suite for suite in SUITES if (suite.name in names if names else not suite.by_name_only)]
    bad = [suite.name for suite in chosen if not run(suite)]
    if bad:
        say(f"---- failed: {', '.join(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
