"""`mu fabrics` and `mu registry`: what this machine can do, and where its replicas meet those of others."""

from __future__ import annotations

import signal
import threading
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mu import fabric
from mu.cli import rdma
from mu.cli.show import JsonFile, console, say, write_json
from mu.cli.watch import ClusterFile
from mu.errors import ConfigError
from mu.registry import PORT, Registry


def fabrics(
    json_file: JsonFile = None,
    cluster: ClusterFile = None,
    replica_id: rdma.Id = None,
    rdma_device: rdma.Device = None,
    rdma_port: rdma.Port = None,
    rdma_gid_index: rdma.GidIndex = None,
    rdma_mtu: rdma.Mtu = None,
) -> None:
    """What this machine can do, and if not, why not and what to install or run.

    With a cluster's file, or options, it is whether that port would do.

    Examples: mu fabrics; mu fabrics --json -; mu fabrics -c cluster.toml; mu fabrics --rdma-device mlx5_0 --rdma-port 2
    """
    options = {"rdma_port": rdma_port, "rdma_gid_index": rdma_gid_index, "rdma_mtu": rdma_mtu}
    described, port = rdma.port_of(cluster, replica_id, rdma_device=rdma_device, **options)
    found = fabric.fabrics(described.directory, port)
    if json_file is not None:
        write_json({"fabrics": [each.as_json() for each in found]}, json_file)
    if json_file == "-":
        return
    table = Table("fabric", "usable", "between", "what was found")
    for each in found:
        table.add_row(each.name, "yes" if each.usable else "no", each.between, escape(each.problem or each.detail))
    console.print(table)
    for each in found:
        if each.ports:
            console.print(_ports(each.ports))


def _ports(ports: tuple[dict[str, Any], ...]) -> Table:
    table = Table("device", "port", "state", "GID index", "GID", "MTU", "kind")
    for port in ports:
        kind = "soft" if port["soft"] else "hardware"
        row = (port["device"], port["port"], port["state"], port["gid_index"], port["gid"], port["active_mtu"], kind)
        table.add_row(*(escape(str(each)) for each in row))
    return table


def registry(
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0: all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: any that is free.")] = PORT,
) -> None:
    """Where replicas on several hosts find each other: runs until Ctrl-C. A memcached does as well.

    Examples: mu registry; mu registry --host 10.0.0.1 --port 11211
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = Registry(host, port)
    except OSError as error:
        raise ConfigError(f"The registry cannot listen at {host}:{port}: {error.strerror or error}.") from None
    with server:
        say(f"the registry listens at {server.address}; Ctrl-C ends it")
        ended.wait()
