"""Several redis-servers under one log on this machine: for trials, tests and measurements.

Invariant: after `close()`, or an exception, no server, segment or file of theirs is left, but latencies that a caller
wanted in a place of his own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import redis
from redis.sentinel import Sentinel

from mu import fabric
from mu.apps.redis.options import HUNG_AFTER, Address, option_of
from mu.apps.redis.server import SERVER, RedisServer
from mu.cluster import Cluster
from mu.errors import NoLeader, ReplicaDown
from mu.forks import Owner
from mu.private_directory import PrivateDirectory
from mu.registry import Registry

T = TypeVar("T")

GIVEN_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")  # to outgoing connections
LOWEST_PORT: Final = 10_000  # of those that are tried: many programs have theirs below
LAST_PORT: Final = 65_535
ROOM: Final = 1000  # ports; with fewer below the given ones, all are tried
DIGEST_TIMEOUT: Final = 60.0  # seconds: a server reads all its data for it, on a busy machine
LOOK_EVERY: Final = 0.005  # seconds between two looks


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on.

    Where there is room, below those that the kernel gives to outgoing connections: a server that is started again finds
    its port free.
    """
    first_given = int(GIVEN_PORTS.read_text().split()[0])
    end = first_given if first_given >= LOWEST_PORT + ROOM else LAST_PORT + 1
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        candidates = iter(random.SystemRandom().sample(range(LOWEST_PORT, end), end - LOWEST_PORT))
        while len(ports) < count:
            port = next(candidates)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports


