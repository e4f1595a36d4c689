"""`mu bench failover`: the leader fails under load, again and again.

Every replica's process holds a load that proposes numbered commands whenever it leads, one after the other, and
notes when its first one was decided. So a round's total time is that moment minus the one right before the fault, on
one clock; and after each round a linearizable read must show every command that was acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from mu.bench import inside, machine
from mu.bench.statistics import quantiles
from mu.errors import MuError
from mu.testing import Ledger, Load, LoadSpec, LocalCluster, lost_commands

FAULTS: Final = ("kill", "stop", "pause")
UNDER_LOAD: Final = 2000  # commands acknowledged by the leader before a round's fault, at most
STEADY: Final = 0.3  # seconds of one and the same leader before a fault
PATIENCE: Final = 120.0  # seconds for anything in a round, then the bench fails

Progress = Callable[[float], None]


@dataclass(slots=True)
class Rounds:
    """What was measured so far, in µs."""

    total_us: list[float] = field(default_factory=list)
    detect_us: list[float] = field(default_factory=list)
    switch_us: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def measure_failover(
    *,
    rounds: int = 20,
    fault: str = "kill",
    replicas: int = 3,
    payload: int = 64,
    rate: float = 0.0,
    progress: Progress = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Measures; returns what `--json` holds.

    Args:
        rounds: how many faults.
        fault: kill (SIGKILL, then a restart), stop (SIGSTOP, then SIGCONT) or pause (no heartbeat for a while).
        replicas: how many.
        payload: bytes of a command, at least 16.
        rate: commands a second; 0: one after the other, as fast as they are answered.
        progress: called with the part that is done, 0 … 1.
        options: keys of Cluster.
    """
    if fault not in FAULTS:
        raise ValueError(f"fault: {fault!r} is not one of {', '.join(FAULTS)}")
    measured = Rounds()
    options = {"timeout_ms": inside.WAIT_MS, **options}  # of what is asked beside the load
    with LocalCluster(replicas, Ledger, **options) as cluster, cluster.load(LoadSpec(size=payload, rate=rate)) as load:
        for number in range(rounds):
            victim = _wait_for_load(cluster, load, min(UNDER_LOAD, int(rate)) if rate else UNDER_LOAD)
            _one_round(cluster, load, victim, fault, measured)
            _heal(cluster, load, victim, fault)
            measured.lost += _lost(cluster, load)
            progress((number + 1) / rounds)
        cores, fabric = cluster.cluster.chosen_cores, cluster.cluster.fabric
        acknowledged = load.acknowledged
    names = ("p50", "p99")
    return {
        "fabric": fabric,
        "replicas": replicas,
        "payload": payload,
        "fault": fault,
        "rounds": rounds,
        "detect_us": quantiles(measured.detect_us, names),
        "switch_us": quantiles(measured.switch_us, names),
        "total_us": quantiles(measured.total_us, names),
        "lost": len(measured.lost),
        "acknowledged": acknowledged,
        "machine": machine.facts(cores),
    }


def _wait_for_load(cluster: LocalCluster, load: Load, commands: int) -> int:
    """Waits until one replica has led for a while and had so many commands acknowledged; returns its id."""
    since, leader, begun_at = time.monotonic(), 0, 0

    def steady() -> bool:
        nonlocal since, leader, begun_at
        now = cluster.settle(PATIENCE)
        if now != leader:
            since, leader, begun_at = time.monotonic(), now, load.record(now).acknowledged
        return time.monotonic() - since > STEADY and load.record(leader).acknowledged > begun_at + commands

    cluster.wait(steady, PATIENCE, "No steady leader under load")
    return leader


def _one_round(cluster: LocalCluster, load: Load, victim: int, fault: str, measured: Rounds) -> None:
    """One fault, and how long it took until another replica had a command decided."""
    moment: int = getattr(cluster, fault)(victim)

    def successor() -> int:
        for each in cluster.cluster.replicas:
            if each != victim and load.record(each).first_success_ns > moment:
                return each
        return 0

    leader = cluster.wait(successor, PATIENCE, f"Nobody took over after {fault} of replica {victim}")
    status = cluster.status(leader)
    measured.total_us.append((load.record(leader).first_success_ns - moment) / 1000)
    measured.switch_us.append(status.took_over_us)
    began = status.takeover_began_ns
    measured.detect_us.append((began - moment) / 1000 if began > moment else 0.0)


def _heal(cluster: LocalCluster, load: Load, victim: int, fault: str) -> None:
    """Brings the victim back as a full member."""
    if fault == "kill":
        cluster.restart(victim)
    elif fault == "stop":
        cluster.resume(victim)
    else:
        cluster.unpause(victim)
    cluster.wait_until_admitted(victim, PATIENCE)
    if fault == "kill":
        load.add(victim)


def _lost(cluster: LocalCluster, load: Load) -> list[str]:
    """What was acknowledged before now and is not in the history that a read at the leader shows."""
    proofs = [record.proof for record in load.records()]
    try:
        view = cluster.read(Ledger.view, timeout=PATIENCE)
    except MuError as error:
        raise MuError(f"The history cannot be read after a fail-over: {error}") from error
    return lost_commands(view, proofs)
