"""How the command line looks: consoles, tables, times, progress."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from mu.errors import ConfigError

console = Console()
errors = Console(stderr=True)


def say(text: str) -> None:
    """A sentence; the terminal wraps it."""
    console.print(text, highlight=False, soft_wrap=True)


def duration(ns: float) -> str:
    """A time in the unit that suits it."""
    for limit, divisor, unit in ((1e4, 1, "ns"), (1e7, 1e3, "µs"), (1e10, 1e6, "ms")):
        if abs(ns) < limit:
            return f"{ns / divisor:,.0f} {unit}" if divisor == 1 else f"{ns / divisor:,.1f} {unit}"
    return f"{ns / 1e9:,.1f} s"


def quantile_table(title: str, rows: Mapping[str, Mapping[str, float]], ns: float = 1.0) -> Table:
    """A table of quantiles, a row each; `ns` is how many nanoseconds one unit is."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    names = list(next(iter(rows.values())))
    for name in names:
        table.add_column(name.replace("p999", "p99.9"), justify="right")
    for label, values in rows.items():
        table.add_row(label, *(duration(values[name] * ns) for name in names))
    return table


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr; what it yields is called with the part that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(label, total=1.0)
        yield lambda done: progress.update(task, completed=done)


def require_writable(target: str | None) -> str | None:
    """A file that a result is to be written to: looked at before anything is measured. "-" is standard output.

    Raises:
        ConfigError: it cannot be written.
    """
    if target is None or target == "-":
        return target
    path = Path(target)
    if path.is_dir():
        raise ConfigError(f"{target} is a directory; name a file in it. Nothing was begun.")
    if not path.parent.is_dir():
        raise ConfigError(f"{target} cannot be written: there is no directory {path.parent}. Nothing was begun.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{target} cannot be written: permission denied. Nothing was begun.")
    return target


JsonFile = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result there; - prints it.", callback=require_writable),
]


def write_json(result: Mapping[str, Any], target: str) -> None:
    """Writes a result to a file, or to standard output for "-"."""
    text = json.dumps(result, indent=2)
    if target == "-":
        console.out(text, highlight=False)
    else:
        Path(target).write_text(text + "\n", encoding="utf-8")
