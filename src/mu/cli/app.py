"""The sub-commands, put together."""

from __future__ import annotations

import typer

from mu.cli import bench, demo, fabrics, redis, replica, sim, watch

app = typer.Typer(
    name="mu",
    help="Mu: a deterministic program survives crashes, at about a microsecond a request.",
    epilog="Begin with: mu demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command("replica")(replica.replica)
app.command()(watch.status)
app.command()(watch.pause)
app.command()(watch.resume)
app.command()(watch.clean)
app.command()(sim.sim)
app.command()(fabrics.fabrics)
app.command()(fabrics.registry)
app.add_typer(bench.app, name="bench")
app.add_typer(redis.app, name="redis")
