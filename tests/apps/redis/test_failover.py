"""Leaders that die, stop or are paused: clients go on, nothing acknowledged is lost, and who comes back is right."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from mu.apps.redis import LocalRedis
from tests.apps.redis import verdicts
from tests.apps.redis.conftest import DIGEST
from tests.apps.redis.frozen import frozen
from tests.apps.redis.verdicts import Ending, Transaction
from tests.apps.redis.workload import PATIENT, packed

PATIENCE = 90.0  # seconds for what has to happen in the end

ENGINE = ("mu-replication", "mu-background")  # its threads


class Writers:
    """Clients of redis-py's Sentinel, each adding its numbers to a list of its own and counting in common."""

    def __init__(self, servers: LocalRedis, count: int = 4) -> None:
        self.acknowledged: list[list[Transaction]] = [[] for _ in range(count)]
        self._servers = servers
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        sentinel: Any = self._servers.sentinel(socket_timeout=0.5)
        options: dict[str, Any] = {"socket_timeout": 0.5, "retry": Retry(ConstantBackoff(0.01), 0)}
        client: Any = sentinel.master_for(self._servers.cluster.name, **options)
        self._write(number, client)
        for each in (client, *sentinel.sentinels):  # an error may keep them alive, and with them their sockets
            each.close()

    def _write(self, number: int, client: Any) -> None:
        i = 0
        while not self._stopping.is_set():
            i += 1
            called = time.monotonic_ns()
            try:
                with client.pipeline(transaction=True) as transaction:
                    transaction.rpush(f"list{number}", i).incr("count")
                    length, count = transaction.execute()
            except redis.RedisError:
                continue  # in doubt, or refused: this number is never used again
            self.acknowledged[number].append(Transaction(i, length, count, called, time.monotonic_ns()))

    def progress(self) -> int:
        """How many transactions were acknowledged."""
        return sum(map(len, self.acknowledged))

    def go_on(self, more: int = 50) -> None:
        """Waits until so many more were."""
        wanted = self.progress() + more
        self._servers.wait(lambda: self.progress() >= wanted, PATIENCE, "The clients did not go on")

    def stop(self) -> None:
        """Ends the clients."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def received(connection: socket.socket, enough: int | None = None) -> bytes:
    """Reads until `enough` bytes have come, or nothing more does; returns the last of them."""
    last, count = b"", 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        while (enough is None or count < enough) and (piece := connection.recv(1 << 20)):
            last, count = piece, count + len(piece)
    return last


def succeeds(call: Callable[[], Any]) -> bool:
    """Whether it raised no error of redis-py's."""
    try:
        call()
    except redis.RedisError:
        return False
    return True


def await_leader(servers: LocalRedis) -> None:
    """Waits until one of the servers that run accepts writes."""

    def accepts() -> bool:
        return any(servers.info(each).get("mu_accepts_writes") == 1 for each in servers.running)

    servers.wait(accepts, PATIENCE, "Nobody took over")


def check(servers: LocalRedis, writers: Writers) -> None:
    """What the clients were told and what the servers hold agree, and all servers are equal (verdicts.py)."""
    client = servers.connect(servers.settle())
    lists = [[int(each) for each in client.lrange(f"list{i}", 0, -1)] for i in range(len(writers.acknowledged))]
    ending = Ending(lists, int(client.get("count")), servers.digests())
    assert verdicts.of_all(writers.acknowledged, ending) == []


def strike(servers: LocalRedis, fault: str, victim: int) -> Callable[[], None]:
    """Brings the fault about; returns what undoes it."""
    begin = {"kill": servers.kill, "stop": servers.stop, "pause": servers.pause}[fault]
    begin(victim)
    end = {"kill": servers.restart, "stop": servers.resume, "pause": servers.unpause}[fault]
    return lambda: end(victim)


@pytest.mark.parametrize("fault", ["kill", "stop", "pause"])
def test_clients_go_on(fresh: Callable[..., LocalRedis], fault: str, binary: str) -> None:
    """After any fault of the leader redis-py's Sentinel goes on, and the old leader comes back with the right data."""
    servers = fresh(binary=binary, tuning={})
    leader = servers.settle()
    with Writers(servers) as writers:
        writers.go_on()
        undo = strike(servers, fault, leader)
        writers.go_on()
        undo()
        writers.go_on()
        servers.wait(
            lambda: servers.info(leader).get("mu_accepts_writes") == 1, PATIENCE, "The lowest id did not lead again"
        )
        writers.go_on()
    check(servers, writers)


