"""What `mu fabrics` says of this machine, and what is refused of a description of RDMA ports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mu
from mu import bench, fabric
from mu.cli import app

PORT = {
    "device": "rxe1",
    "port": 1,
    "state": "active",
    "gid": "::ffff:10.0.0.1",
    "gid_index": 1,
    "active_mtu": 1024,
    "soft": True,
}


def verbs(monkeypatch: pytest.MonkeyPatch, ports: list[dict[str, Any]], problem: str) -> fabric.FabricReport:
    """What is reported of verbs where the core finds this."""
    monkeypatch.setattr("mu.fabric._core.look_for_verbs", lambda *_: {"ports": ports, "problem": problem})
    return next(each for each in fabric.fabrics() if each.name == "verbs")


def test_shared_memory_is_usable_here(tmp_path: Path) -> None:
    """The shm fabric is usable where its directory can be written to, and says so where it cannot."""
    here = fabric.fabrics()[0]
    assert (here.name, here.usable, here.problem) == ("shm", True, "")
    elsewhere = fabric.fabrics(str(tmp_path / "none"))[0]
    assert not elsewhere.usable
    assert "cannot be written" in elsewhere.problem


def test_a_problem_of_verbs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs is usable exactly if the core has no problem with it, and the ports are shown either way."""
    found = verbs(monkeypatch, [PORT], "")
    assert found.usable
    assert found.ports == (PORT,)
    down = verbs(monkeypatch, [{**PORT, "state": "down"}], "no RDMA device has an active port")
    assert not down.usable
    assert "active port" in down.problem


def test_the_command_prints_a_table_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mu fabrics` shows each fabric and each port; `--json -` prints the same for programs, and nothing else."""
    verbs(monkeypatch, [PORT], "")
    shown = CliRunner().invoke(app, ["fabrics"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "rxe1" in shown.stdout
    assert "::ffff:10.0.0.1" in shown.stdout
    printed = json.loads(CliRunner().invoke(app, ["fabrics", "--json", "-"]).stdout)
    assert [each["name"] for each in printed["fabrics"]] == ["shm", "verbs"]
    assert printed["fabrics"][1]["ports"] == [PORT]


class Asked:
    """A core without devices, which notes which port it was asked for: (device, port, GID index, MTU)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ports: list[tuple[Any, ...]] = []
        monkeypatch.setattr("mu.fabric._core.look_for_verbs", self.look)
        monkeypatch.setattr("mu.fabric._core.measure_permission", self.measure)

    def look(self, *port: Any) -> dict[str, Any]:
        """In the place of the core's."""
        self.ports.append(port)
        return {"ports": [], "problem": "none"}

    def measure(self, *arguments: Any) -> dict[str, list[int]]:
        """In the place of the core's."""
        self.ports.append(arguments[:4])
        return {name: [1] for name in bench.METHODS}


@pytest.mark.parametrize("command", [["fabrics"], ["bench", "permission", "--rounds", "1", "--log-bytes", "4096"]])
def test_the_port_of_a_cluster_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    """`mu fabrics` and `mu bench permission` speak of the port that the file names, and of an option's before that."""
    asked = Asked(monkeypatch)
    file = tmp_path / "cluster.toml"
    file.write_text('rdma_device = "mlx5_{id}"\nrdma_port = 2\nrdma_gid_index = 3\nrdma_mtu = 1024\n', encoding="utf-8")
    run = [*command, "-c", str(file), "--id", "2"]
    assert CliRunner().invoke(app, run).exit_code == 0
    assert CliRunner().invoke(app, [*run, "--rdma-port", "1", "--rdma-mtu", "0"]).exit_code == 0
    assert CliRunner().invoke(app, command).exit_code == 0
    assert asked.ports == [("mlx5_2", 2, 3, 1024), ("mlx5_2", 1, 3, 0), ("", 0, -1, 0)]


def test_a_device_of_each_replica_needs_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's name with {id} in it is refused without an id, and taken with the one of the environment."""
    asked = Asked(monkeypatch)
    refused = CliRunner().invoke(app, ["fabrics", "--rdma-device", "rxe{id}"])
    assert isinstance(refused.exception, mu.ConfigError)
    assert "--id" in str(refused.exception)
    taken = CliRunner().invoke(app, ["fabrics", "--rdma-device", "rxe{id}"], env={"MU_REPLICA_ID": "3"})
    assert taken.exit_code == 0
    assert asked.ports == [("rxe3", 0, -1, 0)]


@pytest.mark.parametrize(("key", "value"), [("rdma_mtu", 1500), ("rdma_port", 256), ("rdma_gid_index", -2)])
def test_what_no_port_can_have_is_refused(key: str, value: Any) -> None:
    """An MTU that is none, a port or a GID index out of range: a ConfigError that names the key."""
    with pytest.raises(mu.ConfigError, match=key):
        mu.Cluster.load(environment={}, **{key: value})


def test_verbs_without_a_registry_says_what_to_start() -> None:
    """A replica on verbs that was told of no registry is refused with what to do, before anything is made."""
    with pytest.raises(mu.MuError, match="mu registry"):
        mu.Replica.open(mu.Cluster(fabric="verbs"), replica_id=1, state_machine=mu.Counter())


def test_verbs_without_a_device_says_what_to_do() -> None:
    """A replica on verbs where there is no device is refused with how to make one."""
    cluster = mu.Cluster(fabric="verbs", registry="127.0.0.1:9", rdma_device="no-such-device")
    with pytest.raises(mu.MuError, match=r"rdma link add|libibverbs|mu fabrics"):
        mu.Replica.open(cluster, replica_id=1, state_machine=mu.Counter())
