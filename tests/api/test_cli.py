"""The command line's manners: one line for a mistake, exit code 2, no traceback; help with examples."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer

import mu
import mu.fabric
from mu import cli
from mu.cli.replica import watch as watch_replica


class FakeFabric:
    """One replica, 2, which runs."""

    def __init__(self) -> None:
        self.paused: list[tuple[int, bool]] = []
        self.cleaned: list[tuple[str, str]] = []

    def peek(self, directory: str, cluster: str, replica_id: int) -> dict[str, Any] | None:
        assert (directory, cluster) == ("/dev/shm", "mu")
        return (
            {
                "replica_id": 2,
                "pid": 77,
                "alive": True,
                "leading": True,
                "propose_p50_ns": 61,
                "propose_p99_ns": 12_345,
                "members": [1, 2, 3],
            }
            if replica_id == 2
            else None
        )

    def ask_pause(self, directory: str, cluster: str, replica_id: int, paused: bool) -> bool:
        assert (directory, cluster) == ("/dev/shm", "mu")
        self.paused.append((replica_id, paused))
        return replica_id == 2

    def clean(self, directory: str, cluster: str) -> list[str]:
        self.cleaned.append((directory, cluster))
        return ["removed the segment of replica 1, process 5 is dead"]


@pytest.fixture
def fabric(monkeypatch: pytest.MonkeyPatch) -> FakeFabric:
    fabric = FakeFabric()
    monkeypatch.setattr(mu.fabric, "_core", fabric)
    monkeypatch.setattr(mu.fabric, "places", list)
    return fabric


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command line as the shell does; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["mu", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("fabric")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pause", "9"], "There is no replica 9"),
        (["pause", "1"], "does not run on this machine"),
        (["resume", "9"], "There is no replica 9"),
        (["replica", "--id", "9"], "There is no replica 9"),
        (["replica"], "Which replica is this?"),
        (["replica", "--id", "1", "--state-machine", "mu:Nothing"], "cannot be found"),
        (["replica", "--id", "1", "--cores", "all"], "cores: 'all'"),
        (["status", "--cluster", "no-such-file"], "There is no file no-such-file"),
        (["bench", "latency", "--fabric", "smh"], "Did you mean 'shm'?"),
        (["bench", "latency", "--log-bytes", "100"], "power of two"),
        (["bench", "failover", "--fault", "explode"], "not one of kill, stop, pause"),
        (["bench", "failover", "--payload", "200000"], "200,000 bytes"),
        (["bench", "steady", "--json", "/no-such-directory/f"], "there is no directory /no-such-directory"),
        (["sim", "--json", "/dev"], "is a directory"),
        (["fabrics", "--json", "/no-such-directory/f"], "there is no directory"),
        (["redis", "bench", "gets", "--json", "/no-such-directory/f"], "there is no directory"),
        (["redis", "bench", "gets", "127.0.0.1", "1"], "No server answers at 127.0.0.1:1: Connection refused"),
        (["redis", "bench", "gets", "127.0.0.1", "1", "--clients", "2"], "No server answers"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """What the user got wrong is said once, in words, on standard error."""
    assert run(monkeypatch, *arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("mu: ")
    assert said in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["pause"],
        ["pause", "one"],
        ["no-such-command"],
        ["bench", "latency", "--count", "0"],
        ["redis", "bench", "--rounds", "0"],
        ["redis", "bench", "--key-size", "0"],
        ["demo", "--what"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """What cannot be parsed changes nothing and says how to get help."""
    assert run(monkeypatch, *arguments) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "-h" in error


def commands(group: Any, *before: str) -> Iterator[list[str]]:
    """Every sub-command there is, as it is called."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, *before, name)
        else:
            yield [*before, name]


COMMANDS = [*commands(typer.main.get_command(cli.app))]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """Each sub-command's help shows how it is called."""
    assert run(monkeypatch, *command, "--help") == 0
    text = capfd.readouterr().out
    assert "Example" in text
    assert f"mu {' '.join(command)}" in " ".join(text.split())


