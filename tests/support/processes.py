"""What tests want to know of other processes."""

from __future__ import annotations

import contextlib
from pathlib import Path


def files_of(pid: int) -> set[Path]:
    """What a process has open."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(each.readlink())
    return found
