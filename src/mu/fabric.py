"""What fabrics this machine has, and a running cluster on it, looked at from outside its replicas' processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mu import _core
from mu.cluster import ANY_PORT, Cluster, RdmaPort
from mu.errors import PermissionRefused, ReplicaDown
from mu.private_directory import abandoned, places, remove_directory


@dataclass(frozen=True, kw_only=True, slots=True)
class Glimpse:
    """What a replica publishes about itself in shared memory. Offsets in bytes, as in Status."""

    replica_id: int
    incarnation: int = 0
    pid: int = 0
    alive: bool = False
    """its process lives"""
    heartbeat: int = 0
    admitted: bool = False
    eligible: bool = False
    leader: int = 0
    """whom it takes for the leader"""
    leading: bool = False
    """it leads, sealed (a stopped process may still say so)"""
    applied: int = 0
    fuo: int = 0
    chain_end: int = 0
    paused: bool = False
    propose_p50_ns: int = 0
    """of recent proposals, when it led, up to a second ago, as in Status; 0: none was timed"""
    propose_p99_ns: int = 0
    members: tuple[int, ...] = ()

    @classmethod
    def from_native(cls, values: Mapping[str, Any]) -> Glimpse:
        """Makes the record from what the extension reports; what only a newer one knows is left out."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        return cls(**{**known, "members": tuple(known.get("members", ()))})


@dataclass(frozen=True, kw_only=True, slots=True)
class FabricReport:
    """Whether replicas here can reach each other's memory in one way."""

    name: str
    usable: bool
    between: str
    """where replicas may be"""
    problem: str = ""
    """why it is not usable, and what to install or run"""
    detail: str = ""
    ports: tuple[dict[str, Any], ...] = ()
    """RDMA ports: device, port, state, gid, gid_index, active_mtu (bytes), soft"""

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def fabrics(directory: str = "/dev/shm", rdma: RdmaPort = ANY_PORT) -> list[FabricReport]:
    """What this machine can do.

    Args:
        directory: where shared segments would live.
        rdma: the port that would be used.
    """
    writable = os.access(directory, os.W_OK)
    shm = FabricReport(
        name="shm",
        usable=writable,
        between="processes of one machine",
        problem="" if writable else f"{directory} cannot be written to: choose another `directory`",
        detail=f"{shutil.disk_usage(directory).free >> 20} MiB free in {directory}" if writable else "",
    )
    found = _core.look_for_verbs(rdma.device, rdma.port, rdma.gid_index, rdma.mtu)
    active = [port for port in found["ports"] if port["state"] == "active"]
    verbs = FabricReport(
        name="verbs",
        usable=not found["problem"],
        between="hosts with RDMA devices",
        problem=found["problem"],
        detail=f"{len(active)} active ports",
        ports=tuple(found["ports"]),
    )
    return [shm, verbs]


def permission_times(rdma: RdmaPort, log_bytes: int, rounds: int) -> dict[str, list[int]]:
    """How long each way of changing a write permission takes on an RDMA device.

    Args:
        rdma: the port whose queue pairs are changed.
        log_bytes: the size of the log.
        rounds: how often each.

    Returns:
        Samples in ns: "flags" (of a queue pair), "restart" (of one), "replace" (by a new one), "register" (the log).

    Raises:
        MuError: there is no RDMA device, or it refuses.
    """
    return _core.measure_permission(rdma.device, rdma.port, rdma.gid_index, rdma.mtu, log_bytes, rounds)


def peek(cluster: Cluster, replica_id: int) -> Glimpse | None:
    """What a replica publishes; None if it has no segment here (it does not run, or elsewhere).

    Raises:
        PermissionRefused: it has one, of another user.
    """
    values = _core.peek(cluster.directory, cluster.name, cluster.require_member(replica_id))
    if values is None:
        _require_access(cluster, replica_id)
        return None
    return Glimpse.from_native(values)


def pause(cluster: Cluster, replica_id: int) -> None:
    """Makes a live replica stop its heartbeat. Raises ReplicaDown if it does not run here."""
    _ask(cluster, replica_id, paused=True)


def resume(cluster: Cluster, replica_id: int) -> None:
    """Lets a paused replica go on. Raises ReplicaDown if it does not run here."""
    _ask(cluster, replica_id, paused=False)


def _ask(cluster: Cluster, replica_id: int, *, paused: bool) -> None:
    if not _core.ask_pause(cluster.directory, cluster.name, cluster.require_member(replica_id), paused):
        _require_access(cluster, replica_id)
        raise ReplicaDown(f"Replica {replica_id} of cluster {cluster.name!r} does not run on this machine")


def _require_access(cluster: Cluster, replica_id: int) -> None:
    segment = Path(cluster.directory) / f"mu.{cluster.name}.{replica_id}"
    try:
        foreign = segment.lstat().st_uid != os.geteuid() != 0  # root may look at everybody's
    except OSError:
        return
    if foreign or not os.access(segment, os.R_OK | os.W_OK, follow_symlinks=False):
        raise PermissionRefused(f"Replica {replica_id} of cluster {cluster.name!r} is another user's: {segment}")


def clean(directory: str, name: str = "") -> list[str]:
    """Removes what dead replicas left behind; live ones are left alone.

    Args:
        directory: where segments live.
        name: of the cluster; "": of all.

    Returns:
        A line for each thing removed.
    """
    return _core.clean(directory, name)


def clean_private(in_places: Iterable[Path] | None = None) -> list[str]:
    """Removes the directories that killed LocalClusters and redis servers of this user left behind.

    One is left alone while the process that made it lives, or one that this has started, or a replica in it.

    Args:
        in_places: where to look; None: where they are made.

    Returns:
        A line for each thing removed.
    """
    removed = []
    for place in places() if in_places is None else in_places:
        for path in abandoned(place):
            removed += [f"{line} in {path}" for line in clean(str(path))]
            lives = any(path.glob("mu.*"))  # whoever it is, it came by itself: somebody named the directory to it
            if not lives and remove_directory(path):
                removed.append(f"removed {path}, which a killed process left")
    return removed
