"""Several hosts inside one guest: each has a network device with a soft RDMA device on it, and a cable that can fail.

Host i is the network device r<i> with the address 10.99.0.<i> and the RDMA device rxe<i>. Its cable's other end,
p<i>, is a port of a bridge in the network namespace `fab`, where everything that goes wrong is made to go wrong.
The hosts share the guest's own namespace, because the soft device knows no other; policy routing sends their RDMA
packets over the bridge nevertheless. TCP between these addresses does not cross it: that stays on the loopback device.

    python -m tests.vm.hosts up --hosts 3 | down
    python -m tests.vm.hosts cut 2 | cut-one-way 1 2 | drop-acks 2 1 | delay 2 5 | loss 2 10 | heal

Invariant: what is broken stands in the kernel (ports, filter, queueing) and nowhere else, so any process may heal it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NAMESPACE = "fab"
BRIDGE = "br0"
NETWORK = "10.99.0"
MAX_HOSTS = 9  # a host for each replica of the largest cluster
GID_INDEX = 1  # RoCE v2 over IPv4; 0 is the link-local one
ROCE_PORT = 4791  # UDP
ACKS = "{ 0x11, 0x12 }"  # BTH opcodes: acknowledge (or not); the answer to an atomic
FILTER = "bridge mu"  # nftables' table
SETTINGS = {"accept_local": 1, "rp_filter": 0, "arp_ignore": 1, "arp_announce": 2}


@dataclass(frozen=True)
class Host:
    """One of the hosts: what it is called wherever it has a name."""

    number: int

    @property
    def rdma_device(self) -> str:
        """What ibv_get_device_list calls it."""
        return f"rxe{self.number}"

    @property
    def network_device(self) -> str:
        """The host's end of the cable."""
        return f"r{self.number}"

    @property
    def port(self) -> str:
        """The bridge's end of the cable."""
        return f"p{self.number}"

    @property
    def address(self) -> str:
        """Its IPv4 address, which is its GID as well."""
        return f"{NETWORK}.{self.number}"

    @property
    def mac(self) -> str:
        """Its Ethernet address."""
        return f"02:00:0a:63:00:{self.number:02x}"

    @property
    def table(self) -> str:
        """Its routing table."""
        return str(100 + self.number)


def called(*command: str, stdin: str | None = None) -> str:
    """What a program prints; its failure is raised in its own words."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}{f' <<< {stdin}' if stdin else ''}: {done.stderr.strip()}")
    return done.stdout


def ip(commands: str, namespace: str | None = None) -> None:
    """Runs commands of ip, one a line, in one process."""
    called("ip", *(["-n", namespace] if namespace else []), "-batch", "-", stdin=commands)


def nft(commands: str) -> None:
    """Changes the bridge's filter."""
    called("ip", "netns", "exec", NAMESPACE, "nft", "-f", "-", stdin=commands)


def write_settings(device: str) -> None:
    """Lets a device send to, and take packets from, addresses that are the machine's own."""
    for name, value in SETTINGS.items():
        Path(f"/proc/sys/net/ipv4/conf/{device}/{name}").write_text(str(value), encoding="ascii")


def host_commands(host: Host, others: list[Host]) -> str:
    """The commands of ip that give a host its address, and the routes by which packets leave over its cable."""
    device, table = host.network_device, host.table
    neighbours = "".join(f"neigh add {o.address} lladdr {o.mac} dev {device} nud permanent\n" for o in others)
    return (
        f"addr add {host.address}/24 dev {device} noprefixroute\n"
        f"link set {device} up\n"
        f"route add {NETWORK}.0/24 dev {device} src {host.address} table {table}\n"
        f"rule add pref 10 oif {device} lookup {table}\n"
        f"{neighbours}"
    )


def lay_cable(host: Host) -> str:
    """The command of ip that makes a host's network device and its cable."""
    return f"link add {host.network_device} address {host.mac} type veth peer name {host.port} netns {NAMESPACE}\n"


def plug_in(host: Host) -> str:
    """The command of ip that makes the cable's other end a port of the bridge."""
    return f"link set {host.port} master {BRIDGE} up\n"


def hosts() -> list[Host]:
    """The hosts that are up."""
    names = [path.name for path in Path("/sys/class/infiniband").glob("rxe*")]
    return sorted((Host(int(name.removeprefix("rxe"))) for name in names), key=lambda host: host.number)


