"""Redis's command line: what Mu needs there, what a person may add, and what is refused.

Invariant: the settings on which replication stands come last, so that nothing given before them wins.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mu
from mu.cluster import Cluster
from mu.errors import CannotStart, ConfigError

FIRST_PORT: Final = 6379
MODULE: Final = Path("attach") / "mu_redis.so"
FOLLOWER_READS: Final = ("stale", "refuse")
HUNG_AFTER: Final = 30.0  # seconds; what Redis's Sentinel waits for by default, too
LONGEST_HUNG: Final = 86_400
ONE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
SMALLEST_LOG: Final = 8 * 1024 * 1024  # bytes; a batch of Redis's may be large, and a slot takes an eighth

# Each setting that replication stands on, with its value.
NEEDED: Final[Mapping[str, str]] = {
    "appendonly": "yes",  # the effects that are replicated are those that redis would write to this file
    "appendfsync": "always",  # before any reply of the same pass leaves
    "no-appendfsync-on-rewrite": "no",
    "auto-aof-rewrite-percentage": "0",  # the file stays empty
    "aof-timestamp-enabled": "no",
    "save": "",
    "replica-serve-stale-data": "no",  # a replica that joins shows nobody what it holds meanwhile
    "replica-ignore-maxmemory": "yes",  # what is evicted, the leader's effects say
    "replica-read-only": "yes",
    "repl-diskless-sync": "no",  # a diskless one waits up to a second more before the stream goes on
    "repl-timeout": "3600",  # the link is in the same process
    "repl-backlog-ttl": "1",  # a leader without replicas of its own need not keep their stream
    "io-threads": "1",
    "shutdown-timeout": "0",  # redis would wait for replicas of its own, and let nothing be replicated meanwhile
    "daemonize": "no",
}

# What a person may not choose, beside those: why.
REFUSED: Final[Mapping[str, str]] = {
    "replicaof": "the log decides whom a server follows",
    "slaveof": "the log decides whom a server follows",
    "cluster-enabled": "Redis Cluster distributes keys by itself",
    "sentinel": "every server answers SENTINEL already",
    "dir": "the server's directory is made anew at each start",
    "dbfilename": "the server's directory is made anew at each start",
    "appenddirname": "the server's directory is made anew at each start",
    "appendfilename": "the server's directory is made anew at each start",
    "loglevel": "the log says when the server is ready; CONFIG SET it then",
    "logfile": "what the server says is shown, and kept in its log",
    "port": "use --port",
    "bind": "use --bind",
    "include": "what it includes cannot be checked",
    "loadmodule": "a module's effects may bypass the log",
    "supervised": "Mu looks after the server",
    "min-replicas-to-write": "redis does not see who follows, and would refuse all writes; the log needs a majority",
    "min-slaves-to-write": "redis does not see who follows, and would refuse all writes; the log needs a majority",
    "tls-port": "connections between the servers do not speak TLS yet",
    "tls-replication": "connections between the servers do not speak TLS yet",
    "tls-cluster": "connections between the servers do not speak TLS yet",
    "repl-diskless-load": "redis would answer nobody while it waits for another server's data",
    "rename-command": "commands are known by their names",
    "slave-ignore-maxmemory": "what is evicted, the leader's effects say",
    "slave-read-only": "followers refuse writes",
    "slave-serve-stale-data": "a replica that joins shows nobody what it holds meanwhile",
    "io-threads-do-reads": "effects are attributed to one thread",
}


@dataclass(frozen=True)
class Address:
    """Where a replica's redis listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def default_addresses(cluster: Cluster, host: str = "127.0.0.1", first_port: int = FIRST_PORT) -> dict[int, Address]:
    """All on one machine: the ports follow one another, in the order of the ids."""
    return {each: Address(host, first_port + index) for index, each in enumerate(sorted(cluster.replicas))}


def parse_peers(text: str) -> dict[int, Address]:
    """The addresses in "1=10.0.0.1:6379,2=10.0.0.2:6379"."""
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        replica, _, address = part.partition("=")
        host, _, port = address.rpartition(":")
        if not (replica.isdigit() and host and port.isdigit()):
            raise ConfigError(f"{part!r} should be ID=HOST:PORT, as in 1=10.0.0.1:6379.")
        found[int(replica)] = Address(host, int(port))
    return found


def option_of(options: Sequence[str], name: str) -> str:
    """The value that an option has, its last one as for redis; "" if it is not given."""
    values = [value for option, value in itertools.pairwise(options) if option.lower() == f"--{name}"]
    return values[-1] if values else ""


def login_options(options: Sequence[str]) -> dict[str, str]:
    """How servers show each other who they are: as the options say, or else by the password that clients need."""
    if option_of(options, "masterauth"):
        return {}
    if option_of(options, "masteruser"):
        raise ConfigError("--masteruser is nobody without a password: give --masterauth, too. Nothing was started.")
    password = option_of(options, "requirepass")
    return {"masterauth": password} if password else {}


def refuse_options(options: Sequence[str]) -> None:
    """Raises ConfigError for what would break replication, and for what is no option."""
    if options and not options[0].startswith("--"):
        raise ConfigError(f"{options[0]!r}: give Redis's settings as options, as in `-- --maxmemory 100mb`.")
    for option in (each for each in options if each.startswith("--")):
        name = option.removeprefix("--").lower()
        if not ONE_NAME.fullmatch(name):  # redis would find settings in it that are not looked at here
            raise ConfigError(
                f"{option!r}: give an option and its values as words of their own, as in --maxmemory 100mb."
            )
        if name in REFUSED:
            raise ConfigError(f"{option} is not for you to choose here: {REFUSED[name]}.")
        if name in NEEDED:
            raise ConfigError(f"{option} is fixed: replication stands on it ({name} {NEEDED[name] or '(none)'}).")
    login_options(options)


def module_path() -> Path:
    """The module that redis loads, which was installed beside the package."""
    import sys

    for place in [*mu.__path__, *(f"{entry}/mu" for entry in sys.path if entry)]:
        if (found := Path(place) / MODULE).is_file():
            return found.resolve()
    raise CannotStart(f"The module {MODULE} is not installed beside the package: build it with `./dev setup`.")


def module_arguments(
    cluster: Cluster, replica_id: int, addresses: Mapping[int, Address], more: Mapping[str, object]
) -> list[str]:
    """What the module is told, as "key=value"."""
    if missing := sorted(set(cluster.replicas) - set(addresses)):
        raise ConfigError(f"No address is known for the redis of replica {missing[0]}: name it with --peers.")
    rdma = cluster.rdma_port_of(replica_id)
    values = {
        "cluster": cluster.name,
        "cluster_key": cluster.cluster_key,
        "replica": replica_id,
        "fabric": cluster.fabric,
        "directory": cluster.directory,
        "registry": cluster.registry,
        "rdma_device": rdma.device,
        "rdma_port": rdma.port,
        "rdma_gid_index": rdma.gid_index,
        "rdma_mtu": rdma.mtu,
        "log_bytes": max(cluster.log_bytes, SMALLEST_LOG),
        "dedicated_cores": "yes" if cluster.chosen_cores == "dedicated" else "no",
        "commit_idle_us": cluster.commit_idle_us,
        "stall_limit_ms": cluster.stall_limit_ms,
        "tuning": ",".join(f"{name}={value}" for name, value in cluster.tuning.items()),
        "timeout_ns": cluster.timeout_ms * 1_000_000,
        "service": cluster.name,
        **more,
    }
    peers = [f"peer={each}@{addresses[each]}" for each in cluster.replicas]
    return [*(f"{key}={value}" for key, value in values.items()), *peers]
