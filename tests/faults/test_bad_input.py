"""Bad input beside a running cluster: a clear error, and the cluster works on as if nothing had been tried.

What a description alone can get wrong (ids that come twice, no ids, sizes, names) is in tests/api/test_cluster.py.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import mu
from mu import fabric
from mu.testing import LocalCluster
from tests.faults.clusters import PATIENCE, SMALL_LOG, names_in, others_than, started, surely
from tests.faults.witness import Value, Witness

LAYOUT_AT: Final = 8  # bytes from the start of a segment (SegmentIdentity in src/core/fabric/segment.hpp)
NOBODY: Final = 65534  # the uid that owns nothing


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A running cluster, which must be as alive after the test as before, but for what the test itself killed."""
    with started(3) as cluster:
        before = lives(cluster)
        assert len(before) == 3
        yield cluster
        after = lives(cluster)
        assert after == {each: before[each] for each in cluster.running}
        for each in before.keys() - after.keys():
            cluster.restart(each)
        cluster.settle(PATIENCE)
        assert surely(cluster, b"kv after add 1") == b"1"
        assert cluster.read(Value("before"), timeout=PATIENCE) == "kept"


def lives(cluster: LocalCluster) -> dict[int, int]:
    """The incarnations of the replicas that run."""
    return {each: status.incarnation for each, status in cluster.statuses(PATIENCE).items()}


def files(cluster: LocalCluster) -> list[str]:
    """The segments and locks in the cluster's directory."""
    return names_in(cluster.cluster.directory, "mu.")


def open_beside(cluster: LocalCluster, replica_id: int, **other: object) -> None:
    """Tries to run a replica of a cluster described a little differently; it must not come to be."""
    mu.Replica.open(cluster.cluster, replica_id=replica_id, state_machine=Witness(), **other).close()


@pytest.fixture
def dead(cluster: LocalCluster) -> int:
    """A replica of the running cluster that has been killed."""
    follower = others_than(cluster, cluster.settle(PATIENCE))[0]
    cluster.kill(follower)
    return follower


def test_an_unknown_id_is_refused(cluster: LocalCluster) -> None:
    """Who is no member does not start, and hears who is."""
    before = files(cluster)
    with pytest.raises(mu.UnknownReplica, match="no replica 9; this cluster's ids are 1, 2, 3"):
        open_beside(cluster, 9)
    assert files(cluster) == before


@pytest.mark.parametrize(("members", "said"), [((1, 2, 3, 3), "3 stands there more than once"), ((), "empty")])
def test_an_impossible_membership_is_refused(cluster: LocalCluster, members: tuple[int, ...], said: str) -> None:
    """Ids that come twice, or no ids at all, start nothing."""
    before = files(cluster)
    with pytest.raises(mu.ConfigError, match=said):
        open_beside(cluster, 1, replicas=members)
    assert files(cluster) == before


def test_four_replicas_work_and_survive_one() -> None:
    """An even membership is allowed: four go on without one of them."""
    with started(4) as cluster:
        cluster.kill(cluster.settle(PATIENCE))
        assert surely(cluster, b"kv after add 1") == b"1"


def test_a_command_larger_than_a_slot_is_refused(cluster: LocalCluster) -> None:
    """Too large a command is in no log, alone or in a batch; one of exactly the limit goes through."""
    limit = cluster.status(cluster.leader(PATIENCE)).max_command
    for attempt in (cluster.execute, cluster.propose):
        with pytest.raises(mu.TooLarge) as caught:
            attempt(b"kv large set ".ljust(limit + 1, b"x"), timeout=PATIENCE)
        assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
    with pytest.raises(mu.TooLarge):
        cluster.execute_many([b"kv batch add 1", b"x" * (limit + 1)], timeout=PATIENCE)
    assert surely(cluster, b"kv batch add 1") == b"1"
    assert cluster.read(Value("large"), timeout=PATIENCE) is None
    cluster.execute(b"kv large set ".ljust(limit, b"x"), timeout=PATIENCE)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_an_id_in_use_is_refused(cluster: LocalCluster, stopped: bool) -> None:
    """A second process under the id of a live one is told its pid, also if that one stands still."""
    used = others_than(cluster, cluster.settle(PATIENCE))[0]
    if stopped:
        cluster.stop(used)
    with pytest.raises(mu.IdInUse, match=f"replica {used} .*already runs as pid {cluster.pids[used]}"):
        open_beside(cluster, used)
    if stopped:
        cluster.resume(used)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"secret": "another"}, "another key"),
        ({"max_sessions": 7}, "another key"),
        ({"replicas": (1, 2, 3, 4, 5)}, "list of members"),
        ({"log_bytes": 2 * SMALL_LOG}, "another size"),
    ],
    ids=["secret", "sessions", "members", "log size"],
)
def test_a_stranger_to_the_cluster_is_refused(
    cluster: LocalCluster, dead: int, other: dict[str, object], said: str
) -> None:
    """Who finds live segments of another cluster under its names starts nothing, and hears what differs."""
    before = [each for each in files(cluster) if f".{dead}" not in each]
    with pytest.raises(mu.OtherCluster, match=said):
        open_beside(cluster, dead, **other)
    assert files(cluster) == before


