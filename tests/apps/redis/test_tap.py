"""The tap fails closed: a server whose effects do not come by it neither leads nor accepts writes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import redis

from mu.apps.redis import LocalRedis, options
from mu.errors import CannotStart, ConfigError
from tests.apps.redis.conftest import DIGEST
from tests.apps.redis.test_failover import succeeds

# What disarms the tap, as settings that redis is started with behind Mu's back.
DISARMED = {
    "no effects are written": {"appendonly": "no"},
    "effects are written, and made durable by another thread": {"appendfsync": "everysec"},
    "effects are written, and never made durable": {"appendfsync": "no"},
    "time stamps are written among the effects": {"aof-timestamp-enabled": "yes"},
    "the file is rewritten now and then": {"auto-aof-rewrite-percentage": "100"},
}
# Each setting on which replication stands and that can be changed while a server runs, with a value that breaks it.
WRONG = {
    "appendonly": "no",
    "appendfsync": "everysec",
    "no-appendfsync-on-rewrite": "yes",
    "auto-aof-rewrite-percentage": "100",
    "aof-timestamp-enabled": "yes",
    "save": "3600 1",
    "replica-serve-stale-data": "yes",
    "replica-ignore-maxmemory": "no",
    "replica-read-only": "no",
    "repl-diskless-sync": "yes",
    "repl-timeout": "60",
    "repl-backlog-ttl": "3600",
    "shutdown-timeout": "10",
}
TOLD = re.compile(r"redis's setting (\S+) is \"(.*)\", and replication stands on \"(.*)\": it neither leads nor")


def with_settings(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    """Has the next server start with other settings than it needs."""
    monkeypatch.setattr(options, "NEEDED", {**options.NEEDED, **settings})
    monkeypatch.setattr("mu.apps.redis.server.NEEDED", {**options.NEEDED, **settings})


@pytest.mark.parametrize("why", DISARMED)
def test_a_disarmed_server_never_leads(
    fresh: Callable[..., LocalRedis], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Whatever keeps effects from the tap, the server refuses writes; another one leads, and nothing differs."""
    servers = fresh()
    first = servers.settle()
    servers.connect(first).set("a", 1)
    servers.kill(first)
    with monkeypatch.context() as patch:
        with_settings(patch, DISARMED[why])
        servers.launch(first)
    other = servers.leader()
    assert other != first
    servers.wait(lambda: servers.info(first).get("mu_trusted") == 1, 20, "It was not brought up")
    for i in range(200):
        with pytest.raises(redis.RedisError):
            servers.client(first).set("b", i)
    assert servers.info(first)["mu_accepts_writes"] == 0
    assert {name: value for name, value, _ in TOLD.findall(servers.log(first))} == DISARMED[why]
    assert servers.client(servers.leader()).get("b") is None


def test_alone_a_disarmed_server_does_not_lead_either(
    fresh: Callable[..., LocalRedis], monkeypatch: pytest.MonkeyPatch, with_behind: Callable[..., str]
) -> None:
    """Alone, and with settings that look right, a server whose first batch does not come by accepts no write."""
    with monkeypatch.context() as patch:
        with_settings(patch, {"appendfsync": "no"})
        servers = fresh(1, binary=with_behind("lies"))
    server = servers.client(1)
    servers.wait(lambda: "its test batch did not come by" in servers.log(1), 20, "Its tap was never tested")
    assert not TOLD.search(servers.log(1))
    for _ in range(200):
        with pytest.raises(redis.RedisError):
            server.set("a", 1)


def test_a_setting_that_changes_behind_mu_unseats_a_leader(
    fresh: Callable[..., LocalRedis], with_behind: Callable[..., str]
) -> None:
    """A leader with a setting changed where no filter looked says which, and accepts no write until it is set back."""
    servers = fresh(binary=with_behind())
    first = servers.settle()
    client = servers.connect(first)
    client.set("a", 1)
    client.execute_command("BEHIND", "SET", "aof-timestamp-enabled", "yes")
    servers.wait(lambda: TOLD.search(servers.log(first)), 20, "It was not noticed")
    other = servers.wait(lambda: servers.leader() if servers.leader() != first else 0, 60, "It went on leading")
    servers.connect(other).set("b", 1)
    with pytest.raises(redis.RedisError):
        servers.client(first).set("b", 2)
    servers.client(first).config_set("aof-timestamp-enabled", "no")
    servers.wait(lambda: servers.settle() == first, 60, "It did not lead again")
    assert TOLD.findall(servers.log(first)) == [("aof-timestamp-enabled", "yes", "no")]
    assert len(set(servers.digests().values())) == 1


