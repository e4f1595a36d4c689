"""`mu bench`: latency, throughput and fail-over, measured here and now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mu import bench
from mu.cli import rdma
from mu.cli.show import JsonFile, console, duration, progress_bar, quantile_table, require_writable, say, write_json
from mu.cli.watch import ClusterFile
from mu.errors import ConfigError

app = typer.Typer(
    help="Measures what Mu does on this machine; every figure is printed beside what it is to be compared with.",
    no_args_is_help=True,
)

Fabric = Annotated[str, typer.Option(help="How replicas reach each other's memory.")]
Replicas = Annotated[int, typer.Option(min=1, max=15, help="How many replicas.")]
Payload = Annotated[int, typer.Option(min=1, help="Bytes of a command.")]
Outstanding = Annotated[int, typer.Option(min=1, help="Proposals under way at once.")]
Count = Annotated[int, typer.Option(min=1, help="How many commands.")]
Cores = Annotated[str, typer.Option(help="How planes wait: auto, shared or dedicated.")]
RdmaDevice = Annotated[
    str, typer.Option(help="verbs: as `mu fabrics` names it; {id} is the replica's.  \\[the first active one]")
]
LogBytes = Annotated[int, typer.Option(help="Bytes of the log; a power of two.")]

ONE_MIB = 1024 * 1024


@app.command()
def latency(
    fabric: Fabric = "shm",
    replicas: Replicas = 3,
    payload: Payload = 64,
    outstanding: Outstanding = 1,
    count: Count = 100_000,
    cores: Cores = "auto",
    log_bytes: LogBytes = ONE_MIB,
    rdma_device: RdmaDevice = "",
    json_file: JsonFile = None,
    dump: Annotated[
        bool, typer.Option("--dump", help="Write dump-st-<payload>-<outstanding>.txt: one latency in ns a line.")
    ] = False,
) -> None:
    """One proposal after the other: a native loop, the same from Python, and the floor, taking turns.

    Examples: mu bench latency; mu bench latency --payload 4096 --count 200000 --json result.json
    """
    if dump:
        require_writable(bench.Latencies.dump_name(payload, outstanding))
    with progress_bar("latency") as progress:
        result, samples = bench.measure_latency(
            replicas=replicas,
            payload=payload,
            outstanding=outstanding,
            count=count,
            progress=progress,
            fabric=fabric,
            rdma_device=rdma_device,
            cores=cores,
            log_bytes=log_bytes,
        )
    dumped = samples.dump(Path(), payload, outstanding) if dump else None
    if not _only_json(result, json_file):
        if dumped is not None:
            say(escape(f"wrote {dumped}"))
        title = f"one proposal: {replicas} replicas, {payload} bytes, {outstanding} outstanding, {fabric}"
        rows = {"floor": "floor_ns", "native": "propose_ns", "Python": "python_ns"}
        console.print(quantile_table(title, {label: result[key] for label, key in rows.items()}))
        say(
            f"native is {result['ratio_to_floor']['p50']:.2f} × the floor at p50;"
            f" Python adds {duration(result['python_adds_ns']['p50'])}"
        )
        if "ib_write_lat_ns" in result:
            say(f"ib_write_lat, one write of {payload} bytes: {duration(result['ib_write_lat_ns'])}")
        _machine(result)


@app.command()
def throughput(
    fabric: Fabric = "shm",
    replicas: Replicas = 3,
    payload: Payload = 64,
    batch: Annotated[int, typer.Option(min=1, help="Commands a slot.")] = 128,
    outstanding: Outstanding = 8,
    count: Count = 2_000_000,
    laps: Annotated[int, typer.Option(min=0, help="Also go so often round the log, without a pause.")] = 0,
    cores: Cores = "auto",
    log_bytes: LogBytes = ONE_MIB,
    rdma_device: RdmaDevice = "",
    json_file: JsonFile = None,
) -> None:
    """As many commands as possible: in batches, several outstanding, natively and from Python.

    Examples: mu bench throughput; mu bench throughput --batch 1 --outstanding 1; mu bench throughput --laps 100
    """
    with progress_bar("throughput") as progress:
        result = bench.measure_throughput(
            replicas=replicas,
            payload=payload,
            batch=batch,
            outstanding=outstanding,
            count=count,
            laps=laps,
            progress=progress,
            fabric=fabric,
            rdma_device=rdma_device,
            cores=cores,
            log_bytes=log_bytes,
        )
    if _only_json(result, json_file):
        return
    nanoseconds = round(result["seconds"] * 1e9)
    say(f"Replicated {result['commands']} commands of size {payload} bytes in {nanoseconds} ns")
    say(
        f"native {result['native_per_us']:.3g} commands a µs, Python {result['python_per_us']:.3g}"
        f" ({replicas} replicas, batches of {batch}, {outstanding} outstanding, {fabric})"
    )
    if "laps" in result:
        first, every = (result["laps"]["batch_p999_ns"][key] for key in ("first", "all"))
        say(
            f"{result['laps']['laps']:.0f} laps of the log: p99.9 of a batch {duration(every)},"
            f" over the first lap {duration(first)}"
        )
    _machine(result)


@app.command()
def failover(
    rounds: Annotated[int, typer.Option(min=1, help="How many faults.")] = 20,
    fault: Annotated[str, typer.Option(help="kill (SIGKILL), stop (SIGSTOP) or pause (no heartbeat).")] = "kill",
    fabric: Fabric = "shm",
    replicas: Annotated[int, typer.Option(min=3, max=15, help="How many replicas.")] = 3,
    payload: Annotated[int, typer.Option(min=16, help="Bytes of a command.")] = 64,
    rate: Annotated[float, typer.Option(min=0, help="Commands a second; 0: as fast as possible.")] = 0.0,
    cores: Cores = "auto",
    rdma_device: RdmaDevice = "",
    json_file: JsonFile = None,
) -> None:
    """The leader fails under load, again and again: how long until another one decides; and nothing is lost.

    Examples: mu bench failover --rounds 100; mu bench failover --fault stop
    """
    if fault not in bench.FAULTS:
        raise ConfigError(f"--fault: {fault!r} is not one of {', '.join(bench.FAULTS)}.")
    with progress_bar(f"failover ({fault})") as progress:
        result = bench.measure_failover(
            rounds=rounds,
            fault=fault,
            replicas=replicas,
            payload=payload,
            rate=rate,
            progress=progress,
            fabric=fabric,
            rdma_device=rdma_device,
            cores=cores,
        )
    if not _only_json(result, json_file):
        title = f"{rounds} × {fault} of the leader under load: {replicas} replicas, {fabric}"
        rows = {"detect": "detect_us", "switch": "switch_us", "total": "total_us"}
        console.print(quantile_table(title, {label: result[key] for label, key in rows.items()}, ns=1000))
        say(f"acknowledged {result['acknowledged']:,} commands, lost {result['lost']}")
        _machine(result)
    if result["lost"]:
        raise typer.Exit(1)


@app.command()
def permission(
    log_bytes: Annotated[
        list[int] | None, typer.Option(min=4096, help="Bytes of the log; may be given again.  [1, 4, 16, 64 MiB]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is taken.")] = 200,
    cluster: ClusterFile = None,
    replica_id: rdma.Id = None,
    rdma_device: rdma.Device = None,
    rdma_port: rdma.Port = None,
    rdma_gid_index: rdma.GidIndex = None,
    rdma_mtu: rdma.Mtu = None,
    json_file: JsonFile = None,
) -> None:
    """What each way of changing a write permission costs on an RDMA device, against the log's size.

    Examples: mu bench permission; mu bench permission --log-bytes 1048576 --rdma-device mlx5_0 --rdma-port 2
    """
    options = {"rdma_port": rdma_port, "rdma_gid_index": rdma_gid_index, "rdma_mtu": rdma_mtu}
    _, port = rdma.port_of(cluster, replica_id, rdma_device=rdma_device, **options)
    with progress_bar("permission") as progress:
        sizes = log_bytes or bench.LOG_BYTES
        result = bench.measure_permission(log_bytes=sizes, rounds=rounds, rdma=port, progress=progress)
    if not _only_json(result, json_file):
        for size in result["sizes"]:
            rows = {text: size[f"{name}_ns"] for name, text in bench.METHODS.items()}
            console.print(quantile_table(f"one change of permission, a log of {size['log_bytes'] >> 10} KiB", rows))
        _machine(result)


@app.command()
def steady(
    seconds: Annotated[float, typer.Option(min=1, help="For how long.")] = 300.0,
    hogs: Annotated[int, typer.Option(min=0, help="Processes beside it that want a core each.")] = 2,
    replicas: Replicas = 3,
    cores: Cores = "auto",
    json_file: JsonFile = None,
) -> None:
    """Full load, hogs beside it, and nobody fails: every change of leader is a false election.

    Examples: mu bench steady; mu bench steady --seconds 60 --hogs 4
    """
    with progress_bar("steady") as progress:
        result = bench.measure_steady(seconds=seconds, hogs=hogs, replicas=replicas, progress=progress, cores=cores)
    if not _only_json(result, json_file):
        say(
            f"{result['false_elections']} false elections in {seconds:g} s of full load beside {hogs} hogs;"
            f" {result['acknowledged']:,} commands acknowledged"
        )
        _machine(result)
    if result["false_elections"]:
        raise typer.Exit(1)


@app.command()
def idle(
    seconds: Annotated[float, typer.Option(min=1, help="For how long.")] = 20.0,
    replicas: Replicas = 3,
    cores: Cores = "auto",
    json_file: JsonFile = None,
) -> None:
    """A cluster without commands: how much of a core it uses all the same.

    Examples: mu bench idle; mu bench idle --replicas 5
    """
    with progress_bar("idle") as progress:
        result = bench.measure_idle(seconds=seconds, replicas=replicas, progress=progress, cores=cores)
    if not _only_json(result, json_file):
        say(f"an idle cluster of {replicas} uses {result['percent_of_a_core']:.2f} % of a core")
        _machine(result)


def _only_json(result: dict[str, Any], target: str | None) -> bool:
    """Writes the result if asked to; whether standard output belongs to it."""
    if target is not None:
        write_json(result, target)
    return target == "-"


def _machine(result: dict[str, Any]) -> None:
    facts = result["machine"]
    say(
        f"[dim]{facts['cpu']}, {facts['cores']} cores ({facts['waiting']}), Linux {facts['kernel']},"
        f" Python {facts['python']}, commit {facts['commit'] or 'unknown'}[/dim]"
    )
