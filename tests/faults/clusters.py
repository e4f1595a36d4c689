"""What the fault tests share: clusters, and questions that wait.

With MU_FAULTS_FABRIC=verbs in the environment the clusters are on soft RDMA devices, one for each replica: that is how
the virtual machine runs these tests. Nothing else differs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mu import fabric
from mu.errors import Indeterminate
from mu.testing import LocalCluster
from tests.faults.witness import View, Witness

PATIENCE: Final = 60.0  # seconds for what has to happen in the end
SMALL_LOG: Final = 64 * 1024  # bytes: laps come soon
FABRIC_VARIABLE: Final = "MU_FAULTS_FABRIC"
VERBS: Final = {"fabric": "verbs", "rdma_device": "rxe{id}", "timeout_ms": 20_000}


def on_fabric() -> dict[str, Any]:
    """What the chosen fabric wants of a cluster."""
    return {**VERBS} if os.environ.get(FABRIC_VARIABLE) == "verbs" else {}


@contextlib.contextmanager
def started(replicas: int = 3, **options: Any) -> Iterator[LocalCluster]:
    """A settled cluster of Witnesses with small logs, in all of which the register "before" holds "kept"."""
    with LocalCluster(replicas, Witness, **{"log_bytes": SMALL_LOG, **on_fabric(), **options}) as cluster:
        cluster.settle(PATIENCE)
        surely(cluster, b"kv before set kept")
        equal_views(cluster)
        yield cluster


def surely(cluster: LocalCluster, command: bytes) -> bytes:
    """Executes a command once, whoever leads meanwhile, and returns its reply."""
    session = cluster.session()
    try:
        return session.execute(command, PATIENCE)
    except Indeterminate:
        pass
    while True:
        try:
            return session.retry(PATIENCE)
        except Indeterminate:
            continue


def names_in(directory: str | Path, beginning: str = "") -> list[str]:
    """The names of the files in a directory that begin so."""
    return sorted(each.name for each in Path(directory).iterdir() if each.name.startswith(beginning))


def others_than(cluster: LocalCluster, replica: int) -> list[int]:
    """The other members."""
    return [each for each in cluster.cluster.replicas if each != replica]


def admitted(cluster: LocalCluster, replica: int) -> bool:
    """Whether a replica's present process has been admitted; it may be stopped."""
    glimpse = fabric.peek(cluster.cluster, replica) if replica in cluster.running else None
    return glimpse is not None and glimpse.alive and glimpse.admitted


def equal_views(cluster: LocalCluster) -> View:
    """Waits until all replicas that run hold the leader's history; returns its view."""
    view = cluster.read(Witness.view, timeout=PATIENCE)

    def equal() -> bool:
        return {cluster.look(Witness.view, each).digest for each in cluster.running} == {view.digest}

    cluster.wait(equal, PATIENCE, "The replicas' histories did not become equal")
    return view
