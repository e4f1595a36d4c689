"""`mu redis`: a real redis-server under the log; one, or three of them here."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mu.apps.redis import LocalRedis, RedisServer, default_addresses, parse_peers
from mu.apps.redis.options import HUNG_AFTER
from mu.cli.redis_bench import bench
from mu.cli.show import say
from mu.cli.watch import ClusterFile
from mu.cluster import Cluster, replica_id_from
from mu.errors import ConfigError

app = typer.Typer(help="A real redis-server under the log.", no_args_is_help=True)
app.command("bench")(bench)

NAME = Cluster().name  # of the cluster that `up` makes
LOOK_EVERY = 0.2  # seconds between two looks at whether a server still runs
LARGEST_IDLE = 2**31 - 1  # microseconds

Binary = Annotated[str, typer.Option("--server-binary", metavar="PROGRAM", help="Redis ≥ 7.0 or Valkey ≥ 8.")]
IdleCommit = Annotated[
    str | None,
    typer.Option(metavar="off|MICROSECONDS", help="When followers learn of the last command; off: with the next one."),
]
FollowerReads = Annotated[
    str, typer.Option(metavar="refuse|stale", help="Whether followers answer reads, from what they have.")
]
HungAfter = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="A leader in one command for longer is replaced; 0: never."),
]
Fabric = Annotated[str, typer.Option(help="How replicas reach each other's memory: shm or verbs.")]
RdmaDevice = Annotated[
    str, typer.Option(help="verbs: as `mu fabrics` names it; {id} is the replica's.  \\[the first active one]")
]
RedisOptions = Annotated[list[str] | None, typer.Argument(metavar="[-- REDIS OPTIONS…]")]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def idle_commit_us(text: str | None) -> int | None:
    """Microseconds; 0 for "off"; None if nothing was said."""
    if text is None:
        return None
    if text == "off":
        return 0
    if not text.isdigit() or not 0 < int(text) <= LARGEST_IDLE:
        raise ConfigError(f"--idle-commit: {text!r} should be off, or microseconds from 1 on.")
    return int(text)


@app.command(context_settings=PASS_ON)
def server(
    options: RedisOptions = None,
    replica_id: Annotated[
        int | None, typer.Option("--id", metavar="N", help="Which replica this is ($MU_REPLICA_ID, $SID).")
    ] = None,
    cluster: ClusterFile = None,
    port: Annotated[int | None, typer.Option(help="Where it listens; default 6379, 6380 … by id.")] = None,
    bind: Annotated[str, typer.Option(help="The addresses that it listens on.")] = "",
    peers: Annotated[
        str, typer.Option(metavar="1=HOST:PORT,…", help="Where the servers listen; default: all here, from 6379 on.")
    ] = "",
    binary: Binary = "redis-server",
    idle_commit: IdleCommit = None,
    follower_reads: FollowerReads = "refuse",
    hung_after: HungAfter = HUNG_AFTER,
    log: Annotated[Path | None, typer.Option(help="A file that redis's log is appended to.")] = None,
) -> None:
    """Runs one redis-server under the log until Ctrl-C, and shows when its role changes.

    `kill -USR1` of the pid that it prints has a leader write its replication latencies to dump-<id>.txt, one a line, in
    nanoseconds.

    Examples: mu redis server --id 1 --cluster cluster.toml; SID=2 IDS=1,2,3 mu redis server -- --maxmemory 1gb
    """
    described = Cluster.load(cluster, commit_idle_us=idle_commit_us(idle_commit))
    replica_id = replica_id_from() if replica_id is None else replica_id
    if replica_id is None:
        raise ConfigError(f"Which replica is this? Give --id, or set MU_REPLICA_ID or SID: {described.replicas}.")
    addresses = {**default_addresses(described), **parse_peers(peers)}
    described.require_member(replica_id)
    if port is not None:
        known = port == addresses[replica_id].port or replica_id in parse_peers(peers)
        if len(described.replicas) > 1 and not known:
            raise ConfigError(
                f"--port {port} would be known to this server only. --peers tells all, and so their clients, where"
                f" each of {list(described.replicas)} listens, this one included. Nothing was started."
            )
        addresses[replica_id] = type(addresses[replica_id])(addresses[replica_id].host, port)
    ended = _on_signals()
    with RedisServer(
        described,
        replica_id,
        addresses=addresses,
        options=_options(options),
        binary=binary,
        bind=bind,
        follower_reads=follower_reads,
        hung_after=hung_after,
        dump=Path(f"dump-{replica_id}.txt"),
        log=log,
        on_message=lambda text: say(escape(text)),
    ) as running:
        say(
            f"replica [bold]{replica_id}[/bold] of cluster [bold]{described.name}[/bold] listens on {running.address},"
            f" pid {running.pid}; Ctrl-C ends it"
        )
        while running.runs and not ended.wait(LOOK_EVERY):
            pass
        if not ended.is_set():
            raise typer.Exit(running.wait() or 1)


@app.command(context_settings=PASS_ON)
def up(
    options: RedisOptions = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 3,
    port: Annotated[int, typer.Option(help="The first one's; the others' follow. 0: any that are free.")] = 6379,
    binary: Binary = "redis-server",
    idle_commit: IdleCommit = None,
    follower_reads: FollowerReads = "refuse",
    hung_after: HungAfter = HUNG_AFTER,
    fabric: Fabric = "shm",
    rdma_device: RdmaDevice = "",
) -> None:
    """Runs servers 1 … n here until Ctrl-C.

    `kill -USR1` of the leader's pid has it write its replication latencies to dump-<id>.txt, here, one a line, in
    nanoseconds.

    Example: mu redis up --follower-reads stale; then redis-cli -p 6379 set a 1; redis-cli -p 6380 get a
    """
    ended = _on_signals()
    idle = idle_commit_us(idle_commit)
    with LocalRedis(
        n,
        name=NAME,  # what clients ask SENTINEL for; its segments have a directory of their own
        first_port=port or None,
        binary=binary,
        options=_options(options),
        follower_reads=follower_reads,
        hung_after=hung_after,
        dumps=Path.cwd(),
        on_message=lambda _, text: say(escape(text)),
        fabric=fabric,
        rdma_device=rdma_device,
        **({} if idle is None else {"commit_idle_us": idle}),
    ) as running:
        for each, address in running.addresses.items():
            say(f"replica [bold]{each}[/bold] listens on {address}, pid {running.server(each).pid}")
        say(f"replica [bold]{running.leader()}[/bold] accepts writes; Ctrl-C ends them all")
        say(
            f"[dim]redis-py: Sentinel([…these addresses…]).master_for('{NAME}');"
            f" to pause one: MU_NAME={NAME} MU_DIRECTORY={running.cluster.directory} mu pause 1[/dim]"
        )
        gone: set[int] = set()
        while not ended.wait(LOOK_EVERY):
            for each in sorted({*running.addresses} - {*running.running} - gone):
                gone.add(each)
                say(f"replica [bold]{each}[/bold] has ended by itself; a majority of the others goes on")


def _options(given: list[str] | None) -> list[str]:
    return [each for each in given or [] if each != "--"]


def _on_signals() -> threading.Event:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended
