"""The registry: where replicas on several hosts find each other. Names and short texts, in one process's memory.

It speaks memcached's text protocol (get, set, delete, version, quit), so a real memcached does as well, as in the
paper's artifact. Nothing rests on it but that connections come about: a cluster that runs does not need it, and what
replicas read in it they check.

Invariant: what a client sends never ends the server, and never takes more memory than the limits below.
"""

from __future__ import annotations

import logging
import socketserver
import threading
from types import TracebackType
from typing import Final

from mu.cluster import is_whole
from mu.errors import ConfigError
from mu.forks import Owner

log = logging.getLogger("mu")

PORT: Final = 11211  # memcached's
PORTS: Final = 65536  # of TCP
LONGEST_NAME: Final = 250  # bytes, as memcached has it
LONGEST_TEXT: Final = 64 * 1024  # bytes
LONGEST_SIZE: Final = 20  # digits, far more than any text that is taken: Python refuses thousands
MOST_NAMES: Final = 10_000
LONGEST_LINE: Final = 8 * 1024  # bytes
IDLE_LIMIT: Final = 3600.0  # seconds until a silent client's connection is closed


class _Client(socketserver.StreamRequestHandler):
    """One connection."""

    server: _Server
    timeout = IDLE_LIMIT

    def handle(self) -> None:
        while True:
            try:
                line = self.rfile.readline(LONGEST_LINE)
                answer = self._answer(line)
                if answer is None:
                    return
                self.wfile.write(answer)
            except OSError:
                return  # the client is gone, or silent for too long

    def _answer(self, line: bytes) -> bytes | None:
        """The answer to one command; None ends the connection."""
        words = line.split()
        if not line.endswith(b"\n") or words[:1] == [b"quit"]:
            return None
        match words:
            case [b"get" | b"gets", *names] if names:
                return self._get(names)
            case [b"set", name, _, _, size, *more] if size.isdigit():
                return self._unless_unwanted(more, self._set(name, int(size[:LONGEST_SIZE])))
            case [b"delete", name, *more]:
                known = self.server.texts.pop(name, None) is not None
                return self._unless_unwanted(more, b"DELETED\r\n" if known else b"NOT_FOUND\r\n")
            case [b"version"]:
                return b"VERSION 1.0.0-mu\r\n"
        return b"ERROR\r\n"

    def _unless_unwanted(self, more: list[bytes], answer: bytes | None) -> bytes | None:
        """Nothing, for whoever wants no reply: he would take it for that of his next command."""
        return b"" if answer is not None and b"noreply" in more else answer

    def _get(self, names: list[bytes]) -> bytes:
        found = ((name, self.server.texts.get(name)) for name in names)
        values = (b"VALUE %b 0 %d\r\n%b\r\n" % (name, len(text), text) for name, text in found if text is not None)
        return b"".join(values) + b"END\r\n"

    def _set(self, name: bytes, size: int) -> bytes | None:
        if size > LONGEST_TEXT:
            return None  # to skip so much would be to read it
        text = self.rfile.read(size + 2)
        if len(text) != size + 2 or not text.endswith(b"\r\n"):
            return None
        if len(name) > LONGEST_NAME:
            return b"CLIENT_ERROR the name is too long\r\n"
        if name not in self.server.texts and len(self.server.texts) >= MOST_NAMES:
            return b"SERVER_ERROR there are too many names\r\n"
        self.server.texts[name] = text[:-2]
        return b"STORED\r\n"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    texts: dict[bytes, bytes]


class Registry:
    """A registry in this process, with threads of its own. A context manager.

    Example:
        >>> with mu.registry.Registry(port=0) as registry:  # doctest: +SKIP
        ...     mu.LocalCluster(3, fabric="verbs", registry=registry.address)
    """

    def __init__(self, host: str = "127.0.0.1", port: int = PORT) -> None:
        """Listens from now on.

        Args:
            host: the address to listen at; "0.0.0.0" for all of this machine's.
            port: TCP; 0: any that is free.

        Raises:
            OSError: the address is taken, or not this machine's.
            ConfigError: it is no address.
        """
        text: object = host
        if not isinstance(text, str) or not is_whole(port) or not 0 <= port < PORTS:
            raise ConfigError(f"registry: {host!r} and {port!r} are no text and whole number from 0 to {PORTS - 1}.")
        self._owner = Owner()
        self._server = _Server((host, port), _Client)
        self._server.texts = {}
        self._thread = threading.Thread(target=self._server.serve_forever, name="mu-registry", daemon=True)
        self._thread.start()
        log.info("the registry listens at %s", self.address)

    @property
    def address(self) -> str:
        """What `registry` in a cluster's description has to say: "host:port"."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def close(self) -> None:
        """Stops; what it held is forgotten. In a child of fork() the parent's goes on."""
        if self._owner.is_here:
            self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
