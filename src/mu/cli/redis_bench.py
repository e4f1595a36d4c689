"""`mu redis bench`: the load, the table, the files; and a plain redis-server beside it for comparison."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mu.apps.redis import Address, LocalRedis
from mu.apps.redis.bench import (
    KEY_BYTES,
    KINDS,
    Load,
    Measured,
    failovers,
    measure,
    parts,
    plain_server,
    report,
    write_histogram,
    write_latencies,
)
from mu.cli.show import JsonFile, console, require_writable, say, write_json
from mu.errors import ConfigError

LATENCIES = Path("redis-cli.txt")  # as the artifact names it
HISTOGRAM = Path("redis-cli.svg")


def bench(
    kind: Annotated[str, typer.Argument(help="puts, gets, mixed or failover.")] = "puts",
    host: Annotated[str, typer.Argument(help="A leader's; none: three servers are started here.")] = "",
    port: Annotated[int, typer.Argument(help="The same.")] = 6379,
    key_size: Annotated[int, typer.Option(min=1, help="Bytes.")] = 16,
    value_size: Annotated[int, typer.Option(min=1, help="Bytes.")] = 32,
    count: Annotated[int, typer.Option(min=1, help="Requests of each server.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that the servers take.")] = 10,
    clients: Annotated[int, typer.Option(min=1, help="More than one: throughput, by redis-benchmark.")] = 1,
    pipeline: Annotated[int, typer.Option(min=1, help="Requests that a client sends at a time.")] = 1,
    baseline: Annotated[bool, typer.Option("--baseline", help="A plain redis-server in the same run.")] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="As the baseline one with two replicas of its own, and WAIT 1 after each put."),
    ] = False,
    baseline_replicas: Annotated[
        int, typer.Option(min=0, help="As the baseline one with so many replicas of its own, without waiting for them.")
    ] = 0,
    binary: Annotated[str, typer.Option("--server-binary", metavar="PROGRAM")] = "redis-server",
    json_file: JsonFile = None,
) -> None:
    """Measures puts, gets or both: one client's latencies, or many clients' throughput.

    Latencies are written to redis-cli.txt, one a line, in nanoseconds, and drawn in redis-cli.svg.

    Examples: mu redis bench puts --baseline; mu redis bench gets 127.0.0.1 6379; mu redis bench puts --clients 50
    """
    for written in (LATENCIES, HISTOGRAM):
        require_writable(str(written))
    many = clients > 1 or pipeline > 1
    if kind == "failover":
        if host or many or baseline or wait or baseline_replicas:
            raise ConfigError("failover starts three servers of its own: it takes --rounds, and no HOST or other load.")
        with LocalRedis(3, binary=binary) as servers:
            each = failovers(servers, rounds)
        measured = Measured(latencies_ns=[one.total_ns for one in each])
        found = {**report(measured, None), "parts": parts(each)}
        _tell(f"SIGKILL of the leader to the first SET, {rounds} rounds", found, json_file)
        if json_file != "-":
            leads, first = (value / 1000 for value in found["parts"].values())
            say(f"half of them: {leads:.1f} ms until a redis leads, {first:.1f} ms more until the first SET")
        _keep(measured, json_file == "-")
        return
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is not one of {', '.join(KINDS)}, failover.")
    if wait and baseline_replicas:
        raise ConfigError("--wait has two replicas, and waits for one; --baseline-replicas waits for none: take one.")
    if many and (kind == "mixed" or wait or key_size != KEY_BYTES):
        raise ConfigError(
            "With --clients or --pipeline the load is redis-benchmark's: puts or gets, without --wait, "
            f"with keys of {KEY_BYTES} bytes."
        )
    load = Load(kind=kind, key_size=key_size, value_size=value_size)
    with contextlib.ExitStack() as stack:
        if host:
            addresses = [Address(host, port)]
        else:
            servers = stack.enter_context(LocalRedis(3, binary=binary))
            addresses = [servers.addresses[servers.settle()]]
        loads = [load]
        if baseline or wait or baseline_replicas:
            addresses.append(stack.enter_context(plain_server(binary, replicas=2 if wait else baseline_replicas)))
            loads.append(Load(kind=kind, key_size=key_size, value_size=value_size, wait=1 if wait else 0))
        seen = measure(addresses, loads, count=count, rounds=rounds, clients=clients, pipeline=pipeline)
    found = report(seen[0], seen[1] if len(seen) > 1 else None)
    _tell(f"{kind}, {clients} client(s), pipeline {pipeline}", found, json_file)
    _keep(seen[0], json_file == "-")


def _tell(title: str, found: dict[str, Any], json_file: str | None) -> None:
    if json_file is not None:
        write_json(found, json_file)
    if json_file != "-":
        _show(title, found)


def _show(title: str, found: dict[str, Any]) -> None:
    table = Table(title=title, title_justify="left")
    names = list(found["replicated"])
    for name in ("", *names):
        table.add_column(name, justify="right")
    for row in ("replicated", "baseline"):
        if row in found:
            table.add_row(row, *(f"{found[row][name]:,.1f}" for name in names))
    if "ratio" in found:
        table.add_row(
            "ratio",
            *(
                f"{found['ratio'][each]:.2f}" if each in found["ratio"] else ""
                for each in (name.removesuffix("_us") for name in names)
            ),
        )
    console.print(table)


def _keep(measured: Measured, quiet: bool) -> None:
    if not measured.latencies_ns:
        return
    write_latencies(measured.latencies_ns, LATENCIES)
    write_histogram(measured.latencies_ns, HISTOGRAM)
    if not quiet:
        say(f"latencies are in {LATENCIES}, drawn in {HISTOGRAM}")
