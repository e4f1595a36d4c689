"""Runs the exhaustive search: models without mistakes must hold, and each mistake must be found by its model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

VARIABLE = "MU_TEST_BINARIES"
TIMEOUT = 280  # seconds; below pytest's own limit, so that the output of a hanging search is still shown
MODELS = (
    "takeover",
    "takeover-rejoin",
    "takeover-3",
    "takeover-4",
    "takeover-4-coarse",
    "commits",
    "reads",
    "restart",
    "restart-3",
    "membership",
    "membership-5",
    "membership-fine",
    "five",
    "five-coarse",
    "five-3",
    "recycling",
    "recycling-3",
    "formation",
    "formation-3",
)
SLOW = ("takeover-3", "membership-fine", "recycling-3")
MISTAKES = {
    "early-grant-below-promise": "takeover",
    "late-grant-below-promise": "takeover",
    "chain-read-before-grant": "takeover",
    "recovered-slots-reaccepted-in-place": "takeover-3",
    "matching-slots-rewritten": "takeover-rejoin",
    "terminator-beyond-adopted-chain": "takeover-rejoin",
    "no-seal": "takeover-4",
    "own-store-unchecked": "takeover",
    "own-log-granted-in-mid-step": "takeover-3",
    "restarted-grants-at-once": "restart",
    "admitted-without-decided-record": "restart",
    "admission-counts-joiner": "restart",
    "incarnations-not-compared": "restart",
    "longest-chain-first": "takeover-3",
    "majority-too-small": "takeover",
    "link-ignored": "five-stale",
    "permission-by-replica": "takeover-3",
    "stores-on-after-failure": "takeover",
    "commit-without-chain": "commits",
    "read-without-waiting": "reads",
    "read-without-confirming": "reads",
    "read-before-seal": "reads",
    "read-confirmed-too-early": "reads",
    "change-before-seal": "membership-5",
    "two-changes-at-once": "membership",
    "majority-of-old-configuration": "membership",
    "takeover-by-first-configuration": "membership",
    "recycle-past-joiner": "recycling",
    "recycle-past-follower": "recycling",
    "floor-not-rechecked": "recycling",
    "floor-published-late": "recycling",
    "formation-in-one-phase": "formation",
    "abandoned-without-majority": "formation",
    "abandoned-by-another-life": "formation",
}


def search(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Calls the program, which ./dev test has built."""
    directory = os.environ.get(VARIABLE)
    assert directory is not None, f"{VARIABLE} is not set: use ./dev test, which builds mu_model."
    command = [str(Path(directory) / "mu_model"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)


@pytest.mark.parametrize("model", [pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in MODELS])
def test_nothing_is_found_without_a_mistake(model: str) -> None:
    """Every state of the model was visited, and nothing was wrong in any."""
    done = search(model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{model}: holds;" in done.stdout


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    """The search finds what the mistake leads to, and tells how, step by step."""
    done = search(MISTAKES[mistake], "--mistake", mistake)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1. " in done.stdout, done.stdout
    assert "\n=> " in done.stdout, done.stdout
    assert "VIOLATED" in done.stdout, done.stdout


def test_the_list_is_what_is_tested() -> None:
    """No model and no mistake of the program is left out here, but for the deep ones and the harmless one."""
    models, mistakes = search("--list").stdout.split("\nmistakes:\n")
    listed = [line.split()[0] for line in models.splitlines() if not line.endswith("(deep)")]
    assert listed == list(MODELS)
    found_by = {line.split()[0]: line.split()[-1] for line in mistakes.splitlines() if "harmless" not in line}
    assert found_by == MISTAKES


def test_a_name_that_is_not_known_is_an_error() -> None:
    """A misspelt model or mistake is refused, not passed as found nothing."""
    assert search("takeovr").returncode == 2
    assert search("takeover", "--mistake", "non-seal").returncode == 2


def test_a_limit_is_not_a_proof() -> None:
    """A search that stops at its limit says so."""
    assert "holds so far (limit)" in search("takeover-3", "--limit", "10000").stdout
