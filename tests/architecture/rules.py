"""Who may import whom, as functions over one file's path and text; the tables are DESIGN's, made exact.

Invariant: what is not allowed by a table is a finding, so a new room of the house must be entered here first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.sources import CPP_TOKENS

# The rooms of src/core, and whose headers each may include. `log` is log.hpp and log.cpp, `mu` is mu.h and
# mu.cpp; protocol sees of fabric only the interface (below).
MAY_INCLUDE: dict[str, set[str]] = {
    "common": {"common"},
    "log": {"common", "log"},
    "protocol": {"common", "log", "protocol", "fabric"},
    "fabric": {"common", "fabric"},
    "runtime": {"common", "log", "protocol", "fabric", "runtime"},
    "mu": {"common", "log", "protocol", "fabric", "runtime", "mu"},
    "attach": {"common", "log", "protocol", "fabric", "runtime", "mu", "attach"},
    "simulation": {"common", "log", "protocol", "fabric", "simulation"},
    "bindings": {"common", "log", "protocol", "fabric", "runtime", "simulation", "bindings"},
}
FABRIC_INTERFACE = "fabric/fabric.hpp"

# Time and memory come into log and protocol through arguments; Python is seen only by bindings.
WORLD = re.compile(
    r"thread|mutex|shared_mutex|condition_variable|future|semaphore|barrier|latch|stop_token|chrono|ctime|time\.h"
    r"|pthread\.h|unistd\.h|fcntl\.h|sched\.h|signal\.h|csignal|poll\.h|netdb\.h|(?:sys|netinet|arpa|linux|net)/.*"
    r"|iostream|fstream|filesystem|random|infiniband/.*|rdma/.*"
)
PYTHON_HEADER = re.compile(r"(?:Python\.h|structmember\.h|nanobind/.*|pybind11/.*)$")
VERBS_HEADER = re.compile(r"(?:infiniband|rdma)/")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)

# Python: who touches the extension, and the faces that use public names only.
CORE_USERS = ("mu.replica", "mu.fabric", "mu.log", "mu.testing")
FACES = ("mu.apps", "mu.cli", "mu.bench")


def room_of(header: str) -> str:
    """The room of a path below src/core: its directory, or the stem of a file that stands alone."""
    return header.split("/", maxsplit=1)[0] if "/" in header else header.split(".", maxsplit=1)[0]


def includes(text: str) -> Iterator[tuple[int, str, bool]]:
    """The includes of C++ source outside comments: line, header, and whether it is written in quotes."""

    def uncomment(match: re.Match[str]) -> str:
        found = match.group()
        return re.sub(r"[^\n]", " ", found) if match["comment"] is not None else found

    text = CPP_TOKENS.sub(uncomment, text)
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[1] or match[2], match[2] is not None


def of_ours(header: str, room: str, path: Path) -> str | None:
    """What is wrong with including a header of ours in this room, if anything."""
    target = room_of(header)
    if ".." in header.split("/"):
        return "is written relative to src/core, without '..'"
    if target not in MAY_INCLUDE:
        return "is in no room that the architecture knows; includes are written relative to src/core"
    if target not in MAY_INCLUDE[room]:
        return f"is in {target}, which {room} may not include"
    if room == "protocol" and target == "fabric" and header != FABRIC_INTERFACE:
        return f"is one of the fabrics; protocol knows {FABRIC_INTERFACE} only"
    if path.name == "mu.h":
        return "is C++ of ours; mu.h is for C programs and includes none of it"
    return None


def of_others(header: str, room: str, path: str) -> str | None:
    """What is wrong with including a header of the system in this room, if anything."""
    if PYTHON_HEADER.match(header) and room != "bindings":
        return "is Python's; only bindings sees that"
    if room in {"log", "protocol"} and WORLD.fullmatch(header):
        return f"belongs to the world outside, which {room} meets only through arguments"
    if VERBS_HEADER.match(header) and not path.startswith("fabric/verbs"):
        return "is RDMA's; only fabric/verbs sees that"
    return None


def cpp_findings(path: Path, text: str) -> list[str]:
    """What a file below src/core (its path relative to that) includes and may not."""
    room = room_of(path.as_posix())
    if room not in MAY_INCLUDE:
        return [f"{path}: is in no room that the architecture knows ({', '.join(MAY_INCLUDE)})"]
    findings = []
    for line, header, quoted in includes(text):
        wrong = of_ours(header, room, path) if quoted else of_others(header, room, path.as_posix())
        if wrong is not None:
            findings.append(f"{path}:{line}: {header} {wrong}")
    return findings


def module_of(path: Path) -> str:
    """The dotted name of a Python file below src."""
    parts = list(path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: str, is_package: bool, text: str) -> Iterator[tuple[int, str, str | None]]:
    """The imports of a module: line, module imported from (made absolute), and the name if there is one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, base, alias.name


def within(module: str, packages: tuple[str, ...]) -> str | None:
    """Which of these packages a module is, or is inside of."""
    return next((package for package in packages if f"{module}.".startswith(f"{package}.")), None)


def python_findings(path: Path, text: str) -> list[str]:
    """What a file below src (its path relative to that) imports and may not."""
    module = module_of(path)
    face = within(module, FACES)
    findings = []
    for line, base, name in imports(module, path.name == "__init__.py", text):
        target = f"{base}.{name}" if name else base
        if not within(target, ("mu",)):
            continue
        if within(target, ("mu._core",)) and not within(module, CORE_USERS):
            findings.append(f"{path}:{line}: only {', '.join(CORE_USERS)} touch the extension")
        elif face and not within(target, (face,)) and any(part.startswith("_") for part in target.split(".")):
            findings.append(f"{path}:{line}: {face} uses public names only, and {target} is private")
    return findings


def stub_names(text: str) -> set[str]:
    """The public names that a stub declares: of the module, and of its classes as Class.name."""

    def names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield prefix + node.name
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield prefix + node.target.id
            elif isinstance(node, ast.Assign):
                yield from (prefix + target.id for target in node.targets if isinstance(target, ast.Name))
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")

    return {name for name in names(ast.parse(text).body, "") if not name.split(".")[-1].startswith("_")}


def runtime_names(module: object) -> set[str]:
    """The public names that an extension has: of the module, and of its classes as Class.name."""

    def names(owner: object, prefix: str) -> Iterator[str]:
        for name, value in vars(owner).items():
            if not name.startswith("_"):
                yield prefix + name
                if isinstance(value, type):
                    yield from names(value, f"{prefix}{name}.")

    return set(names(module, ""))
