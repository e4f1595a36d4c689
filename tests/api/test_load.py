"""Load over a fake core: what the record says is what was acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mu
from mu.testing import Acknowledged, Ledger, LoadSpec, lost_commands
from mu.testing.load import Loader, create_record, read_record
from tests.api.fake_core import World


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def witness(world: World, ledger: Ledger) -> mu.Replica:
    return mu.Replica.open(mu.Cluster(), replica_id=world.leader, state_machine=ledger)


def run_until(
    replica: mu.Replica, path: Path, enough: Callable[[Acknowledged], bool], spec: LoadSpec | None = None
) -> Acknowledged:
    """Runs a load until its record shows enough; looks at it, as another process would, after each call."""
    world = replica.native.world  # type: ignore[attr-defined]  # it is a fake
    create_record(path, client=5)
    loader = Loader(replica, path, spec or LoadSpec())
    while not enough(read_record(path)):
        assert world.entered.acquire(timeout=30)
    report = loader.stop()
    assert report.error == ""
    return read_record(path)


@pytest.mark.parametrize("execute", [False, True])
def test_the_record_agrees_with_the_history(witness: mu.Replica, ledger: Ledger, tmp_path: Path, execute: bool) -> None:
    """Every number that the record calls acknowledged was applied."""
    record = run_until(witness, tmp_path / "r", lambda seen: seen.acknowledged > 500, LoadSpec(execute=execute))
    assert record.client == 5
    assert lost_commands(ledger.view(), [record.proof]) == []
    assert ledger.view().count == record.acknowledged


def test_a_follower_waits_and_proposes_nothing(world: World, witness: mu.Replica, tmp_path: Path) -> None:
    """Without leadership nothing is acknowledged; with it, the first success is noted."""
    world.leader = 2

    def lead(seen: Acknowledged) -> bool:
        assert world.leader == 1 or seen.acknowledged == 0
        if seen.attempted and len(world.timeouts_ns) > 3:
            world.leader = 1
        return seen.acknowledged > 0

    record = run_until(witness, tmp_path / "r", lead)
    assert record.tenures == 1
    assert 0 < record.first_success_ns <= record.last_success_ns


def test_each_tenure_has_its_first_success(world: World, witness: mu.Replica, tmp_path: Path) -> None:
    """A leader that was deposed and came back counts as two tenures, the later of which the record dates."""
    world.raises.extend([mu.NotLeader(2)])
    before = run_until(witness, tmp_path / "a", lambda seen: seen.acknowledged > 10)
    assert before.tenures == 1

    def depose(seen: Acknowledged) -> bool:
        if seen.tenures == 1 and not world.raises:
            world.raises.append(mu.NotLeader(2))
        return seen.tenures > 1

    after = run_until(witness, tmp_path / "b", depose)
    assert after.first_success_ns > before.last_success_ns


def test_what_is_in_doubt_is_listed(world: World, witness: mu.Replica, ledger: Ledger, tmp_path: Path) -> None:
    """A number whose answer was lost is excused, whether it was applied or not; the next number follows."""
    world.raises.extend([mu.Indeterminate("x"), mu.Indeterminate("x")])
    record = run_until(witness, tmp_path / "r", lambda seen: seen.acknowledged > 10)
    assert record.indeterminate == (1, 2)
    assert lost_commands(ledger.view(), [record.proof]) == []
    assert lost_commands(ledger.view(), [(record.client, record.acknowledged, ())]) != []


def test_what_was_refused_keeps_its_number(world: World, witness: mu.Replica, ledger: Ledger, tmp_path: Path) -> None:
    """A command that entered no log is proposed again under its number, so no number is missing."""
    world.raises.extend([mu.LogFull("x"), mu.NoMajority("x"), mu.NotLeader(2)])
    record = run_until(witness, tmp_path / "r", lambda seen: seen.acknowledged > 10)
    assert ledger.view().clients[5] == [[1, record.acknowledged]]


def test_a_load_survives_the_end_of_its_replica(world: World, witness: mu.Replica, tmp_path: Path) -> None:
    """Closing the replica ends the load with a reason, and the record stays."""
    create_record(tmp_path / "r", client=5)
    loader = Loader(witness, tmp_path / "r", LoadSpec())
    while not read_record(tmp_path / "r").acknowledged:
        assert world.entered.acquire(timeout=30)
    witness.close()
    loader._thread.join(30)
    assert loader.stop().error == "the replica was closed"
    assert read_record(tmp_path / "r").acknowledged > 0


def test_a_paced_load_keeps_its_pace(world: World, witness: mu.Replica, tmp_path: Path) -> None:
    """At a thousand a second ten commands take at least the nine pauses between them."""
    record = run_until(witness, tmp_path / "r", lambda seen: seen.acknowledged >= 10, LoadSpec(rate=1000))
    assert record.last_success_ns - record.first_success_ns >= 8_500_000
    assert world.timeouts_ns[0] == 1_000_000_000


@pytest.mark.parametrize(
    "wrong", [{"size": "64"}, {"size": 15}, {"rate": -1}, {"rate": float("nan")}, {"rate": "fast"}, {"timeout": None}]
)
def test_a_load_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """It is told here, and not by a thread of a replica's process."""
    with pytest.raises(mu.ConfigError, match=next(iter(wrong))):
        LoadSpec(**wrong)
