"""How a parent and a replica's process talk: pickled frames over a socket pair, several requests in flight.

Only a process and the child that it started share the socket, so pickle's trust is no concern. Invariant: every
request is answered once, by its reply or, when the other end is gone, by an error.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from mu.errors import Indeterminate, MuError, ReplicaDown

LENGTH: Final = struct.Struct("<I")


class Frames:
    """Whole objects over a stream socket. Sending is safe from several threads."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._sending = threading.Lock()

    def send(self, value: object) -> None:
        """Sends an object; OSError if the other end is gone."""
        data = pickle.dumps(value)
        with self._sending:
            self._stream.sendall(LENGTH.pack(len(data)) + data)

    def receive(self) -> Any:
        """The next object; EOFError if there will be none."""
        return pickle.loads(self._exactly(LENGTH.unpack(self._exactly(LENGTH.size))[0]))

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                count = self._stream.recv_into(view[got:])
            except OSError:
                count = 0
            if count == 0:
                raise EOFError
            got += count
        return data

    def close(self) -> None:
        """Ends the conversation, also for a thread that waits in `receive`."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()


def portable(error: BaseException) -> BaseException:
    """The error itself if it survives a trip between processes, else one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever an application's exceptions do when pickled
        copy = None
    return error if type(copy) is type(error) else MuError(f"{type(error).__name__}: {error}")


class Requests:
    """The asking end of a channel: a reader thread gives each answer to its future."""

    def __init__(self, stream: socket.socket, name: str, last_words: Callable[[], str] = str) -> None:
        """Args: the socket; who is at its other end; what that has said, for the error when it is gone."""
        self._frames = Frames(stream)
        self._name = name
        self._last_words = last_words
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._over = False
        self._thread = threading.Thread(target=self._read, name=f"mu-{name}", daemon=True)
        self._thread.start()

    def ask(self, method: str, *args: Any) -> Future[Any]:
        """Sends a request. ReplicaDown if the other end is known to be gone."""
        future: Future[Any] = Future()
        with self._lock:
            if self._over:
                raise ReplicaDown(f"The process of {self._name} has ended")
            number = next(self._numbers)
            self._waiting[number] = future
        with contextlib.suppress(OSError):  # the reader meets the end too, after the answers that came before it
            self._frames.send((number, method, args))
        return future

    def _read(self) -> None:
        try:
            while True:
                number, good, value = self._frames.receive()
                with self._lock:
                    future = self._waiting.pop(number)
                if good:
                    future.set_result(value)
                else:
                    future.set_exception(value)
        except EOFError:
            self._give_up()

    def _give_up(self) -> None:
        with self._lock:
            self._over = True
            waiting, self._waiting = self._waiting, {}
        said = f", having said: {words}" if waiting and (words := self._last_words()) else ""
        for future in waiting.values():
            future.set_exception(Indeterminate(f"The process of {self._name} ended while it worked on this{said}"))

    def close(self) -> None:
        """Ends the conversation; what waits for an answer gets Indeterminate."""
        self._frames.close()
        self._thread.join()
