"""A transaction is executed whole or not at all, whatever is refused in it and whoever leads meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from mu.apps.redis import LocalRedis
from tests.apps.redis.conftest import DIGEST
from tests.apps.redis.test_failover import PATIENCE
from tests.apps.redis.workload import BUSY_SOON, LONG, packed


def said(connection: Any, *words: str) -> Any:
    """A reply on that very connection; an error is returned."""
    connection.send_command(*words)
    return answered(connection)


def answered(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def aborted(reply: Any) -> bool:
    return isinstance(reply, redis.exceptions.ExecAbortError)


@pytest.fixture
def at_leader(trio: LocalRedis) -> Iterator[Any]:
    """A connection of its own to the leader of servers that no test harms."""
    with trio.connect(trio.settle()).client() as client:
        client.delete("a", "b")
        yield client.connection


@pytest.mark.parametrize(
    "refused",
    [
        ("BGREWRITEAOF",),
        ("CONFIG", "SET", "appendonly", "no"),
        ("CLIENT", "CAPA", "REDIRECT"),
        ("PUBLISH", "__mu__:at", "1"),
    ],
    ids=" ".join,
)
def test_what_is_refused_ends_its_transaction(trio: LocalRedis, at_leader: Any, refused: tuple[str, ...]) -> None:
    """A command that Mu refuses between MULTI and EXEC has its error at once, and nothing of the rest is executed."""
    assert said(at_leader, "MULTI") == b"OK"
    assert said(at_leader, "SET", "a", "1") == b"QUEUED"
    assert "Refused by Mu" in str(said(at_leader, *refused))
    assert said(at_leader, "SET", "b", "1") == b"QUEUED"
    assert aborted(said(at_leader, "EXEC"))
    assert trio.connect(trio.leader()).mget("a", "b") == [None, None]


@pytest.mark.parametrize("ending", ["EXEC", "DISCARD", "RESET"])
def test_after_a_transaction_errors_are_as_ever(at_leader: Any, ending: str) -> None:
    """A command refused after EXEC, DISCARD or RESET has the error that it has without a transaction."""
    plain = str(said(at_leader, "BGREWRITEAOF"))
    said(at_leader, "MULTI")
    assert str(said(at_leader, "BGREWRITEAOF")) != plain
    said(at_leader, ending)
    assert str(said(at_leader, "BGREWRITEAOF")) == plain


def test_a_pipelined_transaction_is_refused_whole(trio: LocalRedis, at_leader: Any) -> None:
    """All of a transaction in one packet, with a refused command in it: EXEC aborts."""
    words = (("MULTI",), ("SET", "a", "1"), ("BGREWRITEAOF",), ("EXEC",), ("SET", "b", "2"))
    at_leader.send_packed_command([packed(*each) for each in words])
    replies = [answered(at_leader) for _ in words]
    assert aborted(replies[3])
    assert replies[4] == b"OK"
    assert trio.connect(trio.leader()).mget("a", "b") == [None, b"2"]


def test_a_transaction_behind_a_blocked_command_is_refused_whole(trio: LocalRedis, at_leader: Any) -> None:
    """The same if redis executes it when another client has woken this one, and has read that one's words last."""
    words = (("BLPOP", "list", "0"), ("MULTI",), ("SET", "a", "1"))
    at_leader.send_packed_command([packed(*each) for each in words])
    client = trio.connect(trio.leader())
    trio.wait(lambda: client.info("clients")["blocked_clients"], 10, "Nobody is blocked")
    client.rpush("list", "x")
    assert [answered(at_leader) for _ in words] == [[b"list", b"x"], b"OK", b"QUEUED"]
    said(at_leader, "BGREWRITEAOF")
    assert aborted(said(at_leader, "EXEC"))
    assert client.get("a") is None


def test_a_new_client_is_in_no_transaction(trio: LocalRedis, at_leader: Any) -> None:
    """After a MULTI of which nobody can tell whose it was, a client that connects has errors as ever."""
    at_leader.send_packed_command([packed("BLPOP", "list", "0"), packed("MULTI"), packed("DISCARD")])
    client = trio.connect(trio.leader())
    trio.wait(lambda: client.info("clients")["blocked_clients"], 10, "Nobody is blocked")
    client.rpush("list", "x")
    assert [answered(at_leader) for _ in range(3)] == [[b"list", b"x"], b"OK", b"OK"]
    with trio.connect(trio.leader()).client() as later:
        assert str(said(later.connection, "BGREWRITEAOF")).startswith("Refused by Mu")


