"""Freezes chosen threads of a process that this one has started, while its others go on (ptrace).

So a leader can be made that does not notice that it leads no longer: the threads of its engine stand still, and only
redis's own thread is left to find that out. Invariant: when the context is left all threads run again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

SEIZE: Final = 0x4206
INTERRUPT: Final = 0x4207
DETACH: Final = 17
ANY_THREAD: Final = 0x40000000  # __WALL


def _ptrace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_void_p(None)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_int(thread), none, none) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def threads_of(process: int, names: Collection[str]) -> list[int]:
    """The threads of a process that have one of these names."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(each.name) for each in tasks if (each / "comm").read_text().strip() in names]


@contextlib.contextmanager
def frozen(process: int, names: Collection[str]) -> Iterator[None]:
    """While the context lasts those threads stand still. Enter and leave it in one thread."""
    with contextlib.ExitStack() as stack:
        for thread in threads_of(process, names):
            _ptrace(SEIZE, thread)
            stack.callback(_ptrace, DETACH, thread)
            _ptrace(INTERRUPT, thread)
            os.waitpid(thread, ANY_THREAD)
        yield
