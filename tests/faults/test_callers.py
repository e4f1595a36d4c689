"""What callers do to what they gave a call, while that waits."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mu


class Kept(mu.Counter):
    """Keeps every command as it was applied."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[bytes] = []

    def apply(self, command: bytes) -> bytes:
        """Keeps it."""
        self.applied.append(command)
        return b""


def switches(thread: threading.Thread) -> int:
    """How often a thread has given its processor away by itself."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


def test_a_batch_is_what_it_was_when_the_call_began(tmp_path: Path) -> None:
    """The caller's list is emptied, and its memory used again, while the call waits: its commands are decided."""
    machine = Kept()
    batch = [b"%c" % (65 + i % 26) * 200 for i in range(200)]
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=machine) as replica:
        replica.wait_until_leader(30)
        proposer = threading.Thread(target=lambda: replica.propose_many(batch, 30))

        def meanwhile() -> list[bytes]:
            proposer.start()
            before = switches(proposer)
            while switches(proposer) < before + 50:
                pass  # until it naps again and again: it waits for this read
            batch.clear()
            return [b"%d" % i * 66 for i in range(100, 999)]

        assert replica.read(meanwhile, 30)
        proposer.join()
        replica.read(int, 30)  # all of it is applied
    assert machine.applied == [b"%c" % (65 + i % 26) * 200 for i in range(200)]


class Echo(mu.Counter):
    """Replies what it was told."""

    def apply(self, command: bytes) -> bytes:
        """Nothing else."""
        return command


def test_each_command_of_a_large_batch_gets_its_own_reply(tmp_path: Path) -> None:
    """Tens of thousands of commands in a few slots: every reply goes to its command."""
    batch = [b"%d" % i for i in range(50_000)]
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=Echo()) as replica:
        replica.wait_until_leader(30)
        assert replica.execute_many(batch, 60) == batch


class Fails(mu.Counter):
    """Fails in ways whose text is hard to tell, and stops in the middle of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[bytes] = []

    def apply(self, command: bytes) -> bytes:
        """By what it is told."""
        self.begun.append(command)
        if command == b"surrogate":
            raise ValueError(b"\xff".decode(errors="surrogateescape"))
        if command == b"textless":
            raise TextlessError
        if command == b"stops":
            raise SystemExit
        return b""


class TextlessError(Exception):
    """One that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("command", [b"surrogate", b"textless"])
def test_a_failure_that_cannot_be_told_is_a_failure_all_the_same(tmp_path: Path, command: bytes) -> None:
    """What an exception says may be no UTF-8, or raise itself: the command has failed, and the replica goes on."""
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=Fails()) as replica:
        replica.wait_until_leader(30)
        with pytest.raises(mu.CommandFailed):
            replica.execute(command, 30)
        assert replica.execute(b"", 30) == b""


def test_a_failure_in_a_batch_tells_which_it_was_and_what_the_others_replied(tmp_path: Path) -> None:
    """All commands are applied; the first that failed is named, and no reply is lost."""
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=mu.Counter()) as replica:
        replica.wait_until_leader(30)
        with pytest.raises(mu.CommandFailed, match="at command 1 of 4: ValueError") as caught:
            replica.execute_many([b"+1", b"odd", b"+1", b"even"], 30)
    first, odd, third, even = caught.value.replies
    assert (caught.value.index, first, third) == (1, b"1", b"2")
    assert odd == caught.value.text != even
    assert "'even'" in str(even)


def test_a_replica_that_stopped_in_the_middle_of_a_batch_begins_nothing_again(tmp_path: Path) -> None:
    """Neither the command that stopped it nor what stands before or behind that is applied by a later call."""
    machine = Fails()
    with mu.Replica.open(replicas=(1,), replica_id=1, directory=str(tmp_path), state_machine=machine) as replica:
        replica.wait_until_leader(30)
        for call in (lambda: replica.execute_many([b"a", b"stops", b"b"], 30), lambda: replica.execute(b"c", 30)):
            with pytest.raises(mu.Closed):
                call()
        with pytest.raises(mu.Closed):
            replica.read(int, 30)
    assert machine.begun == [b"a", b"stops"]


# Its address space is kept from growing by as much as a batch takes to be put together.
NO_MEMORY = """
import resource, sys
from pathlib import Path
import mu
with mu.Replica.open(replicas=(1,), replica_id=1, directory=sys.argv[1], log_bytes=1 << 28) as replica:
    replica.wait_until_leader(30)
    large = bytes(14 << 20)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
    try:
        replica.execute_many([large, large], 30)
    except MemoryError as error:
        print(type(error).__name__)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(replica.execute(b"x", 30)[0])
"""


def test_a_batch_for_which_there_is_no_memory_is_not_proposed(segments: Path) -> None:
    """It raises NoMemory, and the replica goes on: the next command is the first one."""
    command = [sys.executable, "-c", NO_MEMORY, str(segments)]
    done = subprocess.run(command, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["NoMemory", "1"]
