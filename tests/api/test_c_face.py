"""The C face, from a C program."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

BINARIES = Path(os.environ.get("MU_TEST_BINARIES", ""))  # before the tests clear the variables


def run_in(directory: str) -> str:
    """What the program prints."""
    done = subprocess.run([BINARIES / "mu_c_program", directory], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [*Path(directory).iterdir()] == [], "it left segments behind"
    return done.stdout


def test_a_c_program_replicates() -> None:
    """A program in plain C, compiled without C++, replicates, reads, steps aside and closes by mu.h."""
    with tempfile.TemporaryDirectory(prefix="mu-c-", dir="/dev/shm") as directory:
        assert run_in(directory) == "all of it holds\n"


def test_a_c_program_is_told_of_what_start_up_removed() -> None:
    """mu_notice names the stale segment of a dead run, and is empty where there was none."""
    with tempfile.TemporaryDirectory(prefix="mu-c-", dir="/dev/shm") as directory:
        stale = Path(directory) / "mu.c-program.2"
        stale.write_bytes(b"stale")
        Path(f"{stale}.lock").write_text("pid 77 incarnation 5\n")
        notice = f"removed the stale segment of a dead run (pid 77): {stale}\n"
        assert run_in(directory) == f"{notice}all of it holds\n"
