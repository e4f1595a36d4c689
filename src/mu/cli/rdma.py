"""The options that name an RDMA port, for commands that look at one without opening a replica.

They mean what the keys of the cluster's file mean, and stand above them: so `mu fabrics -c cluster.toml` speaks of the
port that a replica with that file would use.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mu.cluster import Cluster, RdmaPort, replica_id_from
from mu.errors import ConfigError

Device = Annotated[
    str | None, typer.Option("--rdma-device", "--device", help="As `mu fabrics` names it; {id} is the replica's.")
]
Port = Annotated[int | None, typer.Option("--rdma-port", min=0, help="Of the device; 0: the first active one.")]
GidIndex = Annotated[
    int | None, typer.Option("--rdma-gid-index", min=-1, help="Which address of the port; -1: RoCE v2 over IPv4.")
]
Mtu = Annotated[int | None, typer.Option("--rdma-mtu", min=0, help="Bytes; 0: what is active.")]
Id = Annotated[
    int | None, typer.Option("--id", metavar="N", help="The replica that {id} stands for ($MU_REPLICA_ID, $SID).")
]


def port_of(cluster: str | None, replica_id: int | None, **rdma: Any) -> tuple[Cluster, RdmaPort]:
    """The cluster of a file and of options, and the port it names; of a replica, if the name depends on that.

    Args:
        cluster: the file, as `--cluster` gives it.
        replica_id: as `--id` gives it.
        rdma: the options' values, by the keys that the file has for them; None: not given.
    """
    described = Cluster.load(cluster, **rdma)
    replica_id = replica_id_from() if replica_id is None else replica_id
    if replica_id is None and "{id}" in described.rdma_device:
        raise ConfigError(
            f"rdma_device: {described.rdma_device!r} is another one for each replica. Say for which: --id N."
        )
    return described, described.rdma_port_of(described.replicas[0] if replica_id is None else replica_id)
