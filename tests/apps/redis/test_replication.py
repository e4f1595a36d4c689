"""What a client does on the leader is on every follower: all types, all commands that write; or it is refused."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from typing import Any

import pytest
import redis

from mu.apps.redis import LocalRedis
from tests.apps.redis.workload import every_type, packed


def same_everywhere(servers: LocalRedis) -> str:
    """Waits until all have executed everything; their one digest."""
    servers.settle()
    digests = servers.digests()
    assert len(set(digests.values())) == 1, digests
    return next(iter(digests.values()))


def test_every_type_is_replicated(trio: LocalRedis) -> None:
    """After writes of every type, scripts, functions and expiry, all servers have the same digest."""
    every_type(trio.connect(trio.leader()), seed=1)
    assert same_everywhere(trio) != "0" * 40


def test_digests_are_of_one_moment(trio: LocalRedis) -> None:
    """While keys expire by themselves the servers' digests are equal nevertheless: none is older than another."""
    client = trio.connect(trio.leader())
    for _ in range(20):
        for i in range(100):
            client.set(f"soon{i}", i, px=1 + i)
        assert len(set(trio.digests().values())) == 1


def test_large_values_are_one_batch(trio: LocalRedis) -> None:
    """A value larger than any slot arrives whole: its parts count together."""
    client = trio.connect(trio.leader())
    value = "0123456789" * 500_000
    client.set("large", value)
    same_everywhere(trio)
    for each in trio.running:
        assert trio.client(each).strlen("large") == len(value)
    client.delete("large")


def test_blocked_clients_are_served(trio: LocalRedis) -> None:
    """BLMOVE that waits is replicated when it is served, not when it is asked."""
    client = trio.connect(trio.leader())
    waiting = trio.connect(trio.leader()).pipeline(transaction=False).blmove("from", "to", 5)
    waiting.connection_pool.connection_kwargs["socket_timeout"] = 10
    with trio.connect(trio.leader()).client() as other:
        connection = other.connection
        connection.send_command("BLMOVE", "from", "to", "LEFT", "RIGHT", 5)
        trio.wait(lambda: client.info("clients")["blocked_clients"], 5, "Nobody is blocked")
        client.rpush("from", "a")
        assert connection.read_response() == b"a"
    same_everywhere(trio)
    assert client.lrange("to", 0, -1) == [b"a"]


def test_followers_refuse_writes(trio: LocalRedis) -> None:
    """A write on a follower gets -READONLY."""
    for each in trio.running:
        if each != trio.leader():
            with pytest.raises(redis.exceptions.ReadOnlyError):
                trio.client(each).set("a", 1)


def test_a_watched_key_that_changed_ends_the_transaction(trio: LocalRedis) -> None:
    """WATCH holds under the log: a transaction whose key another client has changed changes nothing, anywhere."""
    mine, other = trio.connect(trio.leader()), trio.connect(trio.leader())
    with mine.pipeline() as transaction:
        transaction.watch("watched")
        other.set("watched", "theirs")
        transaction.multi()
        transaction.set("watched", "mine")
        with pytest.raises(redis.WatchError):
            transaction.execute()
        transaction.watch("watched")
        transaction.multi()
        transaction.append("watched", "+mine")
        assert transaction.execute() == [len("theirs+mine")]
    same_everywhere(trio)
    assert {trio.client(each).get("watched") for each in trio.running} == {b"theirs+mine"}


