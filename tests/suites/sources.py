"""Gets the outside suites: Redis's own, of the redis that is installed here, and redis-py's, of the version used here.

Both are fetched by their registries' ordinary clients into build/suites, once. Debian's source packages need no setting
of the system: apt runs with a state of its own, and the machine's own entries asked for sources. Redis's suite is
changed in one place: where it reads a stream of replication it passes over Mu's marks. Invariant: a directory that
exists is complete.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PLACE: Final = ROOT / "build" / "suites"
APT: Final = Path("/etc/apt")
PROGRAMS: Final = ("redis-server", "redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb")
FETCH_TIMEOUT: Final = 300  # seconds

# A test that attaches to a leader as a replica would meet marks, and the SELECT before and after each.
READER: Final = "proc read_from_replication_stream {"
CLOSER: Final = "proc close_replication_stream {s} {"
PASS_OVER_MARKS: Final = """
proc read_from_replication_stream {stream} {
    if {[info exists ::mu_held($stream)]} {
        set read $::mu_held($stream)
        unset ::mu_held($stream)
        return $read
    }
    while 1 {
        set read [read_with_marks $stream]
        if {[string match "publish __mu__:at *" $read]} continue
        if {![string match "select *" $read]} break
        set ::mu_selected($stream) $read
    }
    if {$read eq "" || ![info exists ::mu_selected($stream)]} { return $read }
    if {[info exists ::mu_told($stream)] && $::mu_told($stream) eq $::mu_selected($stream)} { return $read }
    set ::mu_held($stream) $read
    set ::mu_told($stream) $::mu_selected($stream)
}
proc read_with_marks {"""
FORGET_STREAM: Final = """
    foreach about {held selected told} { unset -nocomplain ::mu_${about}($s) }"""


class FetchError(Exception):
    """A suite cannot be had here; says why."""


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=FETCH_TIMEOUT)
    if done.returncode != 0:
        raise FetchError(f"`{' '.join(command[:2])} …` failed:\n{done.stderr[-2000:]}")


def _unpack(archive: Path, to: Path) -> Path:
    """What is in the archive's one directory, as directory `to`."""
    fresh = to.with_name(f"{to.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(archive) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none yet
        opened.extractall(fresh)
    [inside] = fresh.iterdir()
    shutil.rmtree(to, ignore_errors=True)
    inside.rename(to)
    fresh.rmdir()
    return to


# --- Redis's own ----------------------------------------------------------------------------------------------------


def _source_entries(to: Path) -> None:
    """The machine's own package sources, asked for source packages, in both of apt's ways to write them."""
    for path in [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))]:
        if path.suffix == ".sources" and path.is_file():
            text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", path.read_text())
        elif path.suffix == ".list" and path.is_file():
            text = re.sub(r"(?m)^deb\s", "deb-src ", path.read_text())
        else:
            continue
        (to / path.name).write_text(text)


def redis_version() -> str:
    """Of the redis-server that is installed: 7.0.15, say."""
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    if not (found := re.search(r"v=(\d+\.\d+\.\d+)", said)):
        raise FetchError(f"redis-server does not say its version: {said}")
    return found[1]


def tcl_suite() -> Path:
    """The source tree of the installed redis, with the installed programs where the suite looks for them."""
    if shutil.which("tclsh") is None:
        raise FetchError("There is no tclsh: install tcl.")
    version = redis_version()
    tree = PLACE / f"redis-{version}"
    if tree.is_dir():
        return tree
    state = PLACE / "apt"
    for each in ("sources", "lists/partial", "cache/archives/partial", "fetched"):
        (state / each).mkdir(parents=True, exist_ok=True)
    _source_entries(state / "sources")
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(state / "sources"),
        "Dir::State::lists": str(state / "lists"),
        "Dir::Cache": str(state / "cache"),
        "Debug::NoLocking": "true",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    _run(["apt-get", "update", "-q", *flags], state)
    _run(["apt-get", "source", "-q", "--download-only", *flags, "redis"], state / "fetched")
    archives = [*(state / "fetched").glob(f"redis_{version}*.orig.tar.*")]
    if not archives:
        raise FetchError(f"The source package that apt knows is not that of redis {version}, which is installed.")
    return _prepare(_unpack(archives[0], PLACE / "unpacked")).rename(tree)


def _prepare(tree: Path) -> Path:
    helper = tree / "tests" / "test_helper.tcl"
    text = helper.read_text(encoding="utf-8")
    if READER not in text or CLOSER not in text:
        raise FetchError("Redis's suite reads streams of replication in another way than the one that is known.")
    text = text.replace(READER, PASS_OVER_MARKS).replace(CLOSER, CLOSER + FORGET_STREAM)
    helper.write_text(text, encoding="utf-8")
    for each in PROGRAMS:
        if program := shutil.which(each):
            (tree / "src" / each).symlink_to(program)
    return tree


# --- redis-py's -----------------------------------------------------------------------------------------------------


def redis_py_tests() -> Path:
    """The source distribution of the redis-py that is installed in .venv."""
    version = importlib.metadata.version("redis")
    tree = PLACE / f"redis-py-{version}"
    if tree.is_dir():
        return tree
    fetched = PLACE / "pypi"
    fetched.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "redis"]
    _run([*command, f"redis=={version}"], fetched)
    return _unpack(fetched / f"redis-{version}.tar.gz", tree)
