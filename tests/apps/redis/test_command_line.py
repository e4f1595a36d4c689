"""`mu redis`: one server as the artifact starts it, and the bench's contract."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mu import fabric
from mu.apps.redis import LocalRedis
from mu.apps.redis.local import free_ports
from mu.cli.redis import idle_commit_us
from mu.errors import ConfigError
from tests.support.processes import files_of

MU = str(Path(sys.executable).with_name("mu"))


def test_one_server_as_the_artifact_starts_it() -> None:
    """SID and IDS say who a server is; it prints its pid and its role, accepts writes, and Ctrl-C ends it."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="mu-redis-", dir="/dev/shm") as directory:
        environment = {**os.environ, "SID": "1", "IDS": "1", "MU_DIRECTORY": directory, "MU_NAME": "artifact"}
        process = subprocess.Popen(
            [MU, "redis", "server", "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=directory,
        )
        assert process.stdout is not None
        said = ""
        while "leads" not in said or "pid" not in said:
            said += process.stdout.readline()
        pid = int(re.findall(r"pid\s+(\d+)", said)[0])
        client: Any = redis.Redis(port=port)
        deadline = time.monotonic() + 20
        while client.info("replication")["mu_accepts_writes"] != 1:
            assert time.monotonic() < deadline
        assert client.set("a", 1)
        assert client.info("server")["process_id"] == pid
        client.close()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(20) == 0
        assert [*Path(directory).iterdir()] == []


@contextlib.contextmanager
def running(*words: str, place: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command of `mu redis` that runs until Ctrl-C; told to end if the test has failed before that."""
    with subprocess.Popen([MU, "redis", *words], stdout=subprocess.PIPE, text=True, cwd=place) as process:
        try:
            yield process
        finally:
            process.terminate()


def said_until(process: subprocess.Popen[str], *wanted: str) -> str:
    """What a command prints until all of this has been in it."""
    assert process.stdout is not None
    said = ""
    while not all(each in said for each in wanted):
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def test_one_server_as_a_file_describes_it(tmp_path: Path) -> None:
    """--cluster and --id say which server it is; kill -USR1 has it write its latencies to dump-<id>.txt."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="mu-redis-", dir="/dev/shm") as directory:
        described = tmp_path / "cluster.toml"
        described.write_text(f'name = "described"\nsecret = "s"\nreplicas = [1]\ndirectory = "{directory}"\n')
        words = ["server", "--id", "1", "--cluster", str(described), "--port", str(port), "--", "--maxmemory", "50mb"]
        with running(*words, place=tmp_path) as process:
            pid = int(re.findall(r"pid\s+(\d+)", said_until(process, "leads", "pid"))[0])
            client: Any = redis.Redis(port=port)
            while client.info("replication")["mu_accepts_writes"] != 1:
                pass
            assert client.set("a", 1)
            assert client.config_get("maxmemory") == {"maxmemory": str(50 << 20)}
            client.close()
            os.kill(pid, signal.SIGUSR1)
            while not (tmp_path / "dump-1.txt").exists() or not (tmp_path / "dump-1.txt").read_text():
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


def test_what_a_killed_command_left_is_cleaned_up(tmp_path: Path) -> None:
    """After SIGKILL of `mu redis up` its server ends by itself, and `mu clean --all` removes both directories."""
    command = [MU, "redis", "up", "-n", "1", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as process:
        said = said_until(process, "accepts writes", "MU_DIRECTORY")
        directories = [Path(re.findall(r"MU_DIRECTORY=(\S+)", said)[0]), *tmp_path.iterdir()]
        pid = int(re.findall(r"pid\s+(\d+)", said)[0])
        server = os.pidfd_open(pid)
        held = files_of(pid)
        fabric.clean_private([directories[0].parent, tmp_path])
        there = [each.exists() for each in directories]
        process.kill()
    assert {each / "owner" for each in directories} <= held
    assert there == [True, True]
    assert select.select([server], [], [], 30)[0]
    os.close(server)
    fabric.clean_private([directories[0].parent, tmp_path])
    assert [each.exists() for each in directories] == [False, False]


def test_three_servers_by_one_command() -> None:
    """`mu redis up` starts them, says where they are and when one ends by itself, and Ctrl-C leaves nothing."""
    with running("up", "-n", "3", "--port", "0", "--follower-reads", "stale", "--idle-commit", "off") as process:
        said = said_until(process, "accepts writes")
        ports = [int(each) for each in re.findall(r"listens on\s+127\.0\.0\.1:(\d+)", said)]
        pids = [int(each) for each in re.findall(r"pid\s+(\d+)", said)]
        leader: Any = redis.Redis(port=ports[0])
        follower: Any = redis.Redis(port=ports[1])
        leader.set("a", 1)
        while follower.get("a") is None:
            leader.set("b", 1)  # with the idle commit off, followers learn of a command with the next one
        leader.close()
        follower.close()
        os.kill(pids[2], signal.SIGKILL)
        said_until(process, "has ended by itself")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not any(Path(f"/proc/{each}").exists() for each in pids)


def test_latencies_are_written_where_one_stands(tmp_path: Path) -> None:
    """`kill -USR1` of a leader that `mu redis up` runs writes dump-<id>.txt where that was called, and says so."""
    place = tmp_path / "where one stands"
    place.mkdir()
    with running("up", "-n", "1", "--port", "0", place=place) as process:
        said = said_until(process, "accepts writes")
        client: Any = redis.Redis(port=int(re.findall(r"listens on\s+127\.0\.0\.1:(\d+)", said)[0]))
        client.set("a", 1)
        client.close()
        os.kill(int(re.findall(r"pid\s+(\d+)", said)[0]), signal.SIGUSR1)
        said_until(process, f"latencies to {place / 'dump-1.txt'}")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert all(int(each) > 0 for each in (place / "dump-1.txt").read_text().split())
    assert [each.name for each in place.iterdir()] == ["dump-1.txt"]


def test_the_idle_commit_is_off_or_a_time() -> None:
    """--idle-commit takes off, or microseconds, and nothing else."""
    assert (idle_commit_us(None), idle_commit_us("off"), idle_commit_us("250")) == (None, 0, 250)
    for wrong in ("0", "-1", "soon", str(2**31)):
        with pytest.raises(ConfigError):
            idle_commit_us(wrong)


def written(fresh: Callable[..., LocalRedis]) -> tuple[LocalRedis, int]:
    """Servers whose leader has decided a hundred batches, and its id."""
    servers = fresh()
    leader = servers.settle()
    client = servers.connect(leader)
    for i in range(100):
        client.set("a", i)
    return servers, leader


def test_a_leader_dumps_its_latencies(fresh: Callable[..., LocalRedis]) -> None:
    """`kill -USR1` has a leader write what each batch took, one a line."""
    servers, leader = written(fresh)
    servers.server(leader).signal(signal.SIGUSR1)
    dump = servers.dump_file(leader)
    servers.wait(lambda: f"latencies to {dump}" in servers.log(leader), 10, "Nothing was written")
    lines = dump.read_text().split()
    assert len(lines) >= 100
    assert all(int(each) > 0 for each in lines)


def test_info_tells_how_long_replication_takes(fresh: Callable[..., LocalRedis]) -> None:
    """Of a leader's last batches: the median and the 99th percentile; of one that never led: nothing."""
    servers, leader = written(fresh)
    took = {each: servers.info(each) for each in servers.running}
    assert 0 < took[leader]["mu_replication_p50_ns"] <= took[leader]["mu_replication_p99_ns"]
    never_led = [each for each in servers.running if f"replica {each} leads" not in servers.log(each)]
    assert [took[each]["mu_replication_p99_ns"] for each in never_led] == [0] * len(never_led)


def test_the_bench_keeps_its_contract(tmp_path: Path) -> None:
    """With --baseline and --json the ratio of one alternating run is told, and each latency is in a file."""
    command = [MU, "redis", "bench", "mixed", "--count", "400", "--rounds", "2", "--baseline", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"].keys() == {"p50", "per_s"}
    assert found["replicated"].keys() == found["baseline"].keys() >= {"p50_us", "p99_us", "per_s"}
    assert len((tmp_path / "redis-cli.txt").read_text().split()) == 400
    assert (tmp_path / "redis-cli.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    "words",
    [
        ["puts", "--clients", "2", "--pipeline", "4", "--baseline"],
        ["puts", "--wait"],
        ["puts", "--clients", "2", "--baseline-replicas", "1"],
    ],
    ids=" ".join,
)
def test_the_bench_tells_what_it_measured_and_nothing_else(tmp_path: Path, words: list[str]) -> None:
    """Many clients, and WAIT, give the same contract: quantiles and rates of both servers, and their ratio."""
    command = [MU, "redis", "bench", *words, "--count", "400", "--rounds", "2", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"].keys() == {"p50", "per_s"}
    assert all(value > 0 for value in [*found["replicated"].values(), *found["baseline"].values()])


def test_the_bench_asks_a_server_that_runs(fresh: Callable[..., LocalRedis], tmp_path: Path) -> None:
    """With HOST and PORT it measures that server, and starts none."""
    address = (servers := fresh()).addresses[servers.settle()]
    command = [MU, "redis", "bench", "gets", address.host, str(address.port), "--count", "200", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["replicated"]["p50_us"] > 0


def test_a_port_that_the_others_do_not_know_is_refused(tmp_path: Path) -> None:
    """--port of one of three servers, without --peers, starts nothing and says what is missing."""
    environment = {**os.environ, "SID": "1", "IDS": "1,2,3"}
    command = [MU, "redis", "server", "--port", "7001"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode != 0
    assert "--peers" in done.stderr


def test_a_fifo_pauses_a_server(fresh: Callable[..., LocalRedis], tmp_path: Path) -> None:
    """The artifact's fifo: the letter p has a leader give up, c lets it lead again; what is neither is passed over."""
    servers = fresh(fifo=str(tmp_path / "{id}.fifo"))
    leader = servers.settle()
    fifo = tmp_path / f"{leader}.fifo"
    fifo.write_text("xp")
    servers.wait(lambda: servers.leader() != leader, 30, "It went on leading")
    fifo.write_text("c\n")
    servers.wait(lambda: servers.leader() == leader, 30, "It did not lead again")


def test_the_bench_measures_fail_overs(tmp_path: Path) -> None:
    """`mu redis bench failover` kills leaders, and tells how long a client was without one."""
    command = [MU, "redis", "bench", "failover", "--rounds", "2", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["replicated"]["p50_us"] > 0
    assert found["parts"]["until_it_leads_us"] > 0
    assert len((tmp_path / "redis-cli.txt").read_text().split()) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["mixed", "--clients", "2"],
        ["puts", "--pipeline", "2", "--wait"],
        ["gets", "--clients", "2", "--key-size", "8"],
        ["failover", "127.0.0.1", "6379"],
        ["failover", "--baseline"],
        ["failover", "--baseline-replicas", "2"],
        ["puts", "--wait", "--baseline-replicas", "2"],
    ],
    ids=" ".join,
)
def test_the_bench_refuses_what_it_would_not_measure(words: list[str]) -> None:
    """Options that one kind of load cannot heed are refused, not ignored."""
    done = subprocess.run([MU, "redis", "bench", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert any(part in done.stderr for part in ("redis-benchmark's", "failover starts", "take one."))


def test_a_server_s_port_is_given_to_no_outgoing_connection() -> None:
    """Between a server's end and its next start nobody else is given its port by the kernel."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert max(ports) < first_given


def test_servers_with_a_password_are_asked_with_it() -> None:
    """`mu redis up` with --requirepass finds out who leads, and ends in order."""
    with running("up", "-n", "1", "--port", "0", "--", "--requirepass", "pass word") as process:
        said_until(process, "accepts writes")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