def up(count: int) -> list[Host]:
    """Makes the hosts 1 to count."""
    if not 1 <= count <= MAX_HOSTS:
        raise ValueError(f"{count} hosts: 1 to {MAX_HOSTS} will do")
    everybody = [Host(number) for number in range(1, count + 1)]
    called("modprobe", "--all", "rdma_rxe", "veth", "bridge", "sch_netem")
    called("ip", "netns", "add", NAMESPACE)
    ip("".join(map(lay_cable, everybody)))
    ports = "".join(map(plug_in, everybody))
    ip(f"link add {BRIDGE} type bridge mcast_snooping 0\nlink set {BRIDGE} up\n{ports}", NAMESPACE)
    nft(f"table {FILTER} {{ chain forward {{ type filter hook forward priority 0; }}; }}")
    for device in ("all", *(host.network_device for host in everybody)):
        write_settings(device)
    # The rule that is always first goes to the end: the hosts' own ones come before it.
    moved = "rule add pref 100 lookup local\nrule del pref 0\n"
    ip("".join(host_commands(host, [other for other in everybody if other != host]) for host in everybody) + moved)
    links = (f"link add {host.rdma_device} type rxe netdev {host.network_device}\n" for host in everybody)
    called("rdma", "-b", "-", stdin="".join(links))
    return everybody


def down() -> None:
    """Takes all hosts away."""
    everybody = hosts()
    if not everybody:
        return
    called("rdma", "-b", "-", stdin="".join(f"link delete {host.rdma_device}\n" for host in everybody))
    devices = "".join(f"link del {host.network_device}\nrule del pref 10 lookup {host.table}\n" for host in everybody)
    ip(f"rule add pref 0 lookup local\nrule del pref 100\n{devices}netns delete {NAMESPACE}\n")


def cut(host: Host) -> None:
    """Pulls a host's cable: nothing reaches it or leaves it, and its device sees that its link is down."""
    ip(f"link set {host.port} down", NAMESPACE)


def cut_one_way(source: Host, target: Host) -> None:
    """Drops what one host sends to another; the way back stays open, and no device notices."""
    drop(source, target, "")


def cut_pair(one: Host, other: Host) -> None:
    """Drops what two hosts send to each other."""
    cut_one_way(one, other)
    cut_one_way(other, one)


def drop_acks(source: Host, target: Host) -> None:
    """Drops only acknowledgements on their way: the target's writes land, and it never hears of it."""
    drop(source, target, f"udp dport {ROCE_PORT} @th,64,8 {ACKS}")


def drop(source: Host, target: Host, match: str) -> None:
    """Drops what matches of the traffic from one host to another."""
    nft(f"add rule {FILTER} forward iifname {source.port} oifname {target.port} {match} counter drop")


def dropped() -> int:
    """How many packets have been dropped since the last heal."""
    rules = called("ip", "netns", "exec", NAMESPACE, "nft", "list", "table", *FILTER.split())
    return sum(map(int, re.findall(r"counter packets (\d+)", rules)))


def disturb(host: Host, *, delay_ms: float = 0, loss_percent: float = 0) -> None:
    """Delays or loses what is sent to a host (its own packets pass), in place of an earlier disturbance."""
    how = f"delay {delay_ms}ms loss {loss_percent}% limit 100000"
    called("tc", "-n", NAMESPACE, "qdisc", "replace", "dev", host.port, "root", "netem", *how.split())


def queueing(host: Host) -> str:
    """How the bridge queues what is sent to a host, in tc's words."""
    return called("tc", "-n", NAMESPACE, "qdisc", "show", "dev", host.port)


def heal() -> None:
    """Undoes all cuts, delays and losses."""
    nft(f"flush chain {FILTER} forward")
    for host in hosts():
        if "netem" in queueing(host):
            called("tc", "-n", NAMESPACE, "qdisc", "delete", "dev", host.port, "root")
        ip(f"link set {host.port} up", NAMESPACE)


def arguments(given: list[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.hosts", description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="make the hosts").add_argument("--hosts", type=int, default=3)
    commands.add_parser("down", help="take them away")
    commands.add_parser("heal", help="undo all that follows")
    for name, operands, what in (
        ("cut", ["host"], "pull a host's cable"),
        ("cut-one-way", ["source", "target"], "drop what one host sends to another"),
        ("drop-acks", ["source", "target"], "drop the acknowledgements that one host sends to another"),
        ("delay", ["host", "ms"], "delay what is sent to a host"),
        ("loss", ["host", "percent"], "lose some of what is sent to a host"),
    ):
        command = commands.add_parser(name, help=what)
        for operand in operands:
            command.add_argument(operand, type=float if operand in {"ms", "percent"} else int)
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Does what was asked for."""
    asked = arguments(given)
    match asked.command:
        case "up":
            up(asked.hosts)
        case "down":
            down()
        case "heal":
            heal()
        case "cut":
            cut(Host(asked.host))
        case "cut-one-way":
            cut_one_way(Host(asked.source), Host(asked.target))
        case "drop-acks":
            drop_acks(Host(asked.source), Host(asked.target))
        case "delay":
            disturb(Host(asked.host), delay_ms=asked.ms)
        case "loss":
            disturb(Host(asked.host), loss_percent=asked.percent)


if __name__ == "__main__":
    main(sys.argv[1:])
