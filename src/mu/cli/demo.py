"""`mu demo`: three replicas, a load, a dead leader, and what became of what had been acknowledged.

A story in parts, each of which ends with a claim that is checked. Invariant: exit code 0 means that all of them held.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule

from mu.bench import quantiles
from mu.cli.show import console, duration, quantile_table, say
from mu.errors import MuError
from mu.testing import Ledger, Load, LoadSpec, LocalCluster, lost_commands

REPLICAS: Final = 3
PATIENCE: Final = 30.0  # seconds for any single thing, then that part has failed
LOOK_EVERY: Final = 0.02  # seconds between two looks at the load


class BrokenClaimError(Exception):
    """What a part claims does not hold."""


class Story:
    """The demo's parts, in order; each uses what the ones before it left."""

    def __init__(self, cluster: LocalCluster, commands: int) -> None:
        self._cluster = cluster
        self._commands = commands
        self._load: Load
        self._leader = 0
        self._victim = 0

    def parts(self) -> list[tuple[str, Callable[[], str]]]:
        """Title and action of each; an action returns what it found, or raises."""
        return [
            ("Three replicas, each a process of its own", self.begin),
            ("A stream of numbered commands through the leader", self.stream),
            ("SIGKILL of the leader, under load", self.kill),
            ("Is everything there that was acknowledged?", self.prove),
            ("The dead replica comes back, with empty memory", self.rejoin),
            ("Commands go on, and all replicas are equal", self.finish),
        ]

    def begin(self) -> str:
        """The cluster is up and has a leader."""
        self._cluster.start()
        self._leader = self._cluster.settle(PATIENCE)
        pids = ", ".join(f"{each} (pid {pid})" for each, pid in self._cluster.pids.items())
        return f"replicas {pids}; replica {self._leader} leads"

    def stream(self) -> str:
        """The load runs, and goes on in the background; its latencies are shown."""
        self._load = self._cluster.load(LoadSpec())
        took = self._advance(self._commands, "commands")
        done = self._load.acknowledged
        report = self._load.report(self._cluster.leader(PATIENCE))
        title = "one command of 64 bytes, from its call in Python to its decision"
        console.print(quantile_table(title, {"latency": quantiles(report.latencies_ns)}))
        return f"{done:,} commands acknowledged, {done / took:,.0f} a second"

    def kill(self) -> str:
        """Another replica decides commands soon after."""
        self._victim = self._cluster.settle(PATIENCE)
        before = self._load.record(self._victim).acknowledged
        moment = self._cluster.kill(self._victim)

        def successor() -> int:
            for each in self._cluster.running:
                if self._load.record(each).first_success_ns > moment:
                    return each
            return 0

        self._leader = self._cluster.wait(successor, PATIENCE, "Nobody took over")
        total = self._load.record(self._leader).first_success_ns - moment
        switch = self._cluster.status(self._leader).took_over_us * 1000
        acknowledged = self._load.record(self._victim).acknowledged
        if acknowledged < before:
            raise BrokenClaimError("the record of what was acknowledged went backwards")
        return (
            f"replica {self._victim} died after command {acknowledged:,}; replica {self._leader} decided its first"
            f" command {duration(total)} after the kill (of which {duration(switch)} to switch permissions)"
        )

    def prove(self) -> str:
        """A linearizable read at the new leader shows every acknowledged command once and in order."""
        records = self._load.records()
        view = self._cluster.read(Ledger.view, timeout=PATIENCE)
        wrong = lost_commands(view, [record.proof for record in records])
        if wrong:
            raise BrokenClaimError(f"{len(wrong)} commands are lost, doubled or out of order; the first: {wrong[0]}")
        acknowledged = sum(record.acknowledged - len(record.indeterminate) for record in records)
        return f"all {acknowledged:,} acknowledged commands are in the new leader's history, once each and in order"

    def rejoin(self) -> str:
        """The replica is started again and becomes a full member under a new incarnation."""
        began = time.monotonic()
        self._cluster.restart(self._victim)
        self._cluster.wait_until_admitted(self._victim, PATIENCE)
        took = time.monotonic() - began
        self._load.add(self._victim)
        return f"replica {self._victim} was started and admitted within {duration(took * 1e9)}, Python's start included"

    def finish(self) -> str:
        """More commands are decided; then, at rest, all three histories have the same digest."""
        before = self._load.acknowledged
        self._advance(before + self._commands // 4, "more commands")
        self._load.stop()

        def equal() -> bool:
            views = [self._cluster.look(Ledger.view, each) for each in self._cluster.running]
            return len(views) == REPLICAS and len({(view.count, view.digest) for view in views}) == 1

        self._cluster.wait(equal, PATIENCE, "The replicas' histories did not become equal")
        proofs = [record.proof for record in self._load.records()]
        view = self._cluster.read(Ledger.view, timeout=PATIENCE)
        if wrong := lost_commands(view, proofs):
            raise BrokenClaimError(f"{len(wrong)} commands are lost, doubled or out of order; the first: {wrong[0]}")
        return f"{view.count:,} commands applied on each of {REPLICAS} replicas, digest {view.digest[:16]} on all"

    def _advance(self, target: int, label: str) -> float:
        """Shows progress until so many commands are acknowledged; returns the seconds that took."""
        began = last_change = time.monotonic()
        seen = self._load.acknowledged
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(label, total=target)
            while seen < target:
                time.sleep(LOOK_EVERY)
                now = self._load.acknowledged
                if now > seen:
                    last_change, seen = time.monotonic(), now
                elif time.monotonic() - last_change > PATIENCE:
                    raise BrokenClaimError(f"no command was acknowledged for {PATIENCE:g} s")
                progress.update(task, completed=min(seen, target))
        return max(1e-9, time.monotonic() - began)


def demo(
    commands: Annotated[int, typer.Option(min=100, help="How many before the leader is killed.")] = 200_000,
    cores: Annotated[str, typer.Option(help="How planes wait: auto, shared or dedicated.")] = "auto",
) -> None:
    """Three replicas here, a load, a dead leader: what Mu does. Exit code 0 if all of it held, else 1.

    Examples: mu demo; mu demo --commands 1000000
    """
    cluster = LocalCluster(REPLICAS, Ledger, cores=cores)
    story = Story(cluster, commands)
    try:
        for number, (title, act) in enumerate(story.parts(), start=1):
            console.print(Rule(f"[bold]{number}. {title}[/bold]", align="left"))
            try:
                say(f"  [green]✓[/green] {act()}")
            except (BrokenClaimError, MuError) as error:
                say(f"  [bold red]✗ part {number} failed:[/bold red] {escape(str(error))}")
                raise typer.Exit(1) from None
    finally:
        cluster.close()
    say("\n[bold green]All of it held.[/bold green] Next: mu bench --help")