def test_a_node_joins_while_writes_go_on(fresh: Callable[..., LocalRedis]) -> None:
    """A follower that starts with empty memory gets all data by a full synchronisation, tied to a batch."""
    servers = fresh()
    leader = servers.settle()
    victim = max(servers.running)
    client = servers.connect(leader)
    with client.pipeline(transaction=False) as pipeline:
        for i in range(20_000):
            pipeline.set(f"before{i}", "x" * 50)
        pipeline.execute()
    servers.kill(victim)
    with Writers(servers) as writers:
        writers.go_on(500)
        servers.restart(victim)
        servers.wait(lambda: servers.info(victim).get("mu_role") == "following", PATIENCE, "It did not join")
        servers.wait(lambda: servers.info(victim).get("mu_trusted") == 1, PATIENCE, "It did not join")
        writers.go_on(500)
    check(servers, writers)
    assert int(servers.client(victim).info("keyspace")["db0"]["keys"]) > 20_000
    assert "takes the data of replica" in servers.log(victim)


def test_an_empty_server_answers_no_reads(fresh: Callable[..., LocalRedis]) -> None:
    """A restarted follower answers reads with what was decided, or not at all: never out of its empty beginning."""
    servers = fresh(follower_reads="stale")
    leader = servers.settle()
    servers.connect(leader).set("key", "value")
    victim = next(each for each in servers.cluster.replicas if each != leader)
    servers.kill(victim)
    servers.restart(victim)
    seen = []

    def answers() -> bool:
        with contextlib.suppress(redis.RedisError):
            seen.append(servers.connect(victim).get("key"))
        return bool(seen)

    servers.wait(answers, PATIENCE, "It did not come back")
    assert set(seen) <= {b"value", "value"}


def test_a_leader_gives_its_data_if_nobody_else_can(fresh: Callable[..., LocalRedis]) -> None:
    """A joiner that reaches only the leader's redis is brought up by that, under writes."""
    servers = fresh()
    leader = servers.settle()
    victim, other = sorted(set(servers.running) - {leader}, reverse=True)
    client = servers.connect(leader)
    for i in range(5000):  # more than the engine's own snapshot remembers
        client.set(f"before{i}", i)
    servers.kill(victim)
    nowhere = type(servers.addresses[other])("127.0.0.1", 1)
    with Writers(servers) as writers:
        servers.launch(victim, addresses={**servers.addresses, other: nowhere})
        servers.wait(lambda: f"takes the data of replica {leader}" in servers.log(victim), PATIENCE, "It asked nobody")
        servers.wait(lambda: servers.info(victim).get("mu_role") == "following", PATIENCE, "It did not join")
        writers.go_on()
    check(servers, writers)


def test_one_that_was_lapped_is_brought_up_while_nobody_leads(fresh: Callable[..., LocalRedis]) -> None:
    """If the leader dies, and all others lag or are paused, one that lags takes a paused one's data, and leads."""
    servers = fresh()
    old = servers.settle()
    new, behind = sorted(set(servers.running) - {old})
    servers.stop(behind)
    servers.pause(old)
    servers.wait(lambda: servers.info(new).get("mu_accepts_writes") == 1, PATIENCE, "Nobody took over")
    client = servers.connect(new)
    for i in range(100):  # several logs full, and more than the engine's own snapshot remembers
        client.set(f"key{i}", "x" * 50_000)
    servers.wait(lambda: servers.info(old)["mu_executed"] == servers.info(new)["mu_executed"], PATIENCE, "It lags")
    servers.kill(new)
    servers.resume(behind)
    servers.wait(lambda: servers.info(behind).get("mu_accepts_writes") == 1, PATIENCE, "Nobody took over")
    assert f"takes the data of replica {old}" in servers.log(behind)
    assert servers.connect(behind).set("after", 1)
    assert servers.client(behind).strlen("key99") == 50_000
    assert len(set(servers.digests().values())) == 1


