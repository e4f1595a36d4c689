"""Private directories: whoever uses one keeps it, and `mu clean` removes what nobody uses any more."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mu
from mu import fabric
from mu.private_directory import OWNER, PrivateDirectory, remove_directory

ENDED_WITHIN = 30.0  # seconds


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's directories are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def left(place: Path) -> Path:
    """What a killed process has left: a directory whose lock nobody holds."""
    directory = PrivateDirectory("local")
    (directory.path / "replica-1.log").write_text("said")
    (directory.path / "below").mkdir()
    (directory.path / "below" / "dump").write_text("said")
    os.close(directory.descriptor)
    assert directory.path.parent == place
    return directory.path


def test_what_nobody_uses_is_removed_with_a_line(place: Path, left: Path) -> None:
    """A directory whose owner has ended goes with all that is in it, and the line names it."""
    assert fabric.clean_private([place]) == [f"removed {left}, which a killed process left"]
    assert [*place.iterdir()] == []


def test_what_is_used_is_left_alone(place: Path) -> None:
    """The directory of a living process stays, until that removes it."""
    with PrivateDirectory("local") as directory:
        assert fabric.clean_private([place]) == []
        assert (directory.path / OWNER).exists()
    assert [*place.iterdir()] == []


def test_what_has_just_been_made_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps of making a directory `mu clean` does not take it away."""
    seen: list[tuple[list[str], list[Path]]] = []

    def step(original: Callable[..., Any]) -> Callable[..., Any]:
        def cleaned_before(*given: Any, **more: Any) -> Any:
            if not cleaning.locked():  # the cleaner takes such steps itself
                with cleaning:
                    seen.append((fabric.clean_private([place]), [*place.iterdir()]))
            return original(*given, **more)

        return cleaned_before

    cleaning = threading.Lock()
    for module, name in ((os, "open"), (fcntl, "flock"), (os, "rename")):
        monkeypatch.setattr(module, name, step(getattr(module, name)))
    with PrivateDirectory("local") as directory:
        assert seen == [([], [directory.path])] * 3


PARENT = """
import subprocess, sys
from mu.private_directory import PrivateDirectory
directory = PrivateDirectory("local")
child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[directory.descriptor])
print(child.pid, directory.path, flush=True)
child.wait()
"""


@pytest.fixture
def parent(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a private directory, and a child that waits for a line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(place)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.kill()


def test_a_child_keeps_the_directory_of_its_dead_parent(place: Path, parent: subprocess.Popen[str]) -> None:
    """After SIGKILL of the parent the directory stays for as long as a process lives that inherited it."""
    assert parent.stdout is not None
    assert parent.stdin is not None
    child, path = parent.stdout.readline().split()
    process = os.pidfd_open(int(child))
    try:
        parent.kill()
        parent.wait()
        assert fabric.clean_private([place]) == []
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert select.select([process], [], [], ENDED_WITHIN)[0]
        assert fabric.clean_private([place]) == [f"removed {path}, which a killed process left"]
    finally:
        os.close(process)


def test_a_replica_keeps_the_directory_that_it_was_told_of(place: Path, left: Path) -> None:
    """Where a replica lives that somebody started by hand nothing is removed; a dead one's segment goes along."""
    cluster = mu.Cluster(name="by-hand", replicas=(1,), directory=str(left))
    (left / "mu.dead.1").write_bytes(b"x")
    with mu.Replica.open(cluster, replica_id=1):
        [line] = fabric.clean_private([place])
        assert "replica 1 of cluster dead" in line
        assert (left / "replica-1.log").exists()
    assert len(fabric.clean_private([place])) == 1
    assert not left.exists()


def test_what_belongs_to_another_user_is_left_alone(place: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of another user's is not removed, whatever its lock says."""
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    assert fabric.clean_private([place]) == []
    assert left.exists()


def test_what_only_looks_like_one_is_left_alone(place: Path, left: Path) -> None:
    """Directories without an owner's file, files, and links to elsewhere stay."""
    (place / "mu-notes").mkdir()
    (place / "mu-file").write_text("mine")
    elsewhere = left.rename(place / "elsewhere")
    (place / "mu-link").symlink_to(elsewhere)
    assert fabric.clean_private([place]) == []
    assert (elsewhere / OWNER).exists()
    assert len([*place.iterdir()]) == 4


def test_a_removal_that_fails_is_made_good_by_the_next(
    place: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be removed keeps its owner's file, so that the next clean finds it."""
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_: (_ for _ in ()).throw(PermissionError))
        assert not remove_directory(left)
        assert (left / OWNER).exists()
    assert len(fabric.clean_private([place])) == 1
