"""Fixtures of the Python face's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import mu
import mu.replica
from tests.api.fake_core import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A fake of the native core, in the place of the real one."""
    world = World()
    monkeypatch.setattr(mu.replica, "_core", world)
    return world


@pytest.fixture
def replica(world: World) -> Iterator[mu.Replica]:
    """A leader in the fake world, with a counter."""
    with mu.Replica.open(mu.Cluster(), replica_id=world.leader, state_machine=mu.Counter()) as replica:
        yield replica


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests configure nothing here."""
    for name in [*os.environ]:
        if name in {"SID", "IDS", "DORY_REGISTRY_IP"} or name.startswith("MU_"):
            monkeypatch.delenv(name)
