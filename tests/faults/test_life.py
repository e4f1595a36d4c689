"""Start-up and shut-down, interrupted at any moment: nothing that is left stops the next start."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mu
from mu import fabric
from tests.faults.clusters import PATIENCE, SMALL_LOG, names_in
from tests.faults.witness import Witness
from tests.faults.zygote import Zygote

TRIALS = 80
LONGEST = 0.03  # seconds: an idle machine opens and closes a replica in 10 ms


@pytest.fixture
def alone(segments: Path) -> mu.Cluster:
    """A cluster of one."""
    return mu.Cluster(name="alone", replicas=(1,), directory=str(segments), log_bytes=SMALL_LOG)


def segment_of(cluster: mu.Cluster) -> Path:
    return Path(cluster.directory) / f"mu.{cluster.name}.1"


def test_killed_at_any_moment_of_its_life_it_can_be_started_again(
    seed: int, alone: mu.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """After SIGKILL at any moment of opening or closing the next start succeeds, says what it cleaned up, and works."""
    choices = random.Random(seed)
    segment, killed, remains = segment_of(alone), 0, 0
    with Zygote() as zygote:
        for trial in range(TRIALS):
            killed += zygote.fork(alone, 1, close=True).kill_after(choices.random() * LONGEST)
            if trial % 4:
                continue  # several deaths in a row
            left = segment.exists()
            remains += left
            caplog.clear()
            with mu.Replica.open(alone, replica_id=1, state_machine=Witness()) as replica:
                replica.wait_until_leader(PATIENCE)
                assert replica.execute(b"kv sum add 1", PATIENCE) == b"1"
            assert ("removed the stale segment of a dead run" in caplog.text) == left, caplog.text
            assert names_in(alone.directory) == []
    assert killed, "every life was shorter than the shortest: this test saw nothing"
    assert remains, "no death left a segment: this test saw nothing"


def test_who_has_lost_his_name_stops(alone: mu.Cluster) -> None:
    """A lock file that somebody removes (systemd, at a logout) keeps nobody out: its replica stops, and says why."""
    machine = mu.Counter()
    with mu.Replica.open(alone, replica_id=1, state_machine=machine) as replica:
        replica.wait_until_leader(PATIENCE)
        replica.execute(b"+1", PATIENCE)
        for each in Path(alone.directory).iterdir():
            each.unlink()
        wait_for(lambda: replica.status().failure)
        with pytest.raises(mu.Closed, match=r"was removed.*RemoveIPC=yes"):
            replica.execute(b"+1", PATIENCE)
        with mu.Replica.open(alone, replica_id=1, state_machine=mu.Counter()) as successor:
            successor.wait_until_leader(PATIENCE)
            assert machine.value == 1
            replica.close()
            assert len(names_in(alone.directory)) == 2, "the first one took its successor's names"


# Replica 3 is garbage, in a cycle, that its own apply finds: in a thread of its own.
OWN_GARBAGE = """
import contextlib, gc, sys
from pathlib import Path
import mu

class Collects(mu.Counter):
    collects = False
    def apply(self, command):
        if self.collects:
            gc.collect()
        return super().apply(command)

class Holder: pass

gc.disable()
def opened(replica_id):
    return mu.Replica.open(
        replicas=(1, 2, 3), replica_id=replica_id, directory=sys.argv[1], state_machine=Collects(),
        tuning={"stuck_limit": 60 * 10**9},
    )
holder = Holder()
holder.itself, holder.replica = holder, opened(3)
with opened(1) as first, opened(2):
    first.wait_until_leader(30)
    first.execute(b"+1", 30)
    holder.replica.state_machine.collects = True
    segment = Path(sys.argv[1], f"mu.{first.cluster.name}.3")
    assert segment.exists()
    del holder
    while segment.exists():
        with contextlib.suppress(mu.MuError):  # another one leads for a moment
            first.execute(b"+1", 30)
    print("closed")
"""


def test_a_replica_that_its_own_apply_finds_to_be_garbage_is_closed(segments: Path) -> None:
    """It is not waited for inside itself: its process goes on, and it takes its leave of the others."""
    command = [sys.executable, "-c", OWN_GARBAGE, str(segments)]
    done = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "closed\n"


LOOKER = """
import sys, mu, mu.fabric
cluster = mu.Cluster(name="alone", replicas=(1,), directory=sys.argv[1])
mu.fabric.peek(cluster, 1)
print("looking", flush=True)
while True:
    mu.fabric.peek(cluster, 1)
"""


@pytest.fixture
def lookers(alone: mu.Cluster) -> Iterator[None]:
    """Two processes that look at a replica all the time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", LOOKER, alone.directory]
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"looking\n"
        yield


@pytest.mark.usefixtures("lookers")
def test_looking_at_a_replica_never_keeps_it_from_starting(alone: mu.Cluster) -> None:
    """Whoever asks for a status all the time is not in the way of a replica that starts."""
    for _ in range(100):
        mu.Replica.open(alone, replica_id=1, state_machine=Witness()).close()


def test_clean_removes_what_a_kill_left(alone: mu.Cluster) -> None:
    """What remains of a killed replica goes with `mu clean`, which says so, and never while it lives."""
    segment = segment_of(alone)
    with Zygote() as zygote:
        fork = zygote.fork(alone, 1)
        wait_for_segment(segment)
        assert fabric.clean(alone.directory) == []
        assert segment.exists()
        assert fork.kill_after(0)
    assert segment.exists()
    assert len(fabric.clean(alone.directory)) == 1
    assert names_in(alone.directory) == []


@pytest.fixture
def command(alone: mu.Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """`mu replica`, beginning to start."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import mu.cli; mu.cli.main()", "replica", "--id", "1"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "MU_NAME": alone.name,
            "MU_REPLICAS": "1",
            "MU_DIRECTORY": alone.directory,
            "MU_LOG_BYTES": str(alone.log_bytes),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing(
    alone: mu.Cluster, command: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    """Ctrl-C, or a polite request to end, closes the replica: nothing is left in the directory."""
    wait_for_segment(segment_of(alone))
    command.send_signal(number)
    output = command.communicate(timeout=PATIENCE)[0].decode()
    assert names_in(alone.directory) == []
    assert command.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_bench_that_is_ended_removes_its_cluster(number: signal.Signals) -> None:
    """However politely a command is ended, the replicas that it started go with it, and their directory."""
    command = [sys.executable, "-c", "import mu.cli; mu.cli.main()", "bench", "idle", "--seconds", "3600"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        mine = f"mu-local-{process.pid}-*"
        wait_for(lambda: [*Path("/dev/shm").glob(f"{mine}/mu.*.3")])
        process.send_signal(number)
        process.wait(PATIENCE)
        assert [*Path("/dev/shm").glob(mine)] == []


def wait_for_segment(segment: Path) -> None:
    wait_for(segment.exists)


def wait_for(look: Callable[[], object]) -> None:
    over = threading.Event()
    for _ in range(int(PATIENCE / 0.001)):
        if look():
            return
        over.wait(0.001)
    raise AssertionError("the replica did not start")
