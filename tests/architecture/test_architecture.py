"""Who may import whom: the rules of rules.py hold in src, and each of them notices a breach."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.tidy.sources import CPP, PYTHON, ROOT, own_code

# The names that `mu` promises to the world. To add, rename or remove one is a decision: make it here.
PUBLIC_NAMES: set[str] = {
    "Busy",
    "CannotStart",
    "Closed",
    "Cluster",
    "CommandFailed",
    "ConfigError",
    "Counter",
    "IdInUse",
    "InDoubt",
    "Indeterminate",
    "LocalCluster",
    "LogFull",
    "MuError",
    "NoLeader",
    "NoMajority",
    "NoMemory",
    "NoSpace",
    "NotLeader",
    "NotProposed",
    "OtherCluster",
    "PermissionRefused",
    "Replica",
    "ReplicaDown",
    "SimViolation",
    "Session",
    "SessionExpired",
    "StateMachine",
    "Status",
    "TooLarge",
    "UnknownReplica",
}

STUB = ROOT / "src/mu/_core.pyi"


def test_core_includes() -> None:
    """Every file of the core includes only what its room may."""
    files = own_code(CPP, "src/core/")
    core = Path("src/core")
    findings = [found for path, text in files.items() for found in rules.cpp_findings(path.relative_to(core), text)]
    assert not findings, "\n" + "\n".join(findings)


def test_core_headers_exist() -> None:
    """Every header in quotes is a file of ours, named by its path below src/core."""
    missing = [
        f"{path}:{line}: {header}"
        for path, text in own_code(CPP, "src/core/").items()
        for line, header, quoted in rules.includes(text)
        if quoted and not (ROOT / "src/core" / header).is_file()
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_python_imports() -> None:
    """Every module of the package imports only what it may."""
    files = own_code(PYTHON, "src/mu/")
    findings = [found for path, text in files.items() for found in rules.python_findings(path.relative_to("src"), text)]
    assert not findings, "\n" + "\n".join(findings)


def test_public_names() -> None:
    """`mu.__all__` is the table of promised names, and every one of them is there."""
    mu = importlib.import_module("mu")
    assert set(mu.__all__) == PUBLIC_NAMES
    assert len(mu.__all__) == len(set(mu.__all__))
    assert [name for name in mu.__all__ if not hasattr(mu, name)] == []


def test_stub_matches_extension() -> None:
    """The extension's stub, against which types are checked, declares what the extension has."""
    declared = rules.stub_names(STUB.read_text(encoding="utf-8"))
    present = rules.runtime_names(importlib.import_module("mu._core"))
    assert declared == present


CPP_BREACHES = [
    ("log.cpp", "protocol/replica.hpp"),
    ("common/types.hpp", "log.hpp"),
    ("protocol/replica.hpp", "<thread>"),
    ("protocol/replica.hpp", "<chrono>"),
    ("protocol/replica.cpp", "<sys/mman.h>"),
    ("protocol/replica.cpp", "<infiniband/verbs.h>"),
    ("protocol/replica.cpp", "fabric/shm.hpp"),
    ("protocol/replica.cpp", "runtime/clock.hpp"),
    ("protocol/replica.cpp", "<nanobind/nanobind.h>"),
    ("fabric/shm.cpp", "log.hpp"),
    ("fabric/shm.cpp", "protocol/election.hpp"),
    ("fabric/tcp.cpp", "<infiniband/verbs.h>"),
    ("runtime/node.cpp", "bindings/module.hpp"),
    ("runtime/node.cpp", "<Python.h>"),
    ("runtime/node.cpp", "../log.hpp"),
    ("runtime/node.cpp", "clock.hpp"),
    ("attach/redis.cpp", "bindings/module.hpp"),
    ("mu.h", "runtime/node.hpp"),
    ("cellar/x.cpp", "log.hpp"),
]
CPP_FINE = [
    ("log.hpp", "common/types.hpp"),
    ("protocol/replica.cpp", "fabric/fabric.hpp"),
    ("protocol/replica.cpp", "log.hpp"),
    ("protocol/replica.cpp", "<atomic>"),
    ("fabric/shm.cpp", "<sys/mman.h>"),
    ("fabric/verbs.cpp", "<infiniband/verbs.h>"),
    ("runtime/node.cpp", "<thread>"),
    ("bindings/module.cpp", "<nanobind/stl/string.h>"),
    ("bindings/module.cpp", "runtime/node.hpp"),
    ("mu.cpp", "mu.h"),
]


def include_of(header: str) -> str:
    """The line that includes a header, which is in quotes unless it stands in angle brackets."""
    return f"#include {header}\n" if header.startswith("<") else f'#include "{header}"\n'


@pytest.mark.parametrize(("path", "header"), CPP_BREACHES)
def test_include_is_refused(path: str, header: str) -> None:
    """A forbidden include is found, but not in a comment."""
    assert rules.cpp_findings(Path(path), include_of(header))
    if path != "cellar/x.cpp":
        assert not rules.cpp_findings(Path(path), f"// {include_of(header)}")


@pytest.mark.parametrize(("path", "header"), CPP_FINE)
def test_include_is_allowed(path: str, header: str) -> None:
    """What the architecture allows is no finding."""
    assert not rules.cpp_findings(Path(path), include_of(header))


PYTHON_BREACHES = [
    ("mu/cluster.py", "from mu import _core"),
    ("mu/cluster.py", "import mu._core"),
    ("mu/cluster.py", "from ._core import Log"),
    ("mu/__init__.py", "from ._core import Log"),
    ("mu/cli/__init__.py", "from mu._core import Log"),
    ("mu/cli/demo.py", "from mu._settings import load"),
    ("mu/bench/latency.py", "from ..replica import _Plane"),
    ("mu/apps/redis/server.py", "from mu.cli._table import table"),
]
PYTHON_FINE = [
    ("mu/replica.py", "from mu import _core"),
    ("mu/testing/world.py", "from .._core import World"),
    ("mu/cli/demo.py", "from mu import Replica"),
    ("mu/cli/demo.py", "from mu.cli._table import table"),
    ("mu/cli/demo.py", "from ._table import table"),
    ("mu/cli/demo.py", "from __future__ import annotations"),
    ("mu/cluster.py", "from mu._settings import load"),
]


@pytest.mark.parametrize(("path", "statement"), PYTHON_BREACHES)
def test_import_is_refused(path: str, statement: str) -> None:
    """A forbidden import is found, relative or absolute."""
    assert rules.python_findings(Path(path), statement)


@pytest.mark.parametrize(("path", "statement"), PYTHON_FINE)
def test_import_is_allowed(path: str, statement: str) -> None:
    """What the architecture allows is no finding."""
    assert not rules.python_findings(Path(path), statement)


def test_a_stub_that_lags_is_noticed() -> None:
    """A name that only the stub or only the extension has shows in the comparison."""
    stub = "class Log:\n    fuo: int\n    def parse(self): ...\n    def _hidden(self): ...\nN: int\n"

    class Extension:
        class Log:
            fuo = 0

        N = 1

    assert rules.stub_names(stub) - rules.runtime_names(Extension) == {"Log.parse"}