def test_every_setting_on_which_replication_stands_is_looked_at(
    fresh: Callable[..., LocalRedis], with_behind: Callable[..., str]
) -> None:
    """A follower names each setting that is wrong, one after another, and meanwhile neither reads nor writes."""
    servers = fresh(binary=with_behind(), follower_reads="stale")
    leader = servers.settle()
    victim = max(servers.running)
    servers.connect(leader).set("a", 1)
    client = servers.connect(victim)
    changed = [part for each in WRONG.items() for part in each]
    client.execute_command("BEHIND", "SET", *changed)
    found: list[str] = []

    def set_back() -> bool:
        told = TOLD.findall(servers.log(victim))
        for name, _, needed in told[len(found) :]:
            for command in (("SET", "b", "1"), ("GET", "a")):
                with pytest.raises(redis.RedisError, match="followers here do not answer reads either"):
                    client.execute_command(*command)
            found.append(name)
            client.config_set(name, needed)
        return len(found) == len(WRONG)

    servers.wait(set_back, 60, f"Of what was changed only this was noticed: {found}")
    assert set(found) == WRONG.keys()
    assert {**WRONG, "daemonize": "", "io-threads": ""}.keys() == options.NEEDED.keys()
    servers.wait(lambda: succeeds(lambda: client.get("a")), 20, "It did not answer again")
    servers.settle()
    assert len(set(servers.digests().values())) == 1


def test_a_follower_that_had_a_wrong_setting_takes_the_data_anew(
    fresh: Callable[..., LocalRedis], with_behind: Callable[..., str]
) -> None:
    """What a follower has executed by itself, while a setting let it, is gone once that is set back."""
    servers = fresh(binary=with_behind(), follower_reads="stale")
    leader = servers.settle()
    victim = max(each for each in servers.running if each != leader)
    servers.connect(leader).set("a", 1)
    client = servers.connect(victim)
    # In one pass of redis's event loop: before Mu can ask for its settings.
    with client.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("BEHIND", "SET", "replica-read-only", "no")
        pipeline.set("stray", 1)
        assert pipeline.execute()[-1] is True
    servers.wait(lambda: TOLD.search(servers.log(victim)), 20, "It was not noticed")
    client.config_set("replica-read-only", "yes")
    servers.wait(lambda: "takes the data of" in servers.log(victim), 20, "It went on with what it had")
    servers.settle(60)
    assert len(set(servers.digests().values())) == 1
    assert servers.client(victim).get("stray") is None


def test_effects_that_are_not_made_durable_are_not_answered(
    fresh: Callable[..., LocalRedis], with_behind: Callable[..., str]
) -> None:
    """If redis skips fdatasync while it saves, the reply does not leave; no data are lost over it."""
    servers = fresh(binary=with_behind(), options=[*DIGEST, "--rdb-key-save-delay", "500"])
    leader = servers.settle()
    client = servers.connect(leader)
    with client.pipeline(transaction=False) as pipeline:
        for i in range(1000):
            pipeline.set(f"a{i}", i)
        pipeline.execute()
    # In one pass of redis's event loop: before Mu can ask for its settings.
    with client.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("BEHIND", "SET", "no-appendfsync-on-rewrite", "yes")
        pipeline.bgsave()
        pipeline.set("b", 1)
        with pytest.raises(redis.RedisError):
            pipeline.execute()
    servers.wait(lambda: "its effects are decided" in servers.log(leader), 10, "It was not noticed")
    servers.client(leader).config_set("no-appendfsync-on-rewrite", "no")
    servers.settle(60)
    assert len(set(servers.digests().values())) == 1


def test_the_file_of_a_full_synchronisation_is_known(fresh: Callable[..., LocalRedis]) -> None:
    """After a full synchronisation the file has another name; a server that leads then replicates all the same."""
    servers = fresh()
    first = servers.settle()
    client = servers.connect(first)
    for i in range(5000):  # more than the engine's snapshot remembers, so that redis has to synchronise
        client.set(f"a{i}", i)
    servers.restart(first)
    servers.wait(lambda: servers.settle() == first, 30, "It did not lead again")
    assert "takes the data of replica" in servers.log(first)
    servers.connect(first).set("b", 1)
    servers.settle()
    assert len(set(servers.digests().values())) == 1


@pytest.mark.parametrize(
    "given",
    [
        ["--appendonly", "no"],
        ["--appendfsync", "everysec"],
        ["--replicaof", "a 1"],
        ["--io-threads", "4"],
        ["--replica-ignore-maxmemory", "no"],
        ["--rename-command", "PUBLISH", "tell"],
        ["--loglevel", "warning"],
        ["--masteruser", "admin"],
        ["--repl-diskless-load", "swapdb"],
        ["--rename-command SET put"],
        ["--appendonly=no"],
        ["--maxmemory", "100mb", "--loglevel warning"],
        ["--maxmemory 100mb\nreplicaof a 1"],
        ['--"replicaof" a 1'],
        ["x.conf"],
    ],
    ids=" ".join,
)
def test_options_that_disarm_are_refused(given: list[str]) -> None:
    """An option on which replication stands is refused before anything is started."""
    with pytest.raises(ConfigError), LocalRedis(1, options=given):
        pass


def test_another_program_cannot_be_tapped() -> None:
    """A program that is no redis does not start, and what it said is told."""
    with pytest.raises(CannotStart, match="did not start"), LocalRedis(1, binary="false"):
        pass
