"""The sub-commands, put together."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from mu.cli import bench, demo, fabrics, redis, replica, sim, watch
from mu.cli.show import say

app = typer.Typer(
    name="mu",
    help="Mu: a deterministic program survives crashes, at about a microsecond a request.",
    epilog="Begin with: mu demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"mu {metadata.version('mu-consensus')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001: the option acts by its callback
        bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


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
