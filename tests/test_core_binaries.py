"""Runs the C++ tests: every doctest TEST_CASE is one pytest case, in a process of its own.

The binaries stand in the directory that MU_TEST_BINARIES names; ./dev test builds them and sets it. A
filter that matches nothing is a success to doctest, so a case passes here only if doctest says that it ran
and passed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

VARIABLE = "MU_TEST_BINARIES"
ROOMS = ("core", "paper", "fabric", "simulation")
TIMEOUT = 280  # seconds; below pytest's own limit, so that the output of a hanging case is still shown
SUMMARY = re.compile(r"\[doctest\] test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed")


def expected_binaries(root: Path) -> list[str]:
    """The binaries that CMakeLists.txt makes of the test sources in the tree."""
    return [f"mu_{room}_tests" for room in ROOMS if any((root / "tests" / room).glob("*_test.cpp"))]


def binaries() -> list[Path]:
    """The binaries that are to be run: those that the sources promise, wherever they were built."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        return []
    return [Path(directory) / name for name in expected_binaries(Path(__file__).resolve().parent.parent)]


def parse_listing(listing: str) -> list[str]:
    """The names in what --list-test-cases prints: the lines between its rulers, each once."""
    names = [line for line in listing.splitlines() if line and not line.startswith(("[doctest]", "====="))]
    return list(dict.fromkeys(names))


def list_cases(binary: Path) -> list[str]:
    """The names of a binary's test cases; none if it was not built."""
    if not binary.exists():
        return []
    command = [str(binary), "--list-test-cases", "--no-skip=true", "--no-colors=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    return parse_listing(done.stdout)


def filter_for(name: str) -> str:
    """Doctest's filter for exactly this name: commas separate filters unless escaped."""
    return name.replace("\\", "\\\\").replace(",", "\\,")


def verdict(returncode: int, output: str) -> str | None:
    """Why a run counts as failed, or None if its test cases ran and all of them passed."""
    if returncode != 0:
        return f"it exited with {returncode}"
    summary = SUMMARY.search(output)
    if summary is None:
        return "it printed no summary"
    ran, passed, failed = (int(number) for number in summary.groups())
    if ran == 0:
        return "its filter matched no test case"
    return None if passed == ran and failed == 0 else f"{ran - passed} of {ran} did not pass"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes one case of every TEST_CASE of every binary."""
    if "case" in metafunc.fixturenames:
        cases = [(binary, name) for binary in binaries() for name in list_cases(binary)]
        ids = [f"{binary.name}: {name}" for binary, name in cases]
        # Nothing to run is not a silent skip: test_binaries_are_built says what is wrong.
        metafunc.parametrize("case", cases or [None], ids=ids or ["nothing built"])


def test_binaries_are_built(repository: Path) -> None:
    """Every directory of C++ tests has become a binary with at least one test case."""
    assert VARIABLE in os.environ, f"{VARIABLE} is not set: use ./dev test, which builds the C++ tests."
    assert expected_binaries(repository), "There are no C++ tests in tests/*/*_test.cpp."
    for binary in binaries():
        assert binary.exists(), f"{binary} is missing: use ./dev test, which builds it."
        assert list_cases(binary), f"{binary} holds no test case."


def test_case(case: tuple[Path, str] | None) -> None:
    """The C++ test case holds."""
    assert case is not None, "No C++ test case was found: use ./dev test, which builds them."
    binary, name = case
    options = [
        "--case-sensitive=true",
        "--no-skip=true",
        "--no-colors=true",
        f"--test-case={filter_for(name)}",
    ]
    command = [str(binary), *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    reason = verdict(done.returncode, done.stdout)
    if reason is not None:
        message = f"{done.stdout}\n{done.stderr}\n{name}: {reason}; again with:\n{shlex.join(command)}"
        pytest.fail(message, pytrace=False)


def test_a_name_with_commas_is_one_filter() -> None:
    """A comma or a backslash in a name is escaped, as doctest wants it."""
    assert filter_for("a, b \\ c") == "a\\, b \\\\ c"


def test_the_listing_is_read_without_its_frame() -> None:
    """Only the names are taken from doctest's listing."""
    listing = "[doctest] listing all test case names\n=====\nfirst, second\nthird\nthird\n=====\n[doctest] 3\n"
    assert parse_listing(listing) == ["first, second", "third"]


@pytest.mark.parametrize(
    ("returncode", "summary", "counts_as_passed"),
    [
        (0, "1 | 1 passed | 0 failed | 4 skipped", True),
        (0, "0 | 0 passed | 0 failed | 5 skipped", False),
        (1, "1 | 0 passed | 1 failed | 4 skipped", False),
        (-6, "1 | 1 passed | 0 failed | 4 skipped", False),
    ],
)
def test_only_a_case_that_ran_counts(returncode: int, summary: str, counts_as_passed: bool) -> None:
    """A crash, a failed case and a filter that matched nothing are all failures."""
    assert (verdict(returncode, f"[doctest] test cases: {summary}") is None) == counts_as_passed
