"""Five, seven and nine replicas, one replica, and many callers in one."""

from __future__ import annotations

import random
import threading

import pytest

import mu
from mu import fabric
from mu.testing import Load, LoadSpec, LocalCluster, lost_commands
from mu.testing.ledger import numbered
from tests.faults.clusters import PATIENCE, SMALL_LOG, equal_views, others_than, started, surely
from tests.faults.witness import Sum, Value

CALLERS = 8
COMMANDS = 400  # of each caller
# Of clusters that crowd the machine, in tests that claim nothing of who leads when. In ns.
PATIENT = {"stale_limit": 10**9, "starved_limit": 10**9, "stuck_limit": 10**9}
Proof = tuple[int, int, tuple[int, ...]]


def call_from_many_threads(replica: mu.Replica, callers: int, commands: int) -> list[Proof]:
    """In a replica's process: each thread executes its own numbered commands, one after the other."""
    proofs: list[Proof] = []

    def call(client: int) -> None:
        doubted = []
        for number in range(1, commands + 1):
            while True:
                try:
                    replica.execute(numbered(client, number, 48), PATIENCE)
                except mu.NotProposed:
                    threading.Event().wait(0.001)
                    continue
                except mu.Indeterminate:
                    doubted.append(number)
                break
        proofs.append((client, commands, tuple(doubted)))

    threads = [threading.Thread(target=call, args=(1000 + each,)) for each in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return proofs


def propose_batches(replica: mu.Replica, client: int, batches: int, size: int) -> None:
    """In a replica's process: batches that are larger than a slot, some larger than the log."""
    for batch in range(batches):
        first = batch * size + 1
        replica.propose_many([numbered(client, first + each, 500) for each in range(size)], PATIENCE)


def test_callers_in_one_process_keep_their_order_and_lose_nothing() -> None:
    """Commands of many threads share slots; each thread's take effect once, in its order."""
    with started(3, timeout_ms=30_000) as cluster:
        leader = cluster.settle(PATIENCE)
        proofs = cluster.run(leader, call_from_many_threads, CALLERS, COMMANDS, timeout=PATIENCE)
        ledger = equal_views(cluster).ledger
    assert len(proofs) == CALLERS
    assert lost_commands(ledger, proofs) == []
    assert all(len(ledger.clients[client]) == 1 for client, _, doubted in proofs if not doubted)


def test_callers_in_a_process_that_is_stopped_are_all_told() -> None:
    """When a leader with many callers is stopped, replaced and resumed, all are answered, and nothing is lost."""
    with started(3, timeout_ms=30_000) as cluster:
        leader = cluster.settle(PATIENCE)
        proofs: list[Proof] = []
        work = threading.Thread(
            target=lambda: proofs.extend(
                cluster.run(leader, call_from_many_threads, CALLERS, COMMANDS, timeout=2 * PATIENCE)
            )
        )
        work.start()
        for _ in range(3):
            cluster.leader(PATIENCE)
            cluster.stop(leader)
            successor = cluster.leader(PATIENCE)
            surely(cluster, b"kv between add 1")
            cluster.resume(leader)
            fabric.pause(cluster.cluster, successor)  # or the old leader, whose id is not the lowest, might not return
            wait_until_it_follows(cluster, successor)
            fabric.resume(cluster.cluster, successor)
        for each in others_than(cluster, leader):  # only the callers' own replica may lead now, or they never end
            fabric.pause(cluster.cluster, each)
        work.join()
        for each in others_than(cluster, leader):
            fabric.resume(cluster.cluster, each)
        ledger = equal_views(cluster).ledger
    assert len(proofs) == CALLERS
    assert lost_commands(ledger, proofs) == []


def wait_until_it_follows(cluster: LocalCluster, replica: int) -> None:
    cluster.wait(lambda: not cluster.status(replica).leads, PATIENCE, "The leadership did not change")


def test_batches_larger_than_a_slot_and_than_the_log_keep_their_order() -> None:
    """A batch is spread over as many slots as it needs, in order, waiting for room."""
    with started(3, timeout_ms=30_000) as cluster:
        leader = cluster.settle(PATIENCE)
        batch = 3 * SMALL_LOG // 500
        cluster.run(leader, propose_batches, 77, 4, batch, timeout=PATIENCE)
        ledger = equal_views(cluster).ledger
    assert ledger.clients[77] == [[1, 4 * batch]]
    assert ledger.faults == []


@pytest.mark.parametrize("with_leader", [True, False], ids=["leader and follower", "two followers"])
def test_five_replicas_survive_two(seed: int, with_leader: bool) -> None:
    """With two of five killed under load the others go on, and bring both back; nothing acknowledged is lost."""
    choices = random.Random(seed)
    with started(5) as cluster, cluster.load(LoadSpec(rate=500)) as load:
        leader = cluster.settle(PATIENCE)
        victims = choices.sample(others_than(cluster, leader), 1 if with_leader else 2)
        victims += [leader] if with_leader else []
        choices.shuffle(victims)
        kill_and_bring_back(cluster, load, victims)
        ledger = equal_views(cluster).ledger
    assert lost_commands(ledger, [each.proof for each in load.records()]) == []


@pytest.mark.parametrize("replicas", [7, 9])
def test_a_large_cluster_survives_almost_half(seed: int, replicas: int) -> None:
    """With the leader and almost half killed under load the others go on, and bring all back; nothing is lost."""
    choices = random.Random(seed)
    with started(replicas, timeout_ms=30_000, tuning=PATIENT) as cluster, cluster.load(LoadSpec(rate=200)) as load:
        leader = cluster.settle(PATIENCE)
        victims = [leader, *choices.sample(others_than(cluster, leader), replicas - cluster.cluster.majority - 1)]
        assert len(victims) == (replicas - 1) // 2
        choices.shuffle(victims)
        kill_and_bring_back(cluster, load, victims)
        assert len(cluster.running) == replicas
        ledger = equal_views(cluster).ledger
    assert lost_commands(ledger, [each.proof for each in load.records()]) == []


def kill_and_bring_back(cluster: LocalCluster, load: Load, victims: list[int]) -> None:
    """Under load; when it has ended all are members again."""
    for each in victims:
        cluster.kill(each)
    before = load.acknowledged
    cluster.wait(lambda: load.acknowledged > before + 100, PATIENCE, "Those that were left did not go on")
    for each in victims:
        cluster.restart(each)
        load.add(each)
    cluster.settle(PATIENCE)
    load.stop()


def test_five_replicas_do_not_survive_three() -> None:
    """The two that are left of five decide nothing."""
    with started(5) as cluster:
        leader = cluster.settle(PATIENCE)
        victims = [leader, *others_than(cluster, leader)[:2]]
        for each in victims:
            cluster.kill(each)
        for each in cluster.running:
            with pytest.raises((mu.NoMajority, mu.NotLeader, mu.Indeterminate)):
                cluster.execute(b"kv refused add 1", each, timeout=0.3)
            assert not cluster.status(each).leads


def test_a_cluster_of_one_is_its_own_majority() -> None:
    """One replica decides, reads, laps its log, stands still and goes on, without anybody else."""
    with started(1, timeout_ms=30_000) as cluster:
        assert cluster.read(Value("before")) == "kept"
        cluster.run(1, propose_batches, 77, 3, 3 * SMALL_LOG // 500, timeout=PATIENCE)
        cluster.stop(1)
        cluster.resume(1)
        assert cluster.execute(b"kv after add 1", timeout=PATIENCE) == b"1"
        cluster.pause(1)
        cluster.unpause(1)
        assert surely(cluster, b"kv after add 1") == b"2"
        assert cluster.read(Sum("after"), timeout=PATIENCE) == 2
        ledger = equal_views(cluster).ledger
    assert ledger.clients[77] == [[1, 3 * (3 * SMALL_LOG // 500)]]