def test_it_says_which_version_it_is(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """`mu --version` says what the package does."""
    assert run(monkeypatch, "--version") == 0
    assert capfd.readouterr().out == f"mu {mu.__version__}\n"
    assert mu.__version__ == metadata.version("mu-consensus")


FLAGS = {
    "latency": {"--fabric", "--replicas", "--payload", "--outstanding", "--count", "--json", "--dump", "--cores"},
    "throughput": {"--fabric", "--replicas", "--payload", "--batch", "--outstanding", "--json", "--cores"},
    "failover": {"--rounds", "--fault", "--json", "--cores"},
}


@pytest.mark.parametrize("command", FLAGS)
def test_bench_has_the_flags_of_the_design(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    """The flags are a contract (DESIGN section 6)."""
    run(monkeypatch, "bench", command, "--help")
    shown = capfd.readouterr().out
    assert [flag for flag in FLAGS[command] if flag not in shown] == []


def test_pause_and_resume_ask_the_replica(
    monkeypatch: pytest.MonkeyPatch, fabric: FakeFabric, capfd: pytest.CaptureFixture[str]
) -> None:
    """`mu pause 2` and `mu resume 2` reach replica 2, and say what they did."""
    assert run(monkeypatch, "pause", "2") == 0
    assert run(monkeypatch, "resume", "2") == 0
    assert fabric.paused == [(2, True), (2, False)]
    assert "replica 2 is paused" in capfd.readouterr().out


@pytest.mark.usefixtures("fabric")
def test_status_shows_who_leads(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The table has every member, those that do not run here too, and the leader's latencies."""
    monkeypatch.setenv("COLUMNS", "120")
    assert run(monkeypatch, "status") == 0
    text = capfd.readouterr().out
    assert "leader" in text
    assert text.count("not here") == 2
    assert "61 ns" in text
    assert "12.3 µs" in text


BUSY = {
    "replica_id": 1,
    "pid": 4_194_304,
    "alive": True,
    "leader": 1,
    "admitted": True,
    "heartbeat": 123_456_789,
    "applied": 1_234_567_890_123,
    "fuo": 1_234_567_890_123,
    "chain_end": 1_234_567_890_187,
    "members": (1, 2, 3),
}
SEEN = [
    {**BUSY, "leading": True, "propose_p50_ns": 123_456, "propose_p99_ns": 9_123_456_789},
    {**BUSY, "replica_id": 2},
    {**BUSY, "replica_id": 3, "eligible": True},
]


@pytest.mark.parametrize(("width", "left_out"), [(80, "pid"), (100, "heartbeat"), (160, "nothing")])
def test_status_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], width: int, left_out: str
) -> None:
    """What matters is shown whole: columns that matter less are left out, and said to be."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(mu.fabric, "peek", lambda _, each: mu.fabric.Glimpse(**SEEN[each - 1]))
    assert run(monkeypatch, "status") == 0
    table, _, told = capfd.readouterr().out.partition("\n\n")
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in table
    for each in ("leader", "behind", "1,234,567,890,123", "123.5 µs", "9,123.5 ms"):
        assert each in table
    assert (f"{left_out}" in told) == (left_out != "nothing")


@pytest.mark.parametrize("command", ["status", "clean", "fabrics"])
def test_a_name_with_brackets_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, tmp_path: Path
) -> None:
    """What looks like a style is text if it is somebody's."""
    monkeypatch.setenv("MU_DIRECTORY", str(tmp_path / "[blue]"))
    monkeypatch.setenv("COLUMNS", "1000")
    run(monkeypatch, command)
    assert "[blue]" in capfd.readouterr().out


def test_a_failure_with_brackets_is_shown_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """`mu replica` says why a replica has stopped, whatever the text holds."""
    stopped = mu.Status(replica_id=1, role="follower", failure="KeyError: '[/bold] [red]' has no end.")
    with pytest.raises(typer.Exit):
        watch_replica(Mock(spec=mu.Replica, status=lambda: stopped), threading.Event())
    assert "'[/bold] [red]' has no end." in capfd.readouterr().err


def test_help_names_the_default_of_a_device(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Brackets in an option's help are text, too."""
    monkeypatch.setenv("COLUMNS", "1000")
    run(monkeypatch, "bench", "latency", "--help")
    assert "[the first active one]" in capfd.readouterr().out


@pytest.mark.usefixtures("fabric")
def test_status_as_json(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With --json standard output is JSON and nothing else."""
    import json

    assert run(monkeypatch, "status", "--json") == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["cluster"] == "mu"
    assert [each["pid"] for each in shown["replicas"]] == [77]
    assert [each["propose_p99_ns"] for each in shown["replicas"]] == [12_345]


def test_clean_is_of_one_cluster_unless_told(monkeypatch: pytest.MonkeyPatch, fabric: FakeFabric) -> None:
    """`mu clean` removes what this cluster left; --all what any did."""
    run(monkeypatch, "clean")
    run(monkeypatch, "clean", "--all")
    assert fabric.cleaned == [("/dev/shm", "mu"), ("/dev/shm", "")]


@pytest.mark.usefixtures("fabric")
def test_clean_all_finds_private_directories(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`mu clean` leaves what a killed LocalCluster left, and `mu clean --all` removes it and says so."""
    monkeypatch.setattr(mu.fabric, "places", lambda: [tmp_path])
    left = tmp_path / "mu-local-1"
    left.mkdir()
    (left / "owner").touch()
    run(monkeypatch, "clean")
    assert left.exists()
    run(monkeypatch, "clean", "--all")
    assert not left.exists()
    assert f"removed {left}" in capfd.readouterr().out


def test_a_cluster_file_is_used(
    monkeypatch: pytest.MonkeyPatch, fabric: FakeFabric, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--cluster says which ids there are."""
    (tmp_path / "c.toml").write_text("replicas = [1, 2, 7]")
    assert run(monkeypatch, "pause", "3", "--cluster", str(tmp_path / "c.toml")) == 2
    assert "1, 2, 7" in capfd.readouterr().err
    assert fabric.paused == []


@pytest.mark.parametrize("command", [["status"], ["pause", "3"], ["resume", "3"]])
def test_another_users_replica_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    """A segment that this user may not open is named, not taken for a replica that does not run."""
    (tmp_path / "mu.mu.3").touch()
    monkeypatch.setenv("MU_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("mu.fabric.os.access", lambda *_, **__: False)  # whoever runs this test may be root
    assert run(monkeypatch, *command) == 2
    assert "is another user's" in capfd.readouterr().err