REFUSED: list[tuple[Any, ...]] = [
    ("BGREWRITEAOF",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("SLAVEOF", "NO", "ONE"),
    ("FAILOVER",),
    ("MODULE", "UNLOAD", "mu"),
    ("CONFIG", "SET", "appendonly", "no"),
    ("CONFIG", "SET", "maxmemory", "0", "appendfsync", "everysec"),
    ("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"),
    ("CONFIG", "SET", "auto-aof-rewrite-percentage", "100"),
    ("CONFIG", "SET", "aof-timestamp-enabled", "yes"),
    ("EVAL", "redis.set_repl(redis.REPL_NONE); return redis.call('SET', 'hidden', 1)", "0"),
    ("DEBUG", "LOADAOF"),
    ("DEBUG", "RELOAD"),
    ("DEBUG", "POPULATE", "10"),
    ("CONFIG", "SET", "replica-ignore-maxmemory", "no"),
    ("PUBLISH", "__mu__:at", "1"),
    ("EVAL", "return redis.call('PUBLISH', '__mu__:at', 1)", "0"),
    ("CLIENT", "PAUSE", "1000"),
    ("CLIENT", "CAPA", "REDIRECT"),
    ("WAITAOF", "1", "0", "0"),
    ("CONFIG", "SET", "shutdown-timeout", "10"),
    ("CONFIG", "SET", "min-replicas-to-write", "1"),
    ("CONFIG", "SET", "min-slaves-to-write", "1"),
]


@pytest.mark.parametrize("command", REFUSED, ids=lambda command: " ".join(command[:3]))
def test_what_cannot_be_replicated_is_refused(trio: LocalRedis, command: tuple[Any, ...]) -> None:
    """A command that would go around the log is refused, with an error that says who refuses it."""
    for each in trio.running:
        with pytest.raises(redis.exceptions.ResponseError, match="Refused by Mu"):
            trio.client(each).execute_command(*command)


def test_nothing_gets_past_the_filter_behind_a_blocked_command(trio: LocalRedis) -> None:
    """What a client sends to a follower behind a command that waits runs amid a batch, and is refused as ever."""
    follower = next(each for each in trio.running if each != trio.leader())
    address = trio.addresses[follower]
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(packed("XREAD", "BLOCK", "0", "STREAMS", "waited", "$") + packed("REPLICAOF", "NO", "ONE"))
        blocked = trio.client(follower)
        trio.wait(lambda: blocked.info("clients")["blocked_clients"], 5, "Nobody is blocked")
        trio.connect(trio.leader()).xadd("waited", {"field": "value"})
        answer = b""
        while not answer.endswith(b"\r\n") or answer.count(b"value") + answer.count(b"-ERR") < 2:
            piece = connection.recv(1 << 16)
            assert piece, answer
            answer += piece
    assert b"Refused by Mu" in answer


def test_a_fixed_setting_may_be_set_to_what_it_is(trio: LocalRedis) -> None:
    """CONFIG SET of what replication stands on, to the value that it has, is no error: tools that set it go on."""
    client = trio.client(trio.leader())
    assert client.config_set("save", "")
    assert client.config_set("appendonly", "YES", "appendfsync", "always")
    assert client.config_get("appendonly") == {"appendonly": "yes"}


HIDING = "redis.set_repl(redis.REPL_NONE); return redis.call('SET', 'hidden', 1)"


@pytest.mark.parametrize(
    "command",
    [
        ("EVAL_RO", HIDING, "0"),
        ("SCRIPT", "LOAD", HIDING),
        ("FUNCTION", "LOAD", f"#!lua name=hides\nredis.register_function('hide', function() {HIDING} end)"),
        ("FUNCTION", "LOAD", "REPLACE", f"#!lua name=hides\nredis.register_function('hide', function() {HIDING} end)"),
    ],
    ids=lambda command: " ".join(command[:2])[:20],
)
def test_effects_are_hidden_by_no_program(trio: LocalRedis, command: tuple[str, ...]) -> None:
    """redis.set_repl is refused wherever a program is given."""
    with pytest.raises(redis.exceptions.ResponseError, match="hides effects"):
        trio.client(trio.leader()).execute_command(*command)


def test_data_may_speak_of_set_repl(trio: LocalRedis) -> None:
    """A script's keys and values are data, whatever words are in them."""
    client = trio.client(trio.leader())
    assert client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "my_set_replica", "how redis.set_repl works")
    assert client.execute_command("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, "my_set_replica")
    assert client.delete("my_set_replica") == 1


def test_ordinary_settings_may_change(trio: LocalRedis) -> None:
    """CONFIG SET of anything else works."""
    client = trio.client(trio.leader())
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
    client.config_set("maxmemory-policy", "noeviction")


def test_wait_needs_no_waiting(trio: LocalRedis) -> None:
    """WAIT answers at once: an answered write is in the logs of a majority already."""
    client = trio.client(trio.leader())
    client.set("a", 1)
    assert client.wait(1, 0) >= 1


def test_role_and_info_name_the_leader(trio: LocalRedis) -> None:
    """ROLE and INFO on a follower name the leader's own address, not the link that feeds it."""
    leader = trio.leader()
    address = trio.addresses[leader]
    assert trio.client(leader).role()[0] == b"master"
    for each in trio.running:
        if each != leader:
            role = trio.client(each).role()
            assert (role[0], role[1], role[2]) == (b"slave", address.host.encode(), address.port)
            info = trio.client(each).info("replication")
            assert (info["master_host"], info["master_port"]) == (address.host, address.port)


@pytest.mark.parametrize("protocol", [2, 3])
def test_sentinel_answers(trio: LocalRedis, protocol: int) -> None:
    """Every server answers redis-py's Sentinel, in both protocols."""
    trio.settle()
    leader = trio.addresses[trio.leader()]
    sentinel = trio.sentinel(sentinel_kwargs={"protocol": protocol})
    name = trio.cluster.name
    assert sentinel.discover_master(name) == (leader.host, leader.port)
    others = {(each.host, each.port) for each in trio.addresses.values()} - {(leader.host, leader.port)}
    assert set(sentinel.discover_slaves(name)) == others
    for each in trio.running:
        asked = trio.client(each).execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        assert [part.decode() if isinstance(part, bytes) else part for part in asked] in (
            [leader.host, str(leader.port)],
            [leader.host, leader.port],
        )


def test_eviction_is_replicated(fresh: Callable[..., LocalRedis]) -> None:
    """Keys that the leader evicts vanish from the followers, whose own memory decides nothing."""
    servers = fresh()
    leader = servers.settle()
    client = servers.connect(leader)
    client.config_set("maxmemory-policy", "allkeys-random")
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used + 2_000_000)
    for i in range(6000):
        client.set(f"key{i}", "x" * 500)
    assert client.info("stats")["evicted_keys"] > 0
    client.config_set("maxmemory", 0)  # or any command, DEBUG DIGEST too, may have the leader evict some more first
    same_everywhere(servers)