def test_another_layout_is_refused(cluster: LocalCluster, dead: int) -> None:
    """A live segment of another layout version is not touched, and both versions are named."""
    path = Path(cluster.cluster.directory) / f"mu.{cluster.cluster.name}.{cluster.leader(PATIENCE)}"
    with path.open("r+b") as segment:
        segment.seek(LAYOUT_AT)
        layout = segment.read(4)
        segment.seek(LAYOUT_AT)
        segment.write(struct.pack("<I", 99))
    try:
        with pytest.raises(mu.OtherCluster, match="layout 99, this version of Mu uses layout"):
            open_beside(cluster, dead)
    finally:
        with path.open("r+b") as segment:
            segment.seek(LAYOUT_AT)
            segment.write(layout)


def test_a_stale_segment_is_cleaned_up_with_a_line_that_says_so(cluster: LocalCluster) -> None:
    """Who starts after a killed predecessor replaces its segment, whatever cluster it was of, and says so."""
    victim = others_than(cluster, cluster.settle(PATIENCE))[0]
    pid = cluster.pids[victim]
    cluster.kill(victim)
    path = Path(cluster.cluster.directory) / f"mu.{cluster.cluster.name}.{victim}"
    with path.open("r+b") as segment:
        segment.seek(LAYOUT_AT)
        segment.write(struct.pack("<I", 99))
    cluster.restart(victim)
    assert f"removed the stale segment of a dead run (pid {pid})" in cluster.log(victim)
    cluster.wait_until_admitted(victim, PATIENCE)
    cluster.kill(victim)  # for the fixture: not the life that it knew


def test_a_full_file_system_is_refused(cluster: LocalCluster, dead: int) -> None:
    """Without room for the segment nothing is left behind, and the error says how much was wanted and what to do."""
    before = [each for each in files(cluster) if f".{dead}" not in each]
    said = in_another_process(
        f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        {try_to_open(cluster, dead)}
        """
    )
    assert re.search(r"NoSpace: cannot take \d+ bytes for .*mu clean", said), said
    assert files(cluster) == before


def test_a_directory_of_others_is_refused(cluster: LocalCluster, dead: int) -> None:
    """Where this user may not write nothing starts, and the error names the place."""
    directory = cluster.cluster.directory
    if os.geteuid() == 0:
        Path(directory).chmod(0o755)
        become = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    else:
        Path(directory).chmod(0o500)
        become = "pass"
    try:
        said = in_another_process(
            f"""
            import mu, tests.faults.witness
            {become}
            {try_to_open(cluster, dead)}
            """
        )
    finally:
        Path(directory).chmod(0o700)
    assert re.search(rf"PermissionRefused: .*{directory}.*[Pp]ermission denied", said), said


def test_segments_of_another_user_are_refused(cluster: LocalCluster) -> None:
    """In a directory for all, a replica of another user does not wait for peers that it may not open."""
    if os.geteuid() != 0:
        assert Path(cluster.cluster.directory).stat().st_mode & 0o077 == 0  # nobody else can even get there
        return
    with tempfile.TemporaryDirectory(prefix="mu-faults-", dir="/dev/shm") as shared:
        Path(shared).chmod(0o1777)
        described = mu.Cluster.load(cluster.cluster, directory=shared)
        with mu.Replica.open(described, replica_id=1, state_machine=Witness()):
            said = in_another_process(
                f"""
                import mu, tests.faults.witness
                os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
                {try_to_open(cluster, 2, shared)}
                """
            )
            assert fabric.peek(described, 1) is not None
        assert names_in(shared) == []
    assert "PermissionRefused" in said, said


def try_to_open(cluster: LocalCluster, replica_id: int, directory: str = "") -> str:
    """A line that opens a replica of the cluster and prints how that went."""
    keys = {"name": cluster.cluster.name, "log_bytes": SMALL_LOG, "directory": directory or cluster.cluster.directory}
    return f"attempt({keys!r}, {replica_id})"


ATTEMPT: Final = """
import os

def attempt(keys, replica_id):
    import mu
    from tests.faults.witness import Witness
    try:
        mu.Replica.open(mu.Cluster(**keys), replica_id=replica_id, state_machine=Witness()).close()
    except mu.MuError as error:
        print(f"{type(error).__name__}: {error}")

"""


def in_another_process(program: str) -> str:
    """What a Python program prints."""
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPT + "\n".join(line.strip() for line in program.splitlines())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
