"""Two minutes of seeds that nobody has walked before."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from mu.cli.app import app

SECONDS = 120


def test_fresh_walks_find_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Random walks on fresh seeds, which are printed, see no violation."""
    done = CliRunner().invoke(app, ["sim", "--seconds", str(SECONDS)])
    with capsys.disabled():
        sys.stdout.write(f"\n{done.output}")
    assert done.exit_code == 0, done.output