def test_a_transaction_behind_a_long_script_is_refused_whole(fresh: Callable[..., LocalRedis]) -> None:
    """The same if redis has looked at other clients while a script of this one's took its time."""
    servers = fresh(options=(*DIGEST, *BUSY_SOON))
    leader = servers.settle()
    address = servers.addresses[leader]
    words = (("EVAL", LONG, "0"), ("MULTI",), ("SET", "a", "1"))
    with (
        servers.connect(leader, socket_timeout=PATIENCE).client() as client,
        socket.create_connection((address.host, address.port), timeout=PATIENCE) as other,
    ):
        mine = client.connection
        mine.send_packed_command([packed(*each) for each in words])
        busy = b""
        while b"BUSY" not in busy:
            other.sendall(packed("GET", "a"))
            busy = other.recv(1000)
        assert [answered(mine) for _ in words] == [b"long", b"OK", b"QUEUED"]
        said(mine, "BGREWRITEAOF")
        assert aborted(said(mine, "EXEC"))
        assert client.get("a") is None


def lead_again(servers: LocalRedis, leader: int) -> None:
    servers.unpause(leader)
    servers.wait(lambda: servers.info(leader).get("mu_accepts_writes") == 1, PATIENCE, "It does not lead again")


def test_a_move_of_the_leader_tears_no_transaction(fresh: Callable[..., LocalRedis]) -> None:
    """What is sent to a leader that is none for a moment is refused; EXEC, when it leads again, executes no rest."""
    servers = fresh()
    leader = servers.settle()
    servers.connect(leader).mset({"mine": 100, "yours": 0})
    with servers.connect(leader).client() as client:
        assert said(client.connection, "MULTI") == b"OK"
        assert said(client.connection, "DECRBY", "mine", "10") == b"QUEUED"
        servers.pause(leader)
        servers.wait(lambda: servers.info(leader).get("mu_role") == "following", PATIENCE, "It was not replaced")
        assert isinstance(said(client.connection, "INCRBY", "yours", "10"), redis.exceptions.ReadOnlyError)
        lead_again(servers, leader)
        assert aborted(said(client.connection, "EXEC"))
        assert client.mget("mine", "yours") == [b"100", b"0"]


def test_a_transaction_may_begin_at_a_follower(fresh: Callable[..., LocalRedis]) -> None:
    """MULTI at a server that leads a moment later begins a transaction: nothing of it is executed by itself."""
    servers = fresh()
    leader = servers.settle()
    servers.pause(leader)
    servers.wait(lambda: servers.info(leader).get("mu_role") == "following", PATIENCE, "It was not replaced")
    with servers.connect(leader).client() as client:
        assert said(client.connection, "MULTI") == b"OK"
        assert isinstance(said(client.connection, "GET", "a"), redis.exceptions.ReadOnlyError)
        lead_again(servers, leader)
        assert said(client.connection, "SET", "a", "1") == b"QUEUED"
        assert aborted(said(client.connection, "EXEC"))
        assert client.get("a") is None


def test_a_transaction_that_began_at_a_leader_changes_no_follower(fresh: Callable[..., LocalRedis]) -> None:
    """What was queued while the server led is not executed when it follows, though it answers reads."""
    servers = fresh(follower_reads="stale")
    leader = servers.settle()
    with servers.connect(leader).client() as client:
        client.pfadd("h", *range(100))
        assert said(client.connection, "MULTI") == b"OK"
        assert said(client.connection, "PFCOUNT", "h") == b"QUEUED"  # renews what the key remembers
        servers.pause(leader)
        servers.wait(lambda: servers.info(leader).get("mu_role") == "following", PATIENCE, "It was not replaced")
        assert aborted(said(client.connection, "EXEC"))
        assert len(set(servers.digests().values())) == 1
        said(client.connection, "MULTI")
        said(client.connection, "GET", "a")
        assert said(client.connection, "EXEC") == [None]
