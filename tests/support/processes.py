"""What tests want to know of other processes."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path


def files_of(pid: int) -> set[Path]:
    """What a process has open."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(each.readlink())
    return found


def is_gone(pid: int, within: float = 30.0) -> bool:
    """Waits for the end of a process that may not be ours."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], within)[0])
    finally:
        os.close(process)
