"""`mu bench` and `mu demo` with real replicas: small, for what they report, never for how fast."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mu import bench, cli
from mu.cli import demo

QUANTILES = {"p50", "p90", "p99", "p999", "max"}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command line as the shell does; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["mu", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_latency_reports_native_python_and_floor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The JSON holds what DESIGN section 6 says, and the dump one latency a line."""
    monkeypatch.chdir(tmp_path)
    code = run(monkeypatch, "bench", "latency", "--payload", "32", "--count", "500", "--dump", "--json", "r.json")
    assert code == 0
    result: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    fixed = {key: result[key] for key in ("fabric", "replicas", "payload", "outstanding", "count")}
    assert fixed == {"fabric": "shm", "replicas": 3, "payload": 32, "outstanding": 1, "count": 500}
    for key in ("propose_ns", "python_ns", "floor_ns"):
        assert set(result[key]) == QUANTILES
        assert 0 < result[key]["p50"] <= result[key]["max"]
    lines = (tmp_path / "dump-st-32-1.txt").read_text().splitlines()
    assert len(lines) == 500
    assert all(int(line) > 0 for line in lines)


def test_throughput_reports_both_rates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The JSON holds what DESIGN section 6 says, and the artifact's line is printed."""
    file = tmp_path / "r.json"
    assert run(monkeypatch, "bench", "throughput", "--count", "10000", "--laps", "2", "--json", str(file)) == 0
    result: dict[str, Any] = json.loads(file.read_text())
    assert result["commands"] == 10_000
    assert min(result["seconds"], result["native_per_us"], result["python_per_us"]) > 0
    assert result["laps"]["laps"] > 1
    nanoseconds = round(result["seconds"] * 1e9)
    assert f"Replicated 10000 commands of size 64 bytes in {nanoseconds} ns" in capfd.readouterr().out


@pytest.mark.parametrize("fault", bench.FAULTS)
def test_failover_reports_times_and_losses(fault: str) -> None:
    """Each fault has a successor, in some time, and loses nothing."""
    result = bench.measure_failover(rounds=2, fault=fault)
    assert (result["rounds"], result["lost"]) == (2, 0)
    assert 0 < result["total_us"]["p50"] <= result["total_us"]["p99"] <= result["total_us"]["max"]
    assert result["detect_us"]["max"] <= result["total_us"]["max"]
    assert result["acknowledged"] > 0


def test_the_demo_holds(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole story comes to its good end, with exit code 0."""
    assert run(monkeypatch, "demo", "--commands", "2000") == 0
    told = capfd.readouterr().out
    assert told.count("✓") == 6
    assert "All of it held" in told


def test_the_demo_notices_a_loss(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Positive control: were a command lost, the demo would say in which part, and exit with 1."""
    monkeypatch.setattr(demo, "lost_commands", lambda *_: ["number 7 is lost"])
    assert run(monkeypatch, "demo", "--commands", "500") == 1
    told = capfd.readouterr().out
    assert "part 4 failed" in told
    assert "number 7 is lost" in told
