"""The tap fails closed: a server whose effects do not come by it neither leads nor accepts writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from mu.apps.redis import LocalRedis, options
from mu.errors import CannotStart, ConfigError

# What disarms the tap, as settings that redis is started with behind Mu's back.
DISARMED = {
    "no effects are written": {"appendonly": "no"},
    "effects are written, and made durable by another thread": {"appendfsync": "everysec"},
    "effects are written, and never made durable": {"appendfsync": "no"},
}


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
    assert servers.client(servers.leader()).get("b") is None


def test_alone_a_disarmed_server_does_not_lead_either(
    fresh: Callable[..., LocalRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody else to lead, a server whose effects are not made durable still accepts no write."""
    with monkeypatch.context() as patch:
        with_settings(patch, {"appendfsync": "no"})
        servers = fresh(1)
    server = servers.client(1)
    servers.wait(lambda: "the tap is not armed" in servers.log(1), 20, "Its tap was never tested")
    for _ in range(200):
        with pytest.raises(redis.RedisError):
            server.set("a", 1)


def test_effects_that_are_not_made_durable_are_not_answered(
    fresh: Callable[..., LocalRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If redis skips fdatasync while it saves, the reply does not leave; no data are lost over it."""
    with monkeypatch.context() as patch:
        with_settings(patch, {"no-appendfsync-on-rewrite": "yes", "rdb-key-save-delay": "500"})
        servers = fresh()

    def fill() -> bool:
        with servers.connect(servers.settle()).pipeline(transaction=False) as pipeline:
            for i in range(1000):
                pipeline.set(f"a{i}", i)
            try:
                pipeline.execute()
            except redis.RedisError:  # these settings make a server that joins pause, and another one lead
                return False
        return True

    servers.wait(fill, 30, "Nobody led for long enough")
    leader = servers.settle()
    client = servers.connect(leader)
    client.bgsave()
    with pytest.raises(redis.RedisError):
        client.set("b", 1)
    servers.wait(lambda: "its effects are decided" in servers.log(leader), 10, "It was not noticed")
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
