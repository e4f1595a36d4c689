"""The guest's hosts: packets take the bridge, a broken cable breaks what it should and no more, and heals.

The witness is ibv_rc_pingpong, a program of others'. It repeats a lost packet for about half a second seven times,
so a cut is seen as a failure that takes seconds. None of its results depends on time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.vm import hosts
from tests.vm.hosts import Host

ONE, TWO, THREE = Host(1), Host(2), Host(3)
ATTEMPTS = 200  # to reach a server that is just being started; each takes a few ms
LIMIT_S = 60  # for a hang


@pytest.fixture(autouse=True)
def healed() -> Iterator[None]:
    """Every test starts and ends with healthy hosts."""
    hosts.heal()
    yield
    hosts.heal()


@contextmanager
def serving(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A server that is gone afterwards."""
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            yield server
        finally:
            server.kill()


def pingpong(source: Host, target: Host, count: int = 20) -> bool:
    """Whether messages from one host to another, and back, get through."""
    program = ["ibv_rc_pingpong", "-g", str(hosts.GID_INDEX), "-n", str(count), "-s", "64"]
    with serving([*program, "-d", target.rdma_device]):
        for _ in range(ATTEMPTS):
            command = [*program, "-d", source.rdma_device, "localhost"]
            client = subprocess.run(command, text=True, capture_output=True, timeout=LIMIT_S)
            if "connect to" not in client.stderr:
                return client.returncode == 0
    raise TimeoutError(f"no server after {ATTEMPTS} attempts: {client.stderr}")


def received(host: Host) -> int:
    """How many packets have come to a host over its cable."""
    return int(Path(f"/sys/class/net/{host.network_device}/statistics/rx_packets").read_text(encoding="ascii"))


def test_there_are_three_hosts() -> None:
    """The guest starts a suite with three hosts, each with an active device and its address as GID."""
    assert hosts.hosts() == [ONE, TWO, THREE]
    for host in hosts.hosts():
        port = Path(f"/sys/class/infiniband/{host.rdma_device}/ports/1")
        assert "ACTIVE" in (port / "state").read_text(encoding="ascii")
        gid = (port / f"gids/{hosts.GID_INDEX}").read_text(encoding="ascii").strip()
        assert gid.endswith(f":ffff:0a63:{host.number:04x}")
        assert "RoCE v2" in (port / f"gid_attrs/types/{hosts.GID_INDEX}").read_text(encoding="ascii")


def test_messages_cross_the_bridge() -> None:
    """Two hosts reach each other, and their packets come over the cables and not over the loopback device."""
    before = received(ONE), received(TWO), received(THREE)
    assert pingpong(ONE, TWO, count=50)
    assert received(ONE) >= before[0] + 50
    assert received(TWO) >= before[1] + 50
    assert received(THREE) < before[2] + 50


def test_a_cut_host_is_alone() -> None:
    """A pulled cable separates its host from the others, which still reach each other; plugged in it works again."""
    hosts.cut(TWO)
    assert not pingpong(ONE, TWO)
    assert pingpong(ONE, THREE)
    hosts.heal()
    assert pingpong(ONE, TWO)


@pytest.mark.parametrize(("source", "target"), [(ONE, TWO), (TWO, ONE)])
def test_a_cut_of_one_way(source: Host, target: Host) -> None:
    """A cut of one direction stops two hosts, drops in that direction only, and nobody else notices."""
    hosts.cut_one_way(source, target)
    before = received(source), received(target)
    assert not pingpong(ONE, TWO)
    assert hosts.dropped() > 0
    assert received(target) == before[1]
    assert received(source) >= before[0]
    assert pingpong(THREE, ONE)
    assert pingpong(THREE, TWO)


def test_dropped_acknowledgements() -> None:
    """Without acknowledgements a host's messages arrive all the same, and it gives up nevertheless."""
    hosts.drop_acks(TWO, ONE)
    before = received(TWO)
    assert not pingpong(ONE, TWO)
    assert hosts.dropped() > 0
    assert received(TWO) > before


def test_lost_packets_are_repeated() -> None:
    """Over a lossy cable messages get through, by repetition."""
    hosts.disturb(TWO, loss_percent=5)
    assert pingpong(ONE, TWO)


def test_delayed_packets_arrive() -> None:
    """Over a slow cable messages get through; healing takes the delay away."""
    hosts.disturb(TWO, delay_ms=20)
    assert "delay 20ms" in hosts.queueing(TWO)
    assert pingpong(ONE, TWO, count=5)
    hosts.heal()
    assert "netem" not in hosts.queueing(TWO)


def test_the_kernel_finds_words_whole() -> None:
    """The processor does not offer the kernel copies by bytes, which would tear aligned words."""
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    assert "rep_good" in flags
    assert not {"erms", "fsrm"} & set(flags)


def test_hosts_go_and_come() -> None:
    """Hosts can be taken away without a trace, and made again in another number."""
    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    hosts.down()
    assert hosts.hosts() == []
    try:
        hosts.main(["up", "--hosts", "5"])
        assert pingpong(Host(5), Host(4))
        hosts.main(["cut-one-way", "4", "5"])
        assert not pingpong(Host(5), Host(4))
    finally:
        hosts.down()
        hosts.up(3)
    assert subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout == rules
