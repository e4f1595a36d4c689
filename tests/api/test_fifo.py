"""The pipe through which a shell pauses a replica: it is heard in every process, and removed at the end."""

from __future__ import annotations

import fcntl
import os
import resource
import threading
from pathlib import Path

import pytest

import mu
from mu.fifo import Fifo
from tests.api.fake_core import World

PATIENCE = 30.0
BEYOND_SELECT = 1100  # a descriptor that select() cannot name


def write(path: Path, text: str) -> None:
    """What a shell's echo does."""
    path.write_text(text, encoding="utf-8")


def test_it_is_heard_beside_many_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with more than a thousand open files hears its pipe, too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    paused, opened = threading.Event(), os.open

    def high(*args: object) -> int:
        low = opened(*args)  # type: ignore[arg-type]
        descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, BEYOND_SELECT)
        os.close(low)
        return descriptor

    monkeypatch.setattr("mu.fifo.os.open", high)
    fifo = Fifo(str(tmp_path / "pipe"), paused.set, lambda: None)
    monkeypatch.undo()
    write(tmp_path / "pipe", "p\n")
    assert paused.wait(PATIENCE)
    fifo.close()


def test_what_another_one_has_read_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two replicas at one pipe share its letters; who comes too late for one hears the next."""
    paused, late = threading.Event(), threading.Event()
    read = os.read

    def too_late(descriptor: int, size: int) -> bytes:
        if not late.is_set():
            read(descriptor, size)
            late.set()
            raise BlockingIOError
        return read(descriptor, size)

    monkeypatch.setattr("mu.fifo.os.read", too_late)
    fifo = Fifo(str(tmp_path / "pipe"), paused.set, lambda: None)
    write(tmp_path / "pipe", "c\n")
    assert late.wait(PATIENCE)
    write(tmp_path / "pipe", "p\n")
    assert paused.wait(PATIENCE)
    fifo.close()


def test_it_is_removed_from_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may change its directory while a pipe with a relative name is open."""
    monkeypatch.chdir(tmp_path)
    fifo = Fifo("pipe", lambda: None, lambda: None)
    assert (tmp_path / "pipe").is_fifo()
    monkeypatch.chdir("/")
    fifo.close()
    assert not (tmp_path / "pipe").exists()


def test_several_threads_may_close_a_replica(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many have begun to, the pipe is closed once."""
    replica = mu.Replica.open(mu.Cluster(fifo=str(tmp_path / "pipe")), replica_id=world.leader)
    inside, errors = threading.Barrier(2), list[Exception]()

    def close() -> None:
        try:
            replica.close()
        except Exception as error:  # noqa: BLE001  # told below
            errors.append(error)

    monkeypatch.setattr(world.nodes[world.leader], "close", lambda: inside.wait(PATIENCE))
    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
