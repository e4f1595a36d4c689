"""On what a measurement was made."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def facts(cores: str) -> dict[str, str | int]:
    """Processor, cores that this process may use, kernel, Python, and the source's commit ("" if unknown)."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "waiting": cores,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return models[0] if models else platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()
