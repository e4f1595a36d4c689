"""`mu replica`: one replica in this terminal, until Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Annotated

import typer
from rich.logging import RichHandler
from rich.markup import escape

from mu.cli.show import errors, say
from mu.cli.watch import ClusterFile
from mu.cluster import Cluster
from mu.replica import Replica

LOOK_EVERY = 0.1  # seconds between two looks at the role


def replica(
    cluster: ClusterFile = None,
    replica_id: Annotated[
        int | None, typer.Option("--id", metavar="N", help="Which replica this is ($MU_REPLICA_ID, $SID).")
    ] = None,
    state_machine: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="What commands are applied to.")
    ] = "mu:Counter",
    cores: Annotated[str | None, typer.Option(help="auto, shared or dedicated.")] = None,
    fifo: Annotated[
        str | None, typer.Option(metavar="PATH", help="A pipe to make: p pauses, c continues; {id} is the id.")
    ] = None,
) -> None:
    """Runs one replica until Ctrl-C, and shows when its role changes.

    Examples, each in a terminal of its own: mu replica --id 1; mu replica --id 2; mu replica --id 3
    """
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
    sys.path.insert(0, "")  # a state machine may be in a module here
    described = Cluster.load(cluster, cores=cores, fifo=fifo)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Replica.open(described, replica_id=replica_id, state_machine=state_machine) as running:
        say(
            f"replica [bold]{running.replica_id}[/bold] of cluster [bold]{described.name}[/bold]"
            f" {list(described.replicas)}, cores {described.chosen_cores}; Ctrl-C ends it"
        )
        watch(running, ended)


def watch(running: Replica, ended: threading.Event) -> None:
    """Shows what a replica is, until it is to end, or stops by itself."""
    shown = None
    while not ended.wait(LOOK_EVERY):
        status = running.status()
        if status.failure:
            errors.print(
                f"[red]stopped[/red]: {escape(status.failure.rstrip('.'))}. The others go on; start this one again once"
                " that is mended."
            )
            raise typer.Exit(1)
        present = (status.role, status.leader, status.paused)
        if present != shown:
            shown = present
            whom = "" if status.leads or not status.leader else f", follows {status.leader}"
            paused = ", paused" if status.paused else ""
            say(f"{status.role}{whom}{paused} (proposal {status.proposal:#x})")
