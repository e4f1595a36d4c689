"""The artifact's fifo: a named pipe through which a shell pauses a replica (`p`) and lets it go on (`c`)."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from mu.errors import ConfigError, MuError
from mu.forks import Owner

log = logging.getLogger("mu")


class Fifo:
    """Listens at a named pipe, which it makes if it is missing and then removes at the end.

    Invariant: the pipe is open for writing here too, so a shell's `echo p > pipe` never waits and never ends it.
    """

    def __init__(self, path: str, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._path = Path(path).absolute()  # the program may change its directory
        self._owner = Owner()
        self._actions = {"p": pause, "c": resume}
        self._made = self._make()
        self._pipe = self._open()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._listen, name="mu-fifo", daemon=True)
        self._thread.start()

    def _make(self) -> bool:
        try:
            os.mkfifo(self._path, 0o600)
        except FileExistsError:
            if self._path.exists() and stat.S_ISFIFO(self._path.stat().st_mode):
                return False
            raise ConfigError(f"fifo: {self._path} exists and is no pipe.") from None
        except OSError as error:
            raise ConfigError(f"fifo: {self._path} cannot be made: {error.strerror}.") from None
        return True

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"fifo: {self._path} cannot be opened: {error.strerror}.") from None

    def _listen(self) -> None:
        poller = select.poll()  # select() takes no descriptor above 1023
        poller.register(self._pipe, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        while self._stop not in dict(poller.poll()):
            with contextlib.suppress(BlockingIOError):  # another replica at this pipe was faster
                for letter in os.read(self._pipe, 256).decode(errors="replace"):
                    if not letter.isspace():
                        self._heed(letter)

    def _heed(self, letter: str) -> None:
        action = self._actions.get(letter)
        if action is None:
            log.warning("fifo %s: p pauses, c continues; %r is neither", self._path, letter)
            return
        try:
            action()
        except MuError as error:
            log.warning("fifo %s: %s", self._path, error)

    def close(self) -> None:
        """Stops listening; in a child of fork() nobody does, and the parent goes on."""
        ours = self._owner.is_here
        if ours:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
        os.close(self._stop)
        os.close(self._pipe)
        if ours and self._made:
            with contextlib.suppress(OSError):
                self._path.unlink()