def test_a_password_that_was_changed_is_used_between_servers(fresh: Callable[..., LocalRedis]) -> None:
    """After CONFIG SET requirepass on all servers, one that takes another one's data shows the new password."""
    servers = fresh()
    leader = servers.settle()
    for each in servers.running:
        assert servers.client(each).config_set("requirepass", "new")
    behind = max(servers.running)
    servers.stop(behind)
    client = servers.connect(leader, password="new", socket_timeout=PATIENCE)
    for i in range(400):  # several logs full
        client.set(f"key{i}", "x" * 50_000)
    servers.resume(behind)
    servers.settle(PATIENCE)
    assert "takes the data of replica" in servers.log(behind)


class Guarded(LocalRedis):
    """Servers that know their clients by a password, and by a user if that is not the default one."""

    def __init__(self, user: str | None, secret: str, **options: Any) -> None:
        super().__init__(**options)
        self._login = {"username": user, "password": secret}

    def connect(self, replica_id: int, **options: Any) -> Any:
        return super().connect(replica_id, **self._login, **options)


ALLOWED = ["on", ">word", "~*", "&*", "+@all"]
ADMIN = ["--user", "admin", *ALLOWED]
COPIES = ["--user", "joiner", "on", ">x", "+psync", "+replconf", "+ping"]  # as docs/redis.md says


@pytest.mark.parametrize(
    ("user", "secret", "options"),
    [
        (None, "pass word", ["--requirepass", "pass word"]),
        ("admin", "word", ["--user", "default", "off", *ADMIN, *COPIES, "--masteruser", "joiner", "--masterauth", "x"]),
        (None, "word", ["--user", "default", *ALLOWED, "--masterauth", "word"]),
    ],
    ids=["a password", "a user", "the default user's password"],
)
def test_servers_with_passwords_join(user: str | None, secret: str, options: list[str]) -> None:
    """However servers know their clients, one that comes back takes another one's data and follows."""
    with Guarded(user, secret, options=[*DIGEST, *options], tuning=PATIENT) as servers:
        leader = servers.settle()
        client = servers.connect(leader)
        for i in range(4000):  # more than the engine's snapshot remembers, so that redis has to synchronise
            client.set(f"a{i}", "x" * 200)
        behind = max(servers.running)
        servers.restart(behind)
        servers.settle(PATIENCE)
        assert "takes the data of replica" in servers.log(behind)
        assert len(set(servers.digests().values())) == 1


def test_a_server_that_is_let_in_nowhere_says_so() -> None:
    """One that does not know the others' password tells what is missing, and does not try again without a pause."""
    with Guarded(None, "word", options=[*DIGEST, "--user", "default", *ALLOWED], tuning=PATIENT) as servers:
        client = servers.connect(servers.settle())
        for i in range(4000):
            client.set(f"a{i}", "x" * 200)
        behind = max(servers.running)
        servers.restart(behind)
        servers.wait(lambda: "--masterauth" in servers.log(behind), PATIENCE, "It does not say what is missing")
        log = servers.log(behind)
        assert log.count("MASTER <-> REPLICA sync started") < 30 * log.count("takes the data of replica")


def test_a_stopped_leader_answers_nobody(fresh: Callable[..., LocalRedis]) -> None:
    """A leader that was deposed while it stood still answers no read from what it holds."""
    servers = fresh()
    old = servers.settle()
    client = servers.connect(old)
    client.set("a", "old")
    servers.stop(old)
    successor: Any = servers.sentinel().master_for(servers.cluster.name)
    servers.wait(lambda: succeeds(lambda: successor.set("a", "new")), 20, "Nobody took over")
    connection = client.connection_pool.get_connection()
    connection.send_command("GET", "a")  # waits in the stopped server's socket
    servers.pause(old)  # so that it does not lead again at once
    servers.resume(old)
    try:
        answer = connection.read_response()
    except redis.RedisError as error:
        answer = error
    assert answer != b"old"


