"""The guest's hosts: packets take the bridge, a broken cable breaks what it should and no more, and heals.

The witness is probe.c, which writes once from one device into the memory behind another and says what it heard.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm import hosts
from tests.vm.hosts import Host
from tests.vm.initrd import compile_c

ONE, TWO, THREE = Host(1), Host(2), Host(3)
GOOD = "status 0 applied 1"
LOST = "status 12 applied 0"  # IBV_WC_RETRY_EXC_ERR: nobody acknowledged
UNHEARD = "status 12 applied 1"  # the same, but the memory was changed
LIMIT_S = 60  # for a hang

Write = Callable[[Host, Host], str]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """A write from one host into another one's memory, and what came of it."""
    probe = tmp_path_factory.mktemp("probe") / "probe"
    compile_c(Path(__file__).with_name("probe.c"), probe, "-libverbs")

    def once(source: Host, target: Host) -> str:
        command = [str(probe), source.rdma_device, target.rdma_device]
        done = subprocess.run(command, text=True, capture_output=True, timeout=LIMIT_S)
        return done.stdout.strip() or done.stderr

    return once


@pytest.fixture(autouse=True)
def healed() -> Iterator[None]:
    """Every test starts and ends with healthy hosts."""
    hosts.heal()
    yield
    hosts.heal()


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


def test_writes_cross_the_bridge(write: Write) -> None:
    """A write and its acknowledgement come over the two hosts' cables, and not over the loopback device."""
    before = received(ONE), received(TWO)
    assert write(ONE, TWO) == GOOD
    assert received(ONE) > before[0]
    assert received(TWO) > before[1]


def test_a_cut_host_is_alone(write: Write) -> None:
    """A pulled cable separates its host from the others, which still reach each other; plugged in it works again."""
    hosts.cut(TWO)
    assert write(ONE, TWO) == LOST
    assert write(ONE, THREE) == GOOD
    hosts.heal()
    assert write(ONE, TWO) == GOOD
    assert write(TWO, ONE) == GOOD


def test_a_cut_of_one_way(write: Write) -> None:
    """With one direction cut, writes that way are lost, writes the other way land unheard; others notice nothing."""
    hosts.cut_one_way(ONE, TWO)
    assert write(ONE, TWO) == LOST
    assert write(TWO, ONE) == UNHEARD
    assert hosts.dropped() > 0
    assert write(THREE, TWO) == GOOD
    assert write(ONE, THREE) == GOOD
    hosts.heal()
    assert write(ONE, TWO) == GOOD


def test_a_cut_pair(write: Write) -> None:
    """Two hosts that are cut off from each other lose both ways, and a third one reaches both."""
    hosts.cut_pair(ONE, TWO)
    assert [write(ONE, TWO), write(TWO, ONE)] == [LOST, LOST]
    assert [write(THREE, ONE), write(TWO, THREE)] == [GOOD, GOOD]


def test_dropped_acknowledgements(write: Write) -> None:
    """Without acknowledgements a write is applied, and its writer hears that it failed; the way back is untouched."""
    hosts.drop_acks(TWO, ONE)
    assert write(ONE, TWO) == UNHEARD
    assert write(TWO, ONE) == GOOD


def test_lost_packets(write: Write) -> None:
    """What is sent to a host whose cable loses everything is lost, and what it sends is not."""
    hosts.disturb(TWO, loss_percent=100)
    assert write(ONE, TWO) == LOST
    assert write(TWO, ONE) == UNHEARD
    hosts.disturb(TWO, loss_percent=5)
    assert "loss 5%" in hosts.queueing(TWO)


def test_delayed_packets(write: Write) -> None:
    """A delay beyond the writer's patience makes it give up; a short one does no harm, and healing takes it away."""
    hosts.disturb(TWO, delay_ms=1000)
    assert write(ONE, TWO) == LOST
    hosts.disturb(TWO, delay_ms=2)
    assert write(ONE, TWO) == GOOD
    hosts.heal()
    assert "netem" not in hosts.queueing(TWO)


def test_the_kernel_finds_words_whole() -> None:
    """The processor does not offer the kernel copies by bytes, which would tear aligned words."""
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    assert "rep_good" in flags
    assert not {"erms", "fsrm"} & set(flags)


def test_hosts_go_and_come(write: Write) -> None:
    """Hosts can be taken away without a trace, and made again in another number."""
    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    hosts.down()
    assert hosts.hosts() == []
    try:
        hosts.main(["up", "--hosts", "5"])
        assert write(Host(5), Host(4)) == GOOD
        hosts.main(["cut-one-way", "5", "4"])
        assert write(Host(5), Host(4)) == LOST
    finally:
        hosts.down()
        hosts.up(3)
    assert subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout == rules
