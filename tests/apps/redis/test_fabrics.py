"""Redis on a fabric: what its server is told of it, and what it refuses. Whether RDMA works is asked in tests/verbs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mu import CannotStart, Cluster
from mu.apps.redis import Address, LocalRedis, RedisServer
from mu.apps.redis.local import free_ports
from mu.cli import app

NO_DEVICE = r"rdma link add|libibverbs|mu fabrics"  # what is said depends on what the machine lacks


def told(command: list[str]) -> set[str]:
    """What the module is told, of a server's command line."""
    return set(command[command.index("--loadmodule") + 2 :])


def test_a_server_is_told_all_of_its_fabric(tmp_path: Path) -> None:
    """Each key of a cluster that says how to reach the others by RDMA comes to the module, the id put in."""
    cluster = Cluster(
        fabric="verbs",
        registry="10.0.0.9:11211",
        rdma_device="mlx5_{id}",
        rdma_port=2,
        rdma_gid_index=3,
        rdma_mtu=1024,
    )
    found = told(RedisServer(cluster, 2).command_line(tmp_path))
    assert found >= {
        "fabric=verbs",
        "registry=10.0.0.9:11211",
        "rdma_device=mlx5_2",
        "rdma_port=2",
        "rdma_gid_index=3",
        "rdma_mtu=1024",
    }


def test_a_server_is_tuned_as_its_cluster_says(tmp_path: Path) -> None:
    """[tuning] comes to the module; a setting that does not exist is refused by its name, and nothing starts."""
    tuned = Cluster(tuning={"stale_limit": 5, "stuck_limit": 7})
    assert "tuning=stale_limit=5,stuck_limit=7" in told(RedisServer(tuned, 1).command_line(tmp_path))
    with pytest.raises(CannotStart, match="knows no setting stale_limits"):
        alone(Cluster(replicas=(1,), tuning={"stale_limits": 5})).start()


def test_the_artifact_s_variables_say_where_the_registry_is(tmp_path: Path) -> None:
    """SID, IDS and DORY_REGISTRY_IP make up a server's command line; its address is among its peers'."""
    program = tmp_path / "redis-server"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.told"\n')
    program.chmod(0o700)
    arguments = ["redis", "server", "--server-binary", str(program), "--peers", "4=10.0.0.4:7000,9=10.0.0.9:7000"]
    environment = {"SID": "9", "IDS": "4,9", "DORY_REGISTRY_IP": "10.0.0.1", "MU_FABRIC": "verbs"}
    assert CliRunner().invoke(app, arguments, env=environment).exit_code != 0  # it listens nowhere
    command = Path(f"{program}.told").read_text().splitlines()
    assert told(command) >= {
        "fabric=verbs",
        "registry=10.0.0.1",
        "replica=9",
        "peer=4@10.0.0.4:7000",
        "peer=9@10.0.0.9:7000",
    }
    assert command[command.index("--bind") + 1] == "10.0.0.9"


def test_a_server_on_verbs_wants_a_registry() -> None:
    """Without a registry redis does not start, and what it says is how to start one."""
    with pytest.raises(CannotStart, match="mu registry"):
        alone(Cluster(fabric="verbs", replicas=(1,))).start()


def test_a_server_on_verbs_wants_a_device() -> None:
    """Without an RDMA device redis does not start, and what it says is how to come by one."""
    with pytest.raises(CannotStart, match=NO_DEVICE):
        alone(Cluster(fabric="verbs", replicas=(1,), registry="127.0.0.1:9", rdma_device="no-such-device")).start()


def test_servers_on_verbs_here_bring_their_registry(fresh: Callable[..., LocalRedis]) -> None:
    """Several servers here that were told of no registry have one of their own: all that they miss is the device."""
    with pytest.raises(CannotStart, match=NO_DEVICE):
        fresh(fabric="verbs", rdma_device="no-such-device")


def alone(cluster: Cluster) -> RedisServer:
    """One server, on a port that nobody uses."""
    return RedisServer(cluster, 1, addresses={1: Address("127.0.0.1", free_ports(1)[0])})
