"""Fixtures of the fault tests: one seed for every random choice, printed with the line that repeats it."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SEED_VARIABLE: Final = "MU_FAULTS_SEED"
KEPT: Final = {SEED_VARIABLE, "MU_FAULTS_FABRIC", "MU_FAULTS_SECONDS"}


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests configure nothing here, but for the tests' own."""
    for name in [*os.environ]:
        if name in {"SID", "IDS", "DORY_REGISTRY_IP"} or (name.startswith("MU_") and name not in KEPT):
            monkeypatch.delenv(name)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A fresh seed, or the one of the variable."""
    given = os.environ.get(SEED_VARIABLE)
    chosen = int(given) if given else random.SystemRandom().randrange(1 << 32)
    # pytest shows it if the test fails.
    sys.stdout.write(f"again with: {SEED_VARIABLE}={chosen} ./dev test '{request.node.nodeid}'\n")
    return chosen


@pytest.fixture
def segments() -> Iterator[Path]:
    """A private directory in shared memory."""
    with tempfile.TemporaryDirectory(prefix="mu-faults-", dir="/dev/shm") as directory:
        yield Path(directory)
