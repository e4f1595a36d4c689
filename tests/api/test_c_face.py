"""The C face, from a C program."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

BINARIES = Path(os.environ.get("MU_TEST_BINARIES", ""))  # before the tests clear the variables


def test_a_c_program_replicates() -> None:
    """A program in plain C, compiled without C++, replicates, reads, steps aside and closes by mu.h."""
    program = BINARIES / "mu_c_program"
    with tempfile.TemporaryDirectory(prefix="mu-c-", dir="/dev/shm") as directory:
        done = subprocess.run([program, directory], capture_output=True, text=True, timeout=120)
        assert (done.stdout, done.returncode) == ("all of it holds\n", 0), done.stdout + done.stderr
        assert [*Path(directory).iterdir()] == [], "it left segments behind"
