"""How a parent and a replica's process talk: pickled frames over a socket pair, several requests in flight.

Only a process and the child that it started share the socket, so pickle's trust is no concern. But what is pickled at
one end may mean nothing at the other: so a request's number stands outside of the pickle, and is known even if the rest
cannot be read. Invariant: every request is answered once, by its reply or, when that cannot be read or the other end is
gone, by an error.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import queue
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from mu.errors import ConfigError, Indeterminate, MuError, ReplicaDown

HEADER: Final = struct.Struct("<QQ")  # the request's number, and the bytes that follow

ADVICE: Final = (
    "It has to stand at the top of a module that both processes can import: not in a script (`__main__`), and not"
    " inside of a function. Nothing was called, and the replica goes on"
)


def told(error: BaseException) -> str:
    """An exception in words, whatever its own text does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # an application's
        return type(error).__name__


class Frames:
    """Whole numbered pieces over a stream socket. Sending is safe from several threads."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._sending = threading.Lock()

    def send(self, number: int, data: bytes) -> None:
        """Sends a piece; OSError if the other end is gone."""
        with self._sending:
            self._stream.sendall(HEADER.pack(number, len(data)) + data)

    def receive(self) -> tuple[int, bytearray]:
        """The next piece and its number; EOFError if there will be none."""
        number, size = HEADER.unpack(self._exactly(HEADER.size))
        return number, self._exactly(size)

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


def pack_request(method: str, args: tuple[Any, ...]) -> bytes:
    """For Frames. ConfigError if something in it cannot be named to another process."""
    try:
        return pickle.dumps((method, args))
    except Exception as error:  # noqa: BLE001  # whatever an application's objects do when pickled
        raise ConfigError(f"{method}: what it is given cannot be sent to a replica: {told(error)}. {ADVICE}.") from None


def unpack_request(data: bytearray) -> tuple[str, tuple[Any, ...]]:
    """The method, and its arguments. ConfigError if something in it cannot be found in this process."""
    try:
        method, args = pickle.loads(data)
    except BaseException as error:  # noqa: BLE001  # it imports the program's modules, and one may end it (SystemExit)
        raise ConfigError(f"The replica's process cannot find what it was sent: {told(error)}. {ADVICE}.") from None
    return method, args


def pack_answer(method: str, good: bool, value: Any) -> bytes:
    """For Frames: whatever was returned, or raised; an error in its place if it cannot be sent."""
    try:
        return pickle.dumps((good, value))
    except Exception as error:  # noqa: BLE001  # whatever an application's objects do when pickled
        what = f"{method}: it was done, but what it returned cannot be sent: {told(error)}. Return what can be pickled."
        return pickle.dumps((False, MuError(what)))


def unpack_answer(name: str, data: bytearray) -> tuple[bool, Any]:
    """Whether it is a good one, and the value or the exception."""
    try:
        good, value = pickle.loads(data)
    except BaseException as error:  # noqa: BLE001  # whatever an application's objects do when unpickled
        what = f"{name} has done it, but its answer cannot be read here: {told(error)}. Return what can be unpickled."
        return False, MuError(what)
    return good, value


def portable(error: BaseException) -> Exception:
    """The error itself if it survives a trip between processes and ends none there, else one that says the same."""
    if not isinstance(error, Exception):
        return MuError(told(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever an application's exceptions do when pickled
        copy = None
    return error if type(copy) is type(error) else MuError(told(error))


class Requests:
    """The asking end of a channel: one thread sends, another gives each answer to its future.

    Who asks is never held up by the other end, which may be stopped, and take nothing in.
    """

    def __init__(self, stream: socket.socket, name: str, last_words: Callable[[], str] = str) -> None:
        """Args: the socket; who is at its other end; what that has said, for the error when it is gone."""
        self._frames = Frames(stream)
        self._name = name
        self._last_words = last_words
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._over = False
        self._outgoing: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=f"mu-{name}", daemon=True) for target in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, method: str, *args: Any) -> Future[Any]:
        """Sends a request. ReplicaDown if the other end is known to be gone; ConfigError if it cannot be sent."""
        data = pack_request(method, args)
        future: Future[Any] = Future()
        with self._lock:
            if self._over:
                raise ReplicaDown(f"The process of {self._name} has ended")
            number = next(self._numbers)
            self._waiting[number] = future
        self._outgoing.put((number, data))
        return future

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the reader meets the end too, after the answers that came before it
            while request := self._outgoing.get():
                self._frames.send(*request)

    def _read(self) -> None:
        try:
            while True:
                number, data = self._frames.receive()
                good, value = unpack_answer(self._name, data)
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
        self._outgoing.put(None)
        self._frames.close()
        for thread in self._threads:
            thread.join()