def test_without_idle_commit_the_last_command_waits(fresh: Callable[..., LocalRedis]) -> None:
    """With idle commit off a follower shows everything but the last command, until the next one."""
    servers = fresh(commit_idle_us=0, follower_reads="stale")
    leader = min(servers.running)
    servers.wait(lambda: servers.leader() == leader, 20, "The lowest id did not lead")
    follower = next(each for each in servers.running if each != leader)
    client, other = servers.client(leader), servers.client(follower)
    pairs = itertools.count()

    def trails() -> bool:
        pair = next(pairs)
        try:
            client.set(f"first{pair}", 1)
            client.set(f"second{pair}", 1)
            servers.wait(lambda: other.get(f"first{pair}"), 10, "The follower did not get the command before the last")
            return other.get(f"second{pair}") is None
        except redis.RedisError:  # one has lost the lead for a moment, or the other one joins yet
            return False

    # Shortly after a start the leader has slots of its own to write, which carry the commit too.
    servers.wait(lambda: all(trails() for _ in range(3)), 20, "The follower never trailed")


def test_follower_reads_are_an_explicit_choice(fresh: Callable[..., LocalRedis]) -> None:
    """Unless they were chosen, GET on a follower is an error that says so."""
    servers = fresh()
    leader = servers.settle()
    servers.client(leader).set("a", 1)
    assert servers.client(leader).get("a") == b"1"
    for each in servers.running:
        if each != leader:
            with pytest.raises(redis.exceptions.ReadOnlyError, match="do not answer reads"):
                servers.client(each).get("a")
    servers.settle()
    assert len(set(servers.digests().values())) == 1
