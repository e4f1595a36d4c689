"""A directory of one process's own, for a LocalCluster or a redis, that tells whether anybody still uses it.

Whoever is killed removes nothing, so `mu clean` has to, and needs a proof that nobody is left. Inside is a file
`owner`, locked (flock) by the process that made it. Processes that inherit its descriptor hold the lock too, and the
kernel lets go of it when the last of them has ended, however it ended.

Invariant: the file gets its name only once it is locked. So whoever finds that name and gets the lock knows that all
who used the directory have ended; and one that has just been made has no such file, and is left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from mu.forks import Owner

PREFIX: Final = "mu-"
SHARED_MEMORY: Final = Path("/dev/shm")
OWNER: Final = "owner"


def places() -> list[Path]:
    """Where private directories are made."""
    return [*dict.fromkeys((SHARED_MEMORY, Path(tempfile.gettempdir())))]


class PrivateDirectory:
    """Of this process, and of those that inherit `descriptor`. A context manager, which removes it.

    Args:
        kind: a word of its name, for people.
        in_memory: in shared memory, if that can be written to.
    """

    def __init__(self, kind: str, *, in_memory: bool = False) -> None:
        place = SHARED_MEMORY if in_memory and os.access(SHARED_MEMORY, os.W_OK) else None
        self._owner = Owner()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-{os.getpid()}-", dir=place))
        try:
            self.descriptor = self._own()
            """for the `pass_fds` of processes that use the directory"""
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def _own(self) -> int:
        unnamed = self.path / f"{OWNER}.tmp"
        with contextlib.ExitStack() as stack:
            descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unnamed.rename(self.path / OWNER)
            stack.pop_all()
        return descriptor

    def remove(self) -> None:
        """Removes the directory, with all that is in it; in a child of fork() it stays, being the parent's."""
        if self._owner.is_here:
            remove_directory(self.path)
        os.close(self.descriptor)

    def __enter__(self) -> PrivateDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def abandoned(place: Path) -> Iterator[Path]:
    """This user's private directories in `place` that nobody uses any more; each is locked until the next one."""
    for path in sorted(place.glob(f"{PREFIX}*")):
        with contextlib.ExitStack() as stack:
            free = False
            with contextlib.suppress(OSError):  # it is no such directory, or in use, or has just been removed
                free = _lock(path, stack)
            if free:
                yield path


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return False
    owner = path / OWNER
    descriptor = os.open(owner, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return os.path.samestat(os.fstat(descriptor), owner.lstat())  # else it was another one's, who has just removed it


def remove_directory(path: Path) -> bool:
    """Removes a private directory; whether it is gone. `owner` goes last: so what is left can be found again."""
    with contextlib.suppress(OSError):
        for each in path.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            elif each.name != OWNER:
                each.unlink(missing_ok=True)
        (path / OWNER).unlink()
        path.rmdir()
    return not path.exists()
