"""A replica seen from outside: whose segment it may be, and that nothing that anybody may have written is believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import mu
from mu import fabric

NOBODY = 65534


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[mu.Replica]:
    """One that runs."""
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path)) as replica:
        yield replica


def files(replica: mu.Replica) -> tuple[Path, Path]:
    """Its segment and its lock file."""
    segment = Path(replica.cluster.directory) / f"mu.{replica.cluster.name}.1"
    return segment, segment.with_name(f"{segment.name}.lock")


def test_root_sees_that_another_users_replica_lives(replica: mu.Replica) -> None:
    """Who may look at everything is told the truth about it."""
    if os.geteuid() != 0:
        return  # who is not may not even give a file away
    for each in files(replica):
        os.chown(each, NOBODY, NOBODY)
    found = fabric.peek(replica.cluster, 1)
    assert found is not None
    assert found.alive
    fabric.pause(replica.cluster, 1)
    fabric.resume(replica.cluster, 1)


@pytest.mark.parametrize("whose", [0, 1], ids=["segment", "lock"])
def test_a_lock_of_somebody_elses_proves_no_life(replica: mu.Replica, whose: int) -> None:
    """A segment and a lock file of two users are no replica that lives."""
    if os.geteuid() != 0:
        return
    os.chown(files(replica)[whose], NOBODY, NOBODY)
    found = fabric.peek(replica.cluster, 1)
    assert found is not None
    assert not found.alive


def test_another_users_segment_is_not_looked_at(replica: mu.Replica) -> None:
    """Though its mode may let everybody in: whoever owns it may have written anything there."""
    if os.geteuid() != 0:
        return
    segment, lock = files(replica)
    for each in (segment, lock, segment.parent):
        each.chmod(0o777)
    child = os.fork()
    if child == 0:
        os.chdir(segment.parent)  # those above it let nobody through
        os.setuid(NOBODY)
        try:
            fabric.peek(mu.Cluster(replicas=(1,), directory="."), 1)
        except mu.PermissionRefused:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_link_is_no_segment(replica: mu.Replica, tmp_path: Path) -> None:
    """What a name only points to is not looked at, nor asked to pause."""
    elsewhere = mu.Cluster(replicas=(1,), directory=str(tmp_path / "elsewhere"))
    Path(elsewhere.directory).mkdir()
    for each in files(replica):
        (Path(elsewhere.directory) / each.name).symlink_to(each)
    assert fabric.peek(elsewhere, 1) is None
    with pytest.raises(mu.ReplicaDown):
        fabric.pause(elsewhere, 1)


def test_what_is_cut_short_is_no_segment(replica: mu.Replica, tmp_path: Path) -> None:
    """A file that ends in the middle is nothing to look at."""
    described = mu.Cluster(name="cut", replicas=(1,), directory=str(tmp_path))
    for size in (0, 100, 4096, 4200):
        (tmp_path / "mu.cut.1").write_bytes(files(replica)[0].read_bytes()[:size])
        assert fabric.peek(described, 1) is None
