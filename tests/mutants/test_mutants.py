"""Deliberate mistakes in the protocol: the simulator sees every one of them.

One test builds one mutant and lets the simulator hunt it once. How soon it is caught is in README.md, and measured by
`./dev mutants`; here it only has to be caught.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.mutants.build import Workshop
from tests.mutants.hunt import hunt
from tests.mutants.mutant import CORE, Edit, Mutant, mutated
from tests.mutants.mutants import MUTANTS
from tests.mutants.told import TOLD, Told
from tests.mutants.uncaught import UNCAUGHT

VARIABLE = "MU_TEST_BINARIES"
ALL = [*MUTANTS, *(told.mutant for told in TOLD), *(uncaught.mutant for uncaught in UNCAUGHT)]
LIMIT = 200.0  # seconds; the walks are the same every time, so only a slower machine needs more of them


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    """Where mutants are built."""
    assert VARIABLE in os.environ, f"{VARIABLE} is not set: use ./dev test, which builds the C++ tests."
    return Workshop(Path(os.environ[VARIABLE]))


@pytest.mark.parametrize("mutant", ALL, ids=[mutant.name for mutant in ALL])
def test_mutant_is_not_stale(mutant: Mutant) -> None:
    """What the mutant replaces stands exactly once where it should."""
    for file in mutant.files:
        mutated(mutant.edits, file, (CORE / file).read_text(encoding="utf-8"))


def test_a_stale_edit_is_noticed() -> None:
    """An edit whose text is gone, or stands twice, or changes nothing, is stale."""
    assert mutated([Edit("a", "b", "c")], "a", "abc") == "acc"
    assert mutated([Edit("other", "b", "c")], "a", "b") == "b"
    for edit, text in ((Edit("a", "x", "y"), "abc"), (Edit("a", "b", "c"), "bb"), (Edit("a", "b", "b"), "b")):
        with pytest.raises(ValueError, match="stale"):
            mutated([edit], "a", text)


def test_mutants_have_names_of_their_own() -> None:
    """No two mutants share a name, and each says what rule it breaks."""
    assert len({mutant.name for mutant in ALL}) == len(ALL)
    assert all(mutant.rule.endswith(".") and mutant.edits for mutant in ALL)
    assert all(told.why.endswith(".") for told in TOLD)
    assert all(uncaught.why.endswith(".") for uncaught in UNCAUGHT)


def test_the_readme_tells_of_every_mutant() -> None:
    """README.md names each mutant, and each that walks do not catch with its reason."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    assert {mutant.name for mutant in ALL} == {
        line.split("|")[1].strip() for line in text.splitlines() if " | " in line
    } - {"mutant"}


def test_the_core_as_it_is_is_not_caught(workshop: Workshop) -> None:
    """Without a mistake the same runner finds nothing, so what it catches is the mistake."""
    catch = hunt(workshop.directory / "mu_sim_runner", 1, LIMIT, count=200)
    assert not catch.caught, catch


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_mutant_is_caught(mutant: Mutant, workshop: Workshop) -> None:
    """The simulator sees the mistake."""
    catch = hunt(workshop.runner(mutant), 1, LIMIT)
    assert catch.caught, f"{mutant.name} survived {catch.total_steps} steps: a hole in the checkers or in the faults"


@pytest.mark.parametrize("told", TOLD, ids=[told.mutant.name for told in TOLD])
def test_mutant_that_walks_seldom_meet_fails_its_test(told: Told, workshop: Workshop) -> None:
    """The test that tells the mistake alone is there, and fails where the mistake is made."""
    only = "--test-case=" + told.story.replace(",", "\\,")
    sound = subprocess.run([workshop.directory / f"mu_{told.room}_tests", only], capture_output=True, text=True)
    assert sound.returncode == 0, sound.stdout
    assert "test cases: 1 |" in " ".join(sound.stdout.split()), f"there is no such test: {told.story}"
    broken = subprocess.run([workshop.tests(told.mutant, told.room), only], capture_output=True, text=True)
    assert broken.returncode != 0, f"{told.mutant.name} passes {told.story!r}"
