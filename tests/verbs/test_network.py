"""A cluster over soft RDMA devices whose network misbehaves under load: it goes on where it can, and loses nothing.

One cluster for all tests, because to start one takes long in the guest: each test finds it whole and leaves it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mu.testing import LoadSpec, LocalCluster, lost_commands
from tests.faults.clusters import PATIENCE, equal_views, others_than, surely
from tests.faults.witness import Witness
from tests.vm import hosts
from tests.vm.hosts import Host

LOAD = LoadSpec(rate=200)
COMMANDS = 20  # that must be decided while something is broken
TIMEOUT_MS = 20_000  # an emulated machine is slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three replicas, one on each host."""
    hosts.heal()
    options = {"fabric": "verbs", "rdma_device": "rxe{id}", "timeout_ms": TIMEOUT_MS, "log_bytes": 64 * 1024}
    with LocalCluster(3, Witness, **options) as cluster:
        cluster.settle(PATIENCE)
        yield cluster


@pytest.fixture(autouse=True)
def healed() -> Iterator[None]:
    """Whatever a test breaks is mended after it."""
    yield
    hosts.heal()


def under_load(cluster: LocalCluster, break_it: Callable[[int], None]) -> int:
    """Breaks something while commands go on, has more of them decided, and mends it; returns who led before.

    In the end everybody has the same history, and it holds all that was acknowledged, once and in order.
    """
    leader = cluster.settle(PATIENCE)
    with cluster.load(LOAD) as load:
        cluster.wait(lambda: load.acknowledged >= COMMANDS, PATIENCE, "The load did not begin")
        break_it(leader)
        for number in range(COMMANDS):
            surely(cluster, f"kv network set {number}".encode())
        hosts.heal()
        cluster.settle(PATIENCE)
        reached = load.acknowledged
        cluster.wait(lambda: load.acknowledged > reached, PATIENCE, "The load did not go on")
    view = equal_views(cluster)
    assert lost_commands(view.ledger, [each.proof for each in load.records()]) == []
    return leader


def test_a_follower_that_is_cut_off_is_left_behind_and_comes_back(cluster: LocalCluster) -> None:
    """With a follower's cable pulled the others go on deciding; plugged in again it gets the whole history."""
    under_load(cluster, lambda leader: hosts.cut(Host(others_than(cluster, leader)[-1])))


def test_a_leader_that_is_cut_off_is_replaced(cluster: LocalCluster) -> None:
    """With the leader's cable pulled another one leads; nothing that the old one acknowledged is lost."""
    under_load(cluster, lambda leader: hosts.cut(Host(leader)))


def test_a_follower_that_hears_but_is_not_heard_holds_nobody_up(cluster: LocalCluster) -> None:
    """What a follower sends to the leader is dropped, acknowledgements too: the other follower is enough."""
    under_load(cluster, lambda leader: hosts.cut_one_way(Host(others_than(cluster, leader)[0]), Host(leader)))


def test_a_leader_whose_writes_land_unacknowledged_loses_nothing(cluster: LocalCluster) -> None:
    """Both followers' acknowledgements are lost on their way to the leader: somebody else decides what it could not."""

    def drop(leader: int) -> None:
        for follower in others_than(cluster, leader):
            hosts.drop_acks(Host(follower), Host(leader))

    under_load(cluster, drop)


def test_followers_that_cannot_reach_each_other_leave_the_leader_alone(cluster: LocalCluster) -> None:
    """Two followers cut off from each other, but not from the leader, do not keep it from deciding."""
    under_load(cluster, lambda leader: hosts.cut_pair(*map(Host, others_than(cluster, leader))))


def test_a_slow_and_lossy_network_only_makes_it_slow(cluster: LocalCluster) -> None:
    """With every packet a few milliseconds late, and one in fifty lost, commands are decided all the same."""

    def disturb(_: int) -> None:
        for host in hosts.hosts():
            hosts.disturb(host, delay_ms=3, loss_percent=2)

    under_load(cluster, disturb)
