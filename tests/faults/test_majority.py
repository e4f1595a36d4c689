"""The majority is lost: nothing is acknowledged or invented; it comes back if its memory was kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mu
from mu import fabric
from mu.testing import LocalCluster
from tests.faults.clusters import PATIENCE, admitted, others_than, started, surely
from tests.faults.witness import Sum, Value, Witness

ATTEMPTS = 10
FILLER = b"kv filled add 1" + b" " * 4000
Refusal = (mu.NoMajority, mu.NotLeader, mu.Indeterminate)


@pytest.fixture
def three() -> Iterator[LocalCluster]:
    with started(3) as cluster:
        yield cluster


@pytest.fixture
def five() -> Iterator[LocalCluster]:
    with started(5) as cluster:
        yield cluster


def isolate(cluster: LocalCluster, survivor: int) -> None:
    """Stops all others, and makes sure that the survivor does not lead by what they granted or accepted before."""

    def alone() -> bool:
        status = cluster.status(survivor)
        return status.leads or status.aborts > before + 1

    for _ in range(ATTEMPTS):
        for each in others_than(cluster, survivor):
            cluster.stop(each)
        before = cluster.status(survivor).aborts
        cluster.wait(alone, PATIENCE, "The survivor never tried to lead")
        if not cluster.status(survivor).leads:
            return
        for each in others_than(cluster, survivor):  # it had won in the meantime, and rightly leads their memory
            cluster.resume(each)
        cluster.settle(PATIENCE)
    raise AssertionError("the survivor always leads before the others stand still")


def refuses(cluster: LocalCluster, replica: int, count: int = 3) -> None:
    """Each of some commands ends with an error that tells the truth."""
    for each in range(count):
        with pytest.raises(Refusal):
            cluster.execute(b"kv refused add 1", replica, timeout=0.2 + each / 10)


def test_a_survivor_of_stopped_replicas_waits_for_them(three: LocalCluster) -> None:
    """With the leader and a follower stopped the third decides nothing, keeps what it has, and leads once one is back.

    (A stopped follower alone is no loss to a leader: its memory still accepts.)
    """
    survivor = 3
    before = three.status(survivor)
    isolate(three, survivor)
    refuses(three, survivor)
    with pytest.raises(Refusal):
        three.read(Value("before"), survivor, timeout=0.3)
    status = three.status(survivor)
    assert not status.leads
    assert status.admitted
    assert (status.members, status.incarnation) == (before.members, before.incarnation)
    assert status.applied >= before.applied
    three.resume(2)
    assert surely(three, b"kv after add 1") == b"1"
    assert three.read(Value("before"), timeout=PATIENCE) == "kept"
    assert three.read(Sum("refused"), timeout=PATIENCE) <= 3
    three.resume(1)
    three.settle(PATIENCE)


def test_a_leader_of_stopped_followers_is_refused_when_the_log_is_full(three: LocalCluster) -> None:
    """Stopped followers accept but apply nothing: once the log is full nothing more is acknowledged, nor lost."""
    leader = three.leader()
    stopped = others_than(three, leader)
    for each in stopped:
        three.stop(each)
    acknowledged = until_refused(three, leader)
    with pytest.raises((*Refusal, mu.LogFull)):
        three.execute(FILLER, leader)
    for each in stopped:
        three.resume(each)
    assert surely(three, b"kv after add 1") == b"1"
    three.settle(PATIENCE)
    assert acknowledged <= three.read(Sum("filled"), timeout=PATIENCE) <= acknowledged + 2


def until_refused(cluster: LocalCluster, leader: int) -> int:
    """Fills the log; returns how many commands were acknowledged."""
    for done in range(100):
        try:
            cluster.execute(FILLER, leader)
        except (*Refusal, mu.LogFull):
            return done
    raise AssertionError("the log is never full")


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_survivor_among_the_dead_says_so(three: LocalCluster, role: str) -> None:
    """One of three whose peers are dead says NoMajority or NotLeader, and keeps what it has."""
    leader = three.leader()
    survivor = leader if role == "leader" else others_than(three, leader)[0]
    for each in others_than(three, survivor):
        three.kill(each)
    refuses(three, survivor)
    three.wait(lambda: three.status(survivor).alive == (survivor,), PATIENCE, "The dead count as alive")
    with pytest.raises((mu.NoMajority, mu.NotLeader)):
        three.execute(b"kv refused add 1", survivor, timeout=0.2)
    with pytest.raises((mu.NoMajority, mu.NotLeader)):
        three.read(Value("before"), survivor, timeout=0.2)
    status = three.status(survivor)
    assert status.admitted
    assert set(status.confirmed) <= {survivor}
    assert three.look(Witness.view, survivor).count >= 1


def test_a_majority_without_memory_is_no_majority(three: LocalCluster) -> None:
    """Two of three killed and started again with empty memory are not admitted: the cluster stays stopped."""
    survivor = three.leader()
    amnesiacs = others_than(three, survivor)
    for each in amnesiacs:
        three.kill(each)
    three.wait(lambda: set(three.status(survivor).confirmed) <= {survivor}, PATIENCE, "It writes to the dead")
    for each in amnesiacs:
        three.restart(each)
    stays_stopped(three, survivor, amnesiacs)
    assert three.look(Witness.view, survivor).count >= 1


def test_amnesiacs_form_no_cluster_beside_a_stopped_survivor(three: LocalCluster) -> None:
    """Nor do they invent an empty cluster while the one that remembers is stopped."""
    survivor = stop_a_follower(three)
    amnesiacs = others_than(three, survivor)
    for each in amnesiacs:
        three.kill(each)
    for each in amnesiacs:
        three.restart(each)
    for each in amnesiacs:
        refuses(three, each, count=1)
        assert not three.status(each).admitted
    three.resume(survivor)
    stays_stopped(three, survivor, amnesiacs)


def stop_a_follower(cluster: LocalCluster) -> int:
    """Stops one that does not lead.

    A leader would do for a moment: until it hears of a death, the dead one's memory accepts what it writes, which
    is as good as having written it just before, and may be enough to admit a successor.
    """
    for _ in range(ATTEMPTS):
        follower = others_than(cluster, cluster.settle(PATIENCE))[0]
        cluster.stop(follower)
        glimpse = fabric.peek(cluster.cluster, follower)
        if glimpse is not None and not glimpse.leading:
            return follower
        cluster.resume(follower)
    raise AssertionError("whoever is stopped leads")


def stays_stopped(cluster: LocalCluster, survivor: int, amnesiacs: list[int]) -> None:
    """All are there and see each other: still nothing is decided, and nobody is admitted."""
    everybody = {survivor, *amnesiacs}
    cluster.wait(
        lambda: all(set(each.alive) == everybody for each in cluster.statuses().values()),
        PATIENCE,
        "Not all seen alive",
    )
    for _ in range(2):
        with pytest.raises((mu.NoMajority, mu.NotLeader)):
            cluster.execute(b"kv refused add 1", survivor, timeout=0.5)
        for each in amnesiacs:
            with pytest.raises((mu.NoMajority, mu.NotLeader)):
                cluster.execute(b"kv refused add 1", each, timeout=0.1)
            status = cluster.status(each)
            assert status.role == "joining"
            assert not status.admitted
            assert not status.eligible
    assert set(cluster.status(survivor).confirmed) <= {survivor}


def test_an_amnesiac_neither_grants_nor_counts(three: LocalCluster) -> None:
    """With one stopped and one without memory, nobody gets to lead until the stopped one is back."""
    survivor, killed, stopped = 3, 2, 1
    isolate(three, survivor)
    three.kill(killed)
    three.restart(killed)
    aborts = three.status(survivor).aborts
    three.wait(lambda: three.status(survivor).aborts > aborts + 2, PATIENCE, "The survivor never tried to lead")
    refuses(three, survivor)
    refuses(three, killed)
    assert not admitted(three, killed)
    assert not three.status(survivor).leads
    three.resume(stopped)
    assert surely(three, b"kv after add 1") == b"1"
    three.wait_until_admitted(killed, PATIENCE)
    three.settle(PATIENCE)
    assert three.read(Value("before"), timeout=PATIENCE) == "kept"


def test_three_of_five_run_but_two_of_them_forgot(five: LocalCluster) -> None:
    """One with memory and two without are three of five, and no majority; those that were stopped bring all back."""
    first, second, survivor = 3, 4, 5
    isolate(five, survivor)
    for each in (first, second):
        five.kill(each)
    for each in (first, second):
        five.restart(each)
    aborts = five.status(survivor).aborts
    five.wait(lambda: five.status(survivor).aborts > aborts + 2, PATIENCE, "The survivor never tried to lead")
    for each in (survivor, first, second):
        refuses(five, each, count=2)
    assert not admitted(five, first)
    assert not admitted(five, second)
    five.resume(1)
    five.resume(2)
    assert surely(five, b"kv after add 1") == b"1"
    five.settle(PATIENCE)
    assert five.read(Value("before"), timeout=PATIENCE) == "kept"
