"""The registry speaks memcached's text protocol, and no client can hurt it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheIllegalInputError, MemcacheServerError

import mu
from mu.registry import LONGEST_TEXT, MOST_NAMES, Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry at a free port."""
    with Registry(port=0) as registry:
        yield registry


@pytest.fixture
def clients(registry: Registry) -> Iterator[list[Client]]:
    """Two memcached clients, as anybody uses them."""
    some = [Client(registry.address, timeout=10, connect_timeout=10) for _ in range(2)]
    yield some
    for each in some:
        each.close()


def raw(registry: Registry, request: bytes) -> bytes:
    """What the registry answers to these bytes, until it has no more to say or hangs up."""
    host, port = registry.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answer = b""
        with contextlib.suppress(OSError):  # the registry may hang up before it has heard everything
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(4096):
                answer += piece
        return answer


def test_a_memcached_client_sets_and_gets(clients: list[Client]) -> None:
    """What one client sets another one gets, alone or among other names; what was never set is not there."""
    one, other = clients
    assert one.set("mu/a/1/2", b"card", noreply=False)
    assert one.set("empty", b"", noreply=False)
    assert other.get("mu/a/1/2") == b"card"
    assert other.get_many(["mu/a/1/2", "empty", "none"]) == {"mu/a/1/2": b"card", "empty": b""}
    assert other.get("none") is None


def test_who_wants_no_reply_gets_none(registry: Registry, clients: list[Client]) -> None:
    """`noreply` is heeded, also by what is refused: an answer that nobody reads would be taken for the next one's."""
    client = clients[0]
    client.set("name", b"text", noreply=True)
    assert client.get("name") == b"text"
    client.delete("name", noreply=True)
    assert client.get("name") is None
    refused = b"set %b 0 0 1 noreply\r\nx\r\n" % (b"x" * 251)
    assert raw(registry, refused + b"delete name noreply\r\nget name\r\n") == b"END\r\n"


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 1.5), ("127.0.0.1", 65536), ("127.0.0.1", "1"), (5, 0)])
def test_an_address_that_is_none_is_refused(host: Any, port: Any) -> None:
    """What is no address is told from one that is taken."""
    with pytest.raises(mu.ConfigError, match="registry"):
        Registry(host, port)


def test_a_name_can_be_taken_away(clients: list[Client]) -> None:
    """A deleted name is not there, and deleting it again says so."""
    client = clients[0]
    client.set("name", b"text", noreply=False)
    assert client.delete("name", noreply=False)
    assert client.get("name") is None
    assert not client.delete("name", noreply=False)


def test_a_text_may_hold_any_bytes(clients: list[Client]) -> None:
    """Line ends and words of the protocol inside a text are text."""
    client = clients[0]
    text = b"END\r\nVALUE x 0 1\r\n\0\xff"
    client.set("name", text, noreply=False)
    assert client.get("name") == text


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"set name 0 0 99999999999\r\n",
        b"set name 0 0 -1\r\nx\r\n",
        b"set name 0 0 5\r\nmore than five\r\n",
        b"set name\r\n",
        b"get\r\n",
        b"\xff\xfe\r\n",
        b"x" * 100_000,
        b"stats\r\n",
        b"set name 0 0 10\r\nhalf",
    ],
)
def test_nonsense_changes_nothing_and_ends_nobody_else(
    registry: Registry, clients: list[Client], request_bytes: bytes
) -> None:
    """Whatever a client sends, others are served as before, and nothing was set."""
    raw(registry, request_bytes)
    client = clients[0]
    assert client.get("name") is None
    assert client.set("other", b"text", noreply=False)
    assert client.get("other") == b"text"


def test_a_size_that_is_no_number_of_pythons_is_too_large(
    registry: Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    """However many digits a size has, the client is hung up on, and nothing is printed about it."""
    assert raw(registry, b"set name 0 0 %b\r\n" % (b"1" * 5000)) == b""
    assert capfd.readouterr().err == ""


def test_too_much_is_refused(registry: Registry, clients: list[Client]) -> None:
    """A text or a name that is too long, and a name too many, are refused; what was there stays."""
    client = clients[0]
    for number in range(MOST_NAMES):
        registry._server.texts[b"%d" % number] = b""
    with pytest.raises(MemcacheServerError, match="too many"):
        client.set("one-more", b"", noreply=False)
    assert client.set("7", b"again", noreply=False)
    assert raw(registry, b"set 7 0 0 %d\r\n" % (LONGEST_TEXT + 1)) == b""
    assert client.get("7") == b"again"
    with pytest.raises(MemcacheIllegalInputError):
        client.set("x" * 251, b"", noreply=False)
    assert raw(registry, b"set %b 0 0 1\r\nx\r\n" % (b"x" * 251)).startswith(b"CLIENT_ERROR")


def test_an_address_that_is_taken_is_refused(registry: Registry) -> None:
    """Two registries cannot listen at one address: the second says so at once."""
    with pytest.raises(OSError, match="in use"):
        Registry(port=int(registry.address.rsplit(":", 1)[1]))