def test_a_leader_that_does_not_know_better_asks(fresh: Callable[..., LocalRedis]) -> None:
    """A leader whose engine stands still, and never learns that it was deposed, answers no read from what it holds."""
    servers = fresh()
    old = servers.settle()
    others = [servers.connect(each, socket_timeout=0.5) for each in servers.running if each != old]
    client = servers.connect(old, socket_timeout=0.5)
    client.set("a", "old")
    answer: object = None

    def sets_new(other: Any) -> bool:
        return succeeds(lambda: other.set("a", "new"))

    def answers_when_frozen() -> bool:
        nonlocal answer
        with frozen(servers.server(old).pid, ENGINE):
            # One that was frozen while it held what redis's own thread needs is no use.
            if not succeeds(lambda: client.get("a")):
                return False
            servers.wait(lambda: any(map(sets_new, others)), 20, "Nobody took over")
            try:
                answer = client.get("a")
            except redis.RedisError as error:
                answer = error
        return True

    servers.wait(answers_when_frozen, 60, "It never stood still at a good moment")
    assert answer != b"old"


def test_an_answer_behind_a_long_one_is_not_sent(fresh: Callable[..., LocalRedis]) -> None:
    """A batch in doubt is not acknowledged to a client either that still takes the answers to earlier commands."""
    servers = fresh()
    old = servers.settle()
    others = [servers.connect(each, socket_timeout=0.5) for each in servers.running if each != old]
    client = servers.connect(old, socket_timeout=0.5)
    client.set("long", "x" * 1_000_000)
    address = servers.addresses[old]
    last = b""

    def sets_new(other: Any) -> bool:
        return succeeds(lambda: other.set("a", "new"))

    def answers_when_frozen() -> bool:
        nonlocal last
        with socket.create_connection((address.host, address.port), timeout=5) as connection:
            connection.sendall(packed("GET", "long") * 64)
            received(connection, 1_000_000)
            with frozen(servers.server(old).pid, ENGINE):
                # One that was frozen while it held what redis's own thread needs is no use.
                if not succeeds(lambda: client.get("long")):
                    return False
                servers.wait(lambda: any(map(sets_new, others)), 20, "Nobody took over")
                received(connection, 8_000_000)  # so that redis goes on sending while the next command comes
                connection.sendall(packed("SET", "a", "lost"))
                last = received(connection)
        return "is in doubt" in servers.log(old)

    servers.wait(answers_when_frozen, PATIENCE, "It never stood still at a good moment")
    assert not last.endswith(b"+OK\r\n")
    assert servers.connect(servers.settle()).get("a") == b"new"


def test_clients_without_a_reply_under_way_stay(fresh: Callable[..., LocalRedis]) -> None:
    """A batch in doubt costs the connections that wait for an answer, and no others."""
    servers = fresh()
    old = servers.settle()
    idle = servers.connect(old)
    busy = servers.connect(old)
    idle.ping()
    identity = idle.client_id()
    busy.set("a", 1)
    connection = busy.connection_pool.get_connection()
    servers.stop(old)
    connection.send_command("SET", "a", "2")
    await_leader(servers)
    servers.resume(old)
    with pytest.raises(redis.RedisError):
        connection.read_response()
    servers.settle()
    assert idle.client_id() == identity
    assert len(set(servers.digests().values())) == 1


def test_one_that_has_just_joined_ends_when_it_is_told(fresh: Callable[..., LocalRedis]) -> None:
    """Redis does not end while it writes down the data that it has taken: it is told again, not killed."""
    servers = fresh()
    client = servers.connect(servers.settle(), socket_timeout=PATIENCE)
    for i in range(200):
        client.set(f"key{i}", "x" * 50_000)
    last = max(servers.running)
    servers.restart(last)
    servers.wait(lambda: servers.info(last).get("mu_trusted"), PATIENCE, "It did not join")
    joined = servers.server(last)
    joined.close()
    assert joined.wait() == 0


def test_a_server_says_what_its_start_removed(fresh: Callable[..., LocalRedis]) -> None:
    """The log of a server that follows a killed one names the stale segment that it has replaced."""
    servers = fresh(1)
    pid = servers.server(1).pid
    servers.kill(1)
    notice = f"replica 1 removed the stale segment of a dead run (pid {pid}): {servers.cluster.directory}"
    assert notice not in servers.log(1)
    servers.launch(1)
    assert notice in servers.log(1)
