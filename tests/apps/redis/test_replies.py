"""No reply leaves before what it knows of is decided, and no follower changes by what its clients ask."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mu.apps.redis import LocalRedis
from tests.apps.redis.conftest import DIGEST
from tests.apps.redis.workload import BUSY_SOON, LONG, packed

CHUNK = b"y" * 8000
ENOUGH = 5.0  # seconds without a byte: nothing more comes


def connect(servers: LocalRedis, replica_id: int, room: int | None = None) -> socket.socket:
    """A bare connection, with room for so many bytes that were not read."""
    connection = socket.socket()
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    address = servers.addresses[replica_id]
    connection.connect((address.host, address.port))
    connection.settimeout(ENOUGH)
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bool:
    """Whether that came, before nothing more did."""
    last = b""
    try:
        while wanted not in last:
            more = connection.recv(1 << 20)
            if not more:
                return False
            last = (last + more)[-len(wanted) - 1000 :]
    except (TimeoutError, ConnectionError):
        return False
    return True


def hold_back(servers: LocalRedis, client: Any, slow: socket.socket) -> None:
    """Asks for more than `slow` has room for, until redis holds a part of its replies back."""
    slow.sendall(packed("CLIENT", "SETNAME", "slow"))
    slow.recv(100)

    def is_held_back() -> bool:
        slow.sendall(packed("GET", "chunk") * 5)
        client.ping()  # a pass of redis's event loop, at whose end it sends what it can
        return any(int(each["oll"]) > 0 for each in client.client_list() if each["name"] == "slow")

    servers.wait(is_held_back, 30, "Redis sends everything")


@pytest.fixture
def ended() -> Iterator[contextlib.ExitStack]:
    """Closes at the end of a test what is entered into it."""
    with contextlib.ExitStack() as stack:
        yield stack


def test_no_reply_leaves_ahead_of_its_batch(fresh: Callable[..., LocalRedis], ended: contextlib.ExitStack) -> None:
    """What another client's command serves a blocked one waits for its batch, though redis could send it at once."""
    servers = fresh()
    leader = servers.settle()
    client = servers.connect(leader)
    client.set("chunk", CHUNK)
    rooms = (4096, None, None, None)
    slow, pushing, sleeping, waking = (ended.enter_context(connect(servers, leader, room)) for room in rooms)
    hold_back(servers, client, slow)
    slow.sendall(packed("BLMOVE", "from", "to", "LEFT", "RIGHT", "0"))
    servers.wait(lambda: client.info("clients")["blocked_clients"], 30, "It is not blocked")
    # One pass of redis's: the element is pushed, the blocked client served and its socket has room; then it sleeps.
    sleeping.sendall(packed("DEBUG", "SLEEP", "1.5"))
    state = Path(f"/proc/{servers.server(leader).pid}/wchan")
    servers.wait(lambda: "nanosleep" in state.read_text(), 30, "It does not sleep")
    pushing.sendall(packed("RPUSH", "from", "element"))
    slow.settimeout(0.3)
    read_until(slow, b"element")  # all but the last, so that there is room
    waking.sendall(packed("DEBUG", "SLEEP", "3"))
    slow.settimeout(2)
    seen = read_until(slow, b"element")
    servers.kill(leader)
    kept = servers.connect(servers.leader()).lrange("to", 0, -1)
    assert kept == [b"element"] or not seen


def test_a_follower_is_not_changed_by_reads(fresh: Callable[..., LocalRedis]) -> None:
    """PFCOUNT of one key, which renews what the key remembers, is refused there, in a script, too."""
    servers = fresh(follower_reads="stale")
    leader = servers.settle()
    client = servers.connect(leader)
    client.pfadd("h", *range(100))
    client.pfadd("other", *range(10))
    follower = servers.connect(next(each for each in servers.running if each != leader))
    servers.settle()
    with pytest.raises(redis.exceptions.ReadOnlyError, match="PFCOUNT of one key"):
        follower.execute_command("PFCOUNT", "h")
    with pytest.raises(redis.exceptions.ResponseError):
        follower.eval("return redis.call('PFCOUNT', 'h')", 1, "h")
    assert follower.execute_command("PFCOUNT", "h", "other") > 90
    assert follower.eval("return redis.call('EXISTS', 'h')", 1, "h") == 1
    assert len(set(servers.digests().values())) == 1


