"""Builds the simulator's runner, or a room of the C++ tests, with a mistake in it.

Only what a mutant touches is compiled: its own files in a directory that the compiler searches first, everything else
as it is in the tree. The objects are linked before the library of the unmutated core, so that the linker takes them
instead of the library's.

Invariant: what is built is named by the digest of all that it was made from, so nothing stale is ever run.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import CORE, ROOT, Mutant, mutated

LIBRARY = "libmu_core.a"
SUPPORT = ("libmu_test_support.a", "libmu_redis_ledger.a")  # of the tests
RUNNER = ROOT / "tests/mutants/runner.cpp"
# What of the library the runner is made of; nothing else can matter to it.
LINKED = re.compile(r"src/core/(log\.cpp|common/|protocol/|simulation/|fabric/sim)")
# Fast enough to build, and fast enough to walk.
OPTIMISATION = ["-O2", "-g0", "-w"]


@dataclass(frozen=True)
class Unit:
    """A translation unit: how it is compiled, and what it is made of."""

    source: Path
    command: tuple[str, ...]
    parts: tuple[Path, ...]


def text_digest(*texts: str | bytes) -> str:
    """One name for all of these texts."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode() if isinstance(text, str) else text
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:20]


def compile_command(entry: dict[str, str]) -> tuple[str, ...]:
    """How CMake compiles a unit, without its warnings, its optimisation and its output."""
    words = shlex.split(entry["command"])
    kept = [word for word in words if not re.match(r"-(W|O|g\d?$)", word)]
    output = kept.index("-o")
    source = kept.index("-c")
    return tuple(word for index, word in enumerate(kept) if index not in {output, output + 1, source, source + 1})


def dependencies(directory: Path) -> dict[str, tuple[Path, ...]]:
    """What each object of a build is made of, as ninja has noted it: our own files only."""
    cache = (directory / "CMakeCache.txt").read_text(encoding="utf-8")
    found = re.search(r"^CMAKE_MAKE_PROGRAM:\w+=(.*)$", cache, flags=re.MULTILINE)
    ninja = found[1] if found else "ninja"
    listing = subprocess.run([ninja, "-t", "deps"], cwd=directory, capture_output=True, text=True, check=True).stdout
    table = {}
    for block in listing.split("\n\n"):
        head, *lines = block.splitlines() or [""]
        paths = [(directory / line.strip()).resolve() for line in lines]
        table[str(directory / head.split(": #deps")[0])] = tuple(path for path in paths if path.is_relative_to(ROOT))
    return table


class Workshop:
    """Makes runners of mutants out of a build of the tests, and keeps them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory = directory.resolve()
        self.cache = directory / "mutants"
        self.cache.mkdir(exist_ok=True)
        self.library = directory / LIBRARY
        self.library_digest = text_digest(self.library.read_bytes())
        entries = json.loads((directory / "compile_commands.json").read_text(encoding="utf-8"))
        made_of = dependencies(directory)
        self.units = [
            Unit(Path(entry["file"]), compile_command(entry), made_of[str(directory / entry["output"])])
            for entry in entries
            if LINKED.search(entry["file"]) or Path(entry["file"]) == RUNNER
        ]

    def runner(self, mutant: Mutant) -> Path:
        """The runner with this mistake in it."""
        return self.program(mutant, mutant.name, RUNNER, [])

    def tests(self, mutant: Mutant, room: str) -> Path:
        """The C++ tests of a room, as they were built, linked with this mistake."""
        headers = [file for file in mutant.files if not file.endswith(".cpp")]
        if headers:
            raise ValueError(f"{mutant.name} changes {headers}, of which the tests as they were built know nothing")
        objects = sorted((self.directory / f"CMakeFiles/mu_{room}_tests.dir").rglob("*.o"))
        libraries = [self.directory / name for name in SUPPORT]
        return self.program(mutant, f"{mutant.name}-{room}", None, [*objects, *libraries])

    def program(self, mutant: Mutant, name: str, main: Path | None, built: list[Path]) -> Path:
        """A program of `main`, if there is one, what was built before, and the core with this mistake in it."""
        self.check_library()
        changed = {CORE / file for file in mutant.files}
        units = [unit for unit in self.units if unit.source == main or changed.intersection(unit.parts)]
        if main is None:
            units = [unit for unit in units if unit.source != RUNNER]
        missing = changed.difference(part for unit in units for part in unit.parts)
        if missing:
            raise ValueError(f"{mutant.name} changes what the runner does not contain: {sorted(map(str, missing))}")
        texts = {CORE / file: self.text(mutant, file) for file in mutant.files}
        made_of = [part for unit in units for part in unit.parts]
        contents = [texts.get(part) or part.read_text(encoding="utf-8") for part in sorted(set(made_of))]
        commands = ["\0".join((*unit.command, *OPTIMISATION)) for unit in units]
        before = [each.read_bytes() for each in built]
        path = self.cache / f"{name}-{text_digest(self.library_digest, *commands, *contents, *before)}"
        if not path.exists():
            self.build(units, texts, built, path)
            for old in self.cache.glob(f"{name}-" + "?" * 20):
                if old != path:
                    old.unlink()
        return path

    def check_library(self) -> None:
        """Objects of the present tree and a library of an older one would not fit: a crash is not a catch."""
        built = self.library.stat().st_mtime
        newer = [part for unit in self.units for part in unit.parts if part.stat().st_mtime > built and part != RUNNER]
        if newer:
            raise RuntimeError(f"{self.library} is older than {newer[0]}: build the tests again (./dev test does).")

    @staticmethod
    def text(mutant: Mutant, file: str) -> str:
        """The text of a file with the mistake in it."""
        return mutated(mutant.edits, file, (CORE / file).read_text(encoding="utf-8"))

    def build(self, units: list[Unit], texts: dict[Path, str], built: list[Path], path: Path) -> None:
        """Compiles the units with these texts in place of the tree's, and links them with the rest into `path`."""
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            copies = Path(scratch) / "core"
            for source, text in texts.items():
                copy = copies / source.relative_to(CORE)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text, encoding="utf-8")
            objects = []
            for number, unit in enumerate(units):
                source = copies / unit.source.relative_to(CORE) if unit.source in texts else unit.source
                objects.append(f"{scratch}/{number}.o")
                compiler, *flags = unit.command
                call([compiler, f"-I{copies}", *flags, *OPTIMISATION, "-c", str(source), "-o", objects[-1]])
            linked = Path(scratch) / "linked"
            call([compiler, *objects, *map(str, built), str(self.library), "-pthread", "-o", str(linked)])
            linked.replace(path)


def call(command: list[str]) -> None:
    """Runs a compiler; what it complains of is the error."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr}")
