"""What `mu fabrics` says of this machine, and what is refused of a description of RDMA ports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mu
from mu import fabric
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