def test_an_open_transaction_ends_with_its_leader(fresh: Callable[..., LocalRedis]) -> None:
    """A client in the middle of MULTI on a leader that was replaced is told so by EXEC, and goes on."""
    servers = fresh()
    leader = servers.settle()
    connection = servers.connect(leader).connection_pool.get_connection()
    for words in (("MULTI",), ("SET", "a", "1")):
        connection.send_command(*words)
        connection.read_response()
    servers.pause(leader)
    servers.wait(lambda: servers.info(leader).get("mu_role") == "following", 30, "It was not replaced")
    connection.send_command("EXEC")
    with pytest.raises(redis.exceptions.ResponseError, match="discarded"):
        connection.read_response()
    connection.send_command("GET", "a")
    with pytest.raises(redis.exceptions.ReadOnlyError):
        connection.read_response()


def test_a_follower_that_cannot_execute_a_command_is_not_trusted(fresh: Callable[..., LocalRedis]) -> None:
    """One with fewer databases than the leader's commands want holds other data, notices, and cannot lead."""
    servers = fresh()
    leader = servers.settle()
    victim = max(servers.running)
    servers.kill(victim)
    servers.launch(victim, options=("--enable-debug-command", "local", "--databases", "4"))
    servers.settle()
    servers.connect(leader, db=7).set("a", 1)
    servers.wait(lambda: "a replicated command was refused" in servers.log(victim), 30, "It noticed nothing")


def test_a_follower_is_not_changed_behind_a_blocked_command(fresh: Callable[..., LocalRedis], binary: str) -> None:
    """The same PFCOUNT is refused if a batch has woken its client, and the batch's words were what redis read last."""
    servers = fresh(follower_reads="stale", binary=binary)
    leader = servers.settle()
    client = servers.connect(leader)
    client.pfadd("h", *range(100))
    follower = next(each for each in servers.running if each != leader)
    servers.settle()
    with connect(servers, follower) as blocked:
        blocked.sendall(packed("XREAD", "BLOCK", "0", "STREAMS", "waited", "$") + packed("PFCOUNT", "h"))
        asked = servers.client(follower)
        servers.wait(lambda: asked.info("clients")["blocked_clients"], 30, "Nobody is blocked")
        client.xadd("waited", {"field": "value"})
        assert read_until(blocked, b"-READONLY")
    assert len(set(servers.digests().values())) == 1


def test_a_long_script_costs_a_follower_no_trust(fresh: Callable[..., LocalRedis]) -> None:
    """What is decided while a client's script takes its time there is executed behind it, as it comes from the link."""
    servers = fresh(follower_reads="stale", options=(*DIGEST, *BUSY_SOON))
    leader = servers.settle()
    client = servers.connect(leader)
    client.set("a", 0)
    follower = next(each for each in servers.running if each != leader)
    servers.settle()
    with connect(servers, follower) as asking, connect(servers, follower) as other:
        asking.sendall(packed("EVAL", LONG, "0") + packed("GET", "a"))

        def busy() -> bool:
            other.sendall(packed("GET", "a"))
            return b"BUSY" in other.recv(1000)

        servers.wait(busy, 30, "It is not busy")
        for i in range(100):
            client.set("a", i)
            client.pfadd("h", i)
            client.execute_command("PFCOUNT", "h")  # is replicated: it renews what the key remembers
        servers.wait(lambda: not busy(), 30, "It remains busy")  # it is read, and the link is not, until the end
        assert read_until(asking, b"long")
    servers.settle()
    assert servers.client(follower).get("a") == b"99"
    assert "a replicated command was refused" not in servers.log(follower)
    assert len(set(servers.digests().values())) == 1


@contextlib.contextmanager
def pipelining(servers: LocalRedis, leader: int) -> Iterator[None]:
    """Meanwhile another client writes without a pause, and waits for no reply."""
    ending = threading.Event()
    chunk = packed("SET", "k", "v" * 100) * 2000

    def write(connection: socket.socket) -> None:
        while not ending.is_set():
            connection.sendall(chunk)

    def read(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass

    with connect(servers, leader) as connection:
        connection.settimeout(None)
        threads = [threading.Thread(target=each, args=(connection,), daemon=True) for each in (write, read)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            ending.set()
            threads[0].join()
            connection.shutdown(socket.SHUT_RDWR)
            threads[1].join()


def test_a_long_reply_comes_while_another_client_pipelines(fresh: Callable[..., LocalRedis]) -> None:
    """However much another client writes, a reply that leaves in many parts goes on, and so does its client's next."""
    servers = fresh()
    leader = servers.settle()
    client = servers.connect(leader)
    client.set("long", b"x" * (20 << 20))
    batches = servers.info(leader)["mu_batches"]
    with connect(servers, leader) as reading, pipelining(servers, leader):
        servers.wait(lambda: servers.info(leader)["mu_batches"] > batches + 100, 30, "Nothing is written")
        for _ in range(2):
            reading.sendall(packed("GET", "long") + packed("SET", "after", "1"))
            assert read_until(reading, b"x\r\n+OK\r\n")
