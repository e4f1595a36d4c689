"""`mu status`, `mu pause`, `mu resume`, `mu clean`: a running cluster on this machine, from outside."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mu import fabric
from mu.cli.show import console, duration, say, write_json
from mu.cluster import Cluster
from mu.fabric import Glimpse

ClusterFile = Annotated[
    str | None, typer.Option("--cluster", "-c", metavar="FILE", help="The cluster's TOML file ($MU_CLUSTER).")
]
Id = Annotated[int, typer.Argument(metavar="ID", help="The replica's id.")]


def status(
    cluster: ClusterFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows the replicas that run on this machine; of a leader also how long its recent proposals took.

    Examples: mu status -c cluster.toml; mu status --json
    """
    described = Cluster.load(cluster)
    seen = {each: fabric.peek(described, each) for each in described.replicas}
    if as_json:
        replicas = [dataclasses.asdict(glimpse) for glimpse in seen.values() if glimpse is not None]
        write_json({"cluster": described.name, "replicas": replicas}, "-")
        return
    table = Table(title=f"cluster {described.name} in {described.directory}", title_justify="left")
    for heading in (
        "replica",
        "pid",
        "state",
        "follows",
        "applied",
        "undecided from",
        "log ends",
        "heartbeat",
        "p50",
        "p99",
    ):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for replica_id, glimpse in seen.items():
        table.add_row(str(replica_id), *_row(glimpse))
    console.print(table)


def _row(glimpse: Glimpse | None) -> list[str]:
    if glimpse is None:
        return ["–", "[dim]not here[/dim]", *["–"] * 7]
    offsets = (glimpse.applied, glimpse.fuo, glimpse.chain_end, glimpse.heartbeat)
    latencies = (glimpse.propose_p50_ns, glimpse.propose_p99_ns)
    times = [duration(each) if each and glimpse.leading else "–" for each in latencies]
    return [str(glimpse.pid), _state(glimpse), str(glimpse.leader or "–"), *(f"{each:,}" for each in offsets), *times]


def _state(glimpse: Glimpse) -> str:
    if not glimpse.alive:
        return "[red]dead[/red]"
    if glimpse.paused:
        return "[yellow]paused[/yellow]"
    if glimpse.leading:
        return "[bold green]leader[/bold green]"
    if not glimpse.admitted:
        return "[yellow]joining[/yellow]"
    return "[green]follower[/green]" if glimpse.eligible else "[green]follower[/green], behind"


def pause(replica_id: Id, cluster: ClusterFile = None) -> None:
    """Makes a live replica stop its heartbeat: if it leads, another takes over.

    Example: mu pause 1 -c cluster.toml
    """
    fabric.pause(Cluster.load(cluster), replica_id)
    say(f"replica {replica_id} is paused; `mu resume {replica_id}` lets it go on")


def resume(replica_id: Id, cluster: ClusterFile = None) -> None:
    """Lets a paused replica go on, and lead again.

    Example: mu resume 1 -c cluster.toml
    """
    fabric.resume(Cluster.load(cluster), replica_id)
    say(f"replica {replica_id} goes on")


def clean(
    cluster: ClusterFile = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all clusters, and of tests and `mu redis`.")] = False,
) -> None:
    """Removes what crashed replicas left in shared memory. Live ones are left alone.

    With --all also the directories, in shared memory and among the temporary ones, that a LocalCluster, `mu redis` or
    a bench left when it was killed.

    Examples: mu clean -c cluster.toml; mu clean --all
    """
    described = Cluster.load(cluster)
    removed = fabric.clean(described.directory, "" if everything else described.name)
    if everything:
        removed += fabric.clean_private()
    for line in removed:
        say(escape(line))
    if not removed:
        say(f"nothing to remove in {described.directory}")
