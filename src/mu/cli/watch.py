"""`mu status`, `mu pause`, `mu resume`, `mu clean`: a running cluster on this machine, from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

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

COLUMNS: Final = ("id", "pid", "state", "follows", "applied", "undecided", "log ends", "heartbeat", "p50", "p99")
WIDEST: Final = 1000  # columns of a terminal
LESS: Final = ("heartbeat", "log ends", "undecided", "pid")  # left out of a narrow terminal, in this order


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
    rows = [_row(each, glimpse) for each, glimpse in seen.items()]
    title = escape(f"cluster {described.name} in {described.directory}")
    for count in range(len(LESS) + 1):
        left_out = LESS[:count]
        table = _table(title, [each for each in COLUMNS if each not in left_out], rows)
        if console.measure(table, options=console.options.update(max_width=WIDEST)).maximum <= console.width:
            break
    console.print(table)
    if left_out:
        say(f"\nNot shown in {console.width} columns: {', '.join(left_out)}. `mu status --json` has all of it.")


def _table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in columns:
        table.add_column(heading, justify="left" if heading == "state" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row.get(heading, "–") for heading in columns))
    return table


def _row(replica_id: int, glimpse: Glimpse | None) -> dict[str, str]:
    """What is known of a replica, by column."""
    if glimpse is None:
        return {"id": str(replica_id), "state": "[dim]not here[/dim]"}
    offsets = (glimpse.applied, glimpse.fuo, glimpse.chain_end, glimpse.heartbeat)
    latencies = (glimpse.propose_p50_ns, glimpse.propose_p99_ns)
    times = [duration(each) if each and glimpse.leading else "–" for each in latencies]
    values = (str(glimpse.pid), _state(glimpse), str(glimpse.leader or "–"), *(f"{each:,}" for each in offsets), *times)
    return dict(zip(COLUMNS, (str(replica_id), *values), strict=True))


def _state(glimpse: Glimpse) -> str:
    if not glimpse.alive:
        return "[red]dead[/red]"
    if glimpse.paused:
        return "[yellow]paused[/yellow]"
    if glimpse.leading:
        return "[bold green]leader[/bold green]"
    if not glimpse.admitted:
        return "[yellow]joining[/yellow]"
    return "[green]follower[/green]" if glimpse.eligible else "[yellow]behind[/yellow]"


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
        say(escape(f"nothing to remove in {described.directory}"))