class LocalRedis:
    """Servers 1 … n on this machine. A context manager.

    Args:
        n: how many.
        first_port: of the ports, which follow one another; None: whichever are free.
        binary: the server's program.
        options: further options of redis's.
        follower_reads, hung_after: see RedisServer.
        dumps: the directory where `kill -USR1` has a server write dump-<id>.txt; None: one that goes when they do.
        on_message: called with a server's id and what Mu says in its log.
        cluster: keys of Cluster. With fabric="verbs" and no registry they get one of their own.
    """

    def __init__(
        self,
        n: int = 3,
        *,
        first_port: int | None = None,
        binary: str = SERVER,
        options: Sequence[str] = (),
        follower_reads: str = "refuse",
        hung_after: float = HUNG_AFTER,
        dumps: Path | None = None,
        on_message: Callable[[int, str], None] | None = None,
        **cluster: Any,
    ) -> None:
        name = f"redis-{os.getpid()}-{secrets.token_hex(4)}"
        self.cluster = Cluster(**{"name": name, "replicas": tuple(range(1, n + 1)), **cluster})
        ports = free_ports(n) if first_port is None else [first_port + each for each in range(n)]
        ids = sorted(self.cluster.replicas)
        self.addresses = {each: Address("127.0.0.1", port) for each, port in zip(ids, ports, strict=True)}
        self._binary = binary
        self._options = [*options]
        self._follower_reads = follower_reads
        self._hung_after = hung_after
        self._dumps = dumps
        self._on_message = on_message
        self._servers: dict[int, RedisServer] = {}
        self._clients: dict[int, Any] = {}
        self._stopped: set[int] = set()
        self._paused: set[int] = set()
        self._registry: Registry | None = None
        self._owner = Owner()
        self._files: PrivateDirectory | None = None

    # --- Its life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all servers."""
        self._owner = Owner()
        self._files = PrivateDirectory("redis", in_memory=True)
        self.cluster = Cluster.load(self.cluster, directory=str(self._files.path))
        if self.cluster.fabric == "verbs" and not self.cluster.registry:
            self._registry = Registry(port=0)
            self.cluster = Cluster.load(self.cluster, registry=self._registry.address)
        atexit.register(self.close)
        try:
            for each in self.cluster.replicas:
                self.launch(each)
        except BaseException:
            self.close()
            raise

    def launch(
        self, replica_id: int, options: Sequence[str] | None = None, addresses: Mapping[int, Address] | None = None
    ) -> RedisServer:
        """Starts one server, with options of its own if there are any."""
        assert self._files is not None
        tell = self._on_message
        server = RedisServer(
            self.cluster,
            replica_id,
            addresses=self.addresses if addresses is None else addresses,
            options=self._options if options is None else options,
            binary=self._binary,
            follower_reads=self._follower_reads,
            hung_after=self._hung_after,
            dump=self.dump_file(replica_id),
            log=self.files / f"redis-{replica_id}.log",
            on_message=None if tell is None else lambda text: tell(replica_id, text),
            inherits=[self._files.descriptor],
        )
        server.start()
        self._servers[replica_id] = server
        self._stopped.discard(replica_id)
        self._paused.discard(replica_id)
        return server

    def dump_file(self, replica_id: int) -> Path:
        """Where `kill -USR1` has a server write its latencies."""
        return (self._dumps or self.files) / f"dump-{replica_id}.txt"

    def close(self) -> None:
        """Ends all servers and removes what is left of them; the parent's, in a child of fork(), go on."""
        if not self._owner.is_here:
            return
        atexit.unregister(self.close)
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        for server in self._servers.values():  # all at once: they need not wait for one another
            server.signal(signal.SIGCONT)
            server.signal(signal.SIGTERM)
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        if self._registry is not None:
            self._registry.close()
            self._registry = None
        if self._files is not None:
            fabric.clean(self.cluster.directory, self.cluster.name)
            self._files.remove()
            self._files = None

    def __enter__(self) -> LocalRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Faults -----------------------------------------------------------------------------------------------

    def server(self, replica_id: int) -> RedisServer:
        """One that runs. Raises ReplicaDown."""
        server = self._servers.get(self.cluster.require_member(replica_id))
        if server is None or not server.runs:
            raise ReplicaDown(f"The redis of replica {replica_id} does not run")
        return server

    def kill(self, replica_id: int) -> None:
        """SIGKILL."""
        self.server(replica_id).kill()
        self._stopped.discard(replica_id)

    def stop(self, replica_id: int) -> None:
        """SIGSTOP: it stands still, between any two instructions, until `resume`."""
        self.server(replica_id).signal(signal.SIGSTOP)
        self._stopped.add(replica_id)

    def resume(self, replica_id: int) -> None:
        """SIGCONT."""
        self.server(replica_id).signal(signal.SIGCONT)
        self._stopped.discard(replica_id)

    def restart(self, replica_id: int) -> None:
        """Starts a server again, with empty memory; kills it before if it runs."""
        if replica_id in self.running:
            self.kill(replica_id)
        self.launch(replica_id)

    def pause(self, replica_id: int) -> None:
        """`mu pause`: it works, but the others take it for dead."""
        fabric.pause(self.cluster, replica_id)
        self._paused.add(replica_id)

    def unpause(self, replica_id: int) -> None:
        """`mu resume`."""
        fabric.resume(self.cluster, replica_id)
        self._paused.discard(replica_id)

    # --- What is going on -------------------------------------------------------------------------------------

    @property
    def files(self) -> Path:
        """The directory of the servers' segments, logs and dumps."""
        assert self._files is not None
        return self._files.path

    @property
    def running(self) -> list[int]:
        """The servers that have a process, stopped or not."""
        return sorted(each for each, server in self._servers.items() if server.runs)

    def connect(self, replica_id: int, **options: Any) -> Any:
        """A redis-py client of one server, which knows the password that the servers were started with."""
        address = self.addresses[self.cluster.require_member(replica_id)]
        password = option_of(self._options, "requirepass") or None
        return redis.Redis(address.host, address.port, **{"socket_timeout": 5.0, "password": password, **options})

    def client(self, replica_id: int) -> Any:
        """The same, kept: for questions now and then."""
        if replica_id not in self._clients:
            self._clients[replica_id] = self.connect(replica_id, socket_timeout=1.0)
        return self._clients[replica_id]

    def sentinel(self, **options: Any) -> Any:
        """redis-py's own, which is told of all servers. Its `master_for(name)` goes to whoever leads."""
        nodes = [(each.host, each.port) for each in self.addresses.values()]
        make: Any = Sentinel  # untyped
        return make(nodes, min_other_sentinels=len(nodes) - 1, **{"socket_timeout": 1.0, **options})

    def info(self, replica_id: int) -> dict[str, Any]:
        """INFO replication of one server; empty if it does not answer."""
        if replica_id in self._stopped or replica_id not in self.running:
            return {}
        try:
            found: dict[str, Any] = self.client(replica_id).info("replication")
        except redis.RedisError:
            return {}
        return found

    def leader(self, timeout: float = 20.0) -> int:
        """The id of the server that accepts writes, waiting until there is one. Raises NoLeader."""
        return self.wait(self._find_leader, timeout, "No server accepted writes")

    def _find_leader(self) -> int:
        leaders = [each for each in self.running if self.info(each).get("mu_accepts_writes") == 1]
        return leaders[0] if len(leaders) == 1 else 0

    def settle(self, timeout: float = 30.0) -> int:
        """Waits until the lowest id that may leads, and all others that run follow it and have executed as much.

        Returns its id. Shortly after a start or a fault leadership may still move: the lowest id takes it.
        """

        def settled() -> int:
            found = {each: self.info(each) for each in self.running if each not in self._stopped}
            leaders = [each for each, info in found.items() if info.get("mu_accepts_writes") == 1]
            trusted = all(info.get("mu_trusted") for info in found.values())
            if leaders != sorted(found.keys() - self._paused)[:1] or not trusted:
                return 0
            roles = {info["mu_role"] for each, info in found.items() if each != leaders[0]}
            executed = {info["mu_executed"] for info in found.values()}
            return leaders[0] if roles <= {"following"} and len(executed) == 1 else 0

        return self.wait(settled, timeout, "The servers did not settle")

    def digests(self, timeout: float = 60.0) -> dict[int, str]:
        """DEBUG DIGEST of every server that runs, of one moment: equal if and only if their data are.

        Keys expire by themselves. So they are asked until nothing was executed in between.
        Raises NoLeader if they do not come to rest.
        """

        def ask(replica_id: int) -> Any:
            with self.connect(replica_id, socket_timeout=DIGEST_TIMEOUT) as client:
                return client.execute_command("DEBUG", "DIGEST")

        def executed() -> list[int]:
            return [self.info(each).get("mu_executed", -each) for each in self.running]

        def at_rest() -> dict[int, Any]:
            before = executed()
            told = {each: ask(each) for each in self.running}
            return told if len({*before, *executed()}) == 1 else {}

        told = self.wait(at_rest, timeout, "The servers did not come to rest")
        return {each: digest.decode() if isinstance(digest, bytes) else digest for each, digest in told.items()}

    def wait(self, look: Callable[[], T], timeout: float, otherwise: str) -> T:
        """Calls `look` until it finds something. Raises NoLeader, with `otherwise`, after the timeout."""
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if time.monotonic() >= deadline:
                raise NoLeader(f"{otherwise} within {timeout:g} s")
            time.sleep(LOOK_EVERY)
        return found

    def log(self, replica_id: int) -> str:
        """What a server has logged, over all of its lives; nothing while none of them is started."""
        path = None if self._files is None else self.files / f"redis-{replica_id}.log"
        return path.read_text(errors="replace") if path is not None and path.exists() else ""
