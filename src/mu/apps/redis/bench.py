"""Measuring a redis: one client's latencies, many clients' throughput; and the same of a plain one, in turns.

Latencies are taken by one client that waits for each answer (the artifact: redis-puts-only, -gets-only and
-puts-gets); throughput by redis-benchmark. Quote ratios of one alternating run only: both servers then have had the
same weather. Invariant: what was started here has ended when its context is left.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from mu.apps.redis.local import LocalRedis, free_ports
from mu.apps.redis.options import Address
from mu.apps.redis.server import SERVER
from mu.bench import quantiles
from mu.errors import CannotStart, MuError, NoLeader
from mu.private_directory import PrivateDirectory

KINDS: Final = ("puts", "gets", "mixed")
KEY_BYTES: Final = 16  # of redis-benchmark's keys
KEYS: Final = 1000  # different ones
WARM_UP: Final = 200  # requests
START_TIMEOUT: Final = 10.0  # seconds
CONNECT_TIMEOUT: Final = 10.0  # seconds
LEADS: Final = re.compile(r"^\d+:\w (\d+ \w+ \d+ [\d:.]+) .*replica \d+ leads$", re.MULTILINE)  # in redis's log
LOG_TICK: Final = 0.001  # seconds
SVG_BARS: Final = 60
MISSED: Final = b"-"  # how an error begins


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a client asks for."""

    kind: str = "puts"
    key_size: int = 16
    value_size: int = 32
    wait: int = 0
    """replicas that each put waits for (WAIT), for a baseline with ordinary replicas"""

    def requests(self) -> list[bytes]:
        """One request a key, as redis's protocol has it."""
        value = b"v" * self.value_size
        made = []
        for number in range(KEYS):
            key = f"{number:0{self.key_size}d}".encode()[-self.key_size :]
            puts = self.kind == "puts" or (self.kind == "mixed" and number % 2 == 0)
            request = _encode(b"SET", key, value) if puts else _encode(b"GET", key)
            made.append(request + (_encode(b"WAIT", str(self.wait).encode(), b"0") if puts and self.wait else b""))
        return made

    def answers(self, number: int) -> int:
        """How many lines answer request `number`."""
        puts = self.kind == "puts" or (self.kind == "mixed" and number % 2 == 0)
        return (2 if self.wait else 1) if puts else 2


def _encode(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in words)


def _connection(address: Address) -> socket.socket:
    try:
        found = socket.create_connection((address.host, address.port), timeout=CONNECT_TIMEOUT)
    except OSError as error:
        raise MuError(
            f"No server answers at {address}: {error.strerror or error}. Start one (`mu redis up`)."
        ) from None
    found.settimeout(None)
    return found


class OneClient:
    """A connection that asks, waits for the answer, and notes how long that took."""

    def __init__(self, address: Address, load: Load) -> None:
        self._socket = _connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._load = load
        self._requests = load.requests()
        self._next = 0
        fill = Load(key_size=load.key_size, value_size=load.value_size)
        for number, request in enumerate(fill.requests()):  # so that GET finds something
            self._ask(request, fill.answers(number))
        self.run(WARM_UP)

    def _ask(self, request: bytes, lines: int) -> None:
        try:
            self._socket.sendall(request)
            answer = self._socket.recv(65536)
            while answer.count(b"\r\n") < lines and not answer.startswith(MISSED):
                more = self._socket.recv(65536)
                if not more:
                    raise MuError("The server has closed the connection; its log says why.")
                answer += more
        except OSError as error:
            raise MuError(f"The connection to the server broke: {error.strerror or error}; its log says why.") from None
        if answer.startswith(MISSED) or not answer:
            raise MuError(f"The server answered: {answer.decode(errors='replace').strip() or 'nothing'}")

    def run(self, count: int) -> list[int]:
        """Latencies of so many requests, in nanoseconds."""
        latencies = []
        clock = time.perf_counter_ns
        for _ in range(count):
            number = self._next % KEYS
            self._next += 1
            began = clock()
            self._ask(self._requests[number], self._load.answers(number))
            latencies.append(clock() - began)
        return latencies

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()


@dataclass(frozen=True)
class Report:
    """What redis-benchmark says of many clients."""

    per_s: float
    p50_us: float
    p99_us: float


def throughput(address: Address, load: Load, clients: int, pipeline: int, requests: int) -> Report:
    """Many clients at once, by redis-benchmark, as its own report has it."""
    program = shutil.which("redis-benchmark")
    if program is None:
        raise CannotStart("There is no redis-benchmark: install redis-tools.")
    _connection(address).close()  # redis-benchmark would try for ever
    command = [program, "-h", address.host, "-p", str(address.port), "-c", str(clients), "-P", str(pipeline)]
    command += ["-n", str(requests), "-d", str(load.value_size), "-r", str(KEYS), "--csv", "-t"]
    command.append("get" if load.kind == "gets" else "set")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [row for row in csv.DictReader(done.stdout.splitlines()) if row.get("rps")]
    if not rows:
        said = (done.stdout + done.stderr).strip() or f"nothing, and ended with {done.returncode}"
        raise MuError(f"redis-benchmark said: {said.splitlines()[0]}")
    last = rows[-1]
    return Report(float(last["rps"]), float(last["p50_latency_ms"]) * 1000, float(last["p99_latency_ms"]) * 1000)


@contextlib.contextmanager
def plain_server(binary: str = SERVER, replicas: int = 0, options: Sequence[str] = ()) -> Iterator[Address]:
    """A redis-server without Mu, and ordinary replicas of it if wanted."""
    addresses = [Address("127.0.0.1", port) for port in free_ports(1 + replicas)]
    with contextlib.ExitStack() as stack:
        for each in addresses:
            files = stack.enter_context(PrivateDirectory("redis-plain"))
            command = [binary, "--port", str(each.port), "--bind", each.host, "--dir", str(files.path), "--save", ""]
            command += options
            if each is not addresses[0]:
                command += ["--replicaof", f"{addresses[0].host} {addresses[0].port}"]
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[files.descriptor]
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        _await(addresses[0], replicas)
        yield addresses[0]


def _await(address: Address, replicas: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            client: Any = redis.Redis(address.host, address.port)
            found = client.info("replication")
            if sum(found.get(f"slave{i}", {}).get("state") == "online" for i in range(replicas)) == replicas:
                return
        except redis.ConnectionError:
            pass
        if time.monotonic() > deadline:
            raise CannotStart(f"The plain redis-server at {address} did not start.")
        time.sleep(0.01)


@dataclass
class Measured:
    """What was seen of one server."""

    latencies_ns: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Quantiles in microseconds, and requests a second (the median round's); what was not measured is not there."""
        if self.reports:
            names = ("p50_us", "p99_us", "per_s")
            return {name: median(getattr(each, name) for each in self.reports) for name in names}
        found = {f"{name}_us": value / 1000 for name, value in quantiles(self.latencies_ns).items()}
        return {**found, "per_s": sorted(self.rates)[len(self.rates) // 2]} if self.rates else found


def measure(
    addresses: Sequence[Address],
    loads: Sequence[Load],
    *,
    count: int,
    rounds: int,
    clients: int,
    pipeline: int,
) -> list[Measured]:
    """Measures servers in turns: in each round, each of them once. With one client, its latencies; else throughput."""
    measured = [Measured() for _ in addresses]
    if clients > 1 or pipeline > 1:
        for _ in range(rounds):
            for address, load, into in zip(addresses, loads, measured, strict=True):
                into.reports.append(throughput(address, load, clients, pipeline, count // rounds))
        return measured
    with contextlib.ExitStack() as stack:
        asking = [OneClient(address, load) for address, load in zip(addresses, loads, strict=True)]
        for each in asking:
            stack.callback(each.close)
        for _ in range(rounds):
            for client, into in zip(asking, measured, strict=True):
                began = time.perf_counter_ns()
                latencies = client.run(max(1, count // rounds))
                into.latencies_ns += latencies
                into.rates.append(len(latencies) * 1e9 / (time.perf_counter_ns() - began))
    return measured


@dataclass(frozen=True)
class Failover:
    """What one took, from the leader's SIGKILL."""

    total_ns: int
    """to the first SET that succeeds, of a client that knows all the servers"""
    leads_ns: int
    """to the moment at which a redis said that it leads: elected, everything executed; to a millisecond, as it logs"""


def parts(seen: Sequence[Failover]) -> dict[str, float]:
    """The medians of the two parts of a fail-over, in microseconds."""
    return {
        "until_it_leads_us": median(each.leads_ns for each in seen) / 1000,
        "until_the_first_set_us": median(each.total_ns - each.leads_ns for each in seen) / 1000,
    }


def leads_since(log: str, began: float) -> float | None:
    """When a server said first, after `began` (seconds since the epoch), that it leads."""
    said = (datetime.strptime(text, "%d %b %Y %H:%M:%S.%f").timestamp() for text in LEADS.findall(log))
    return next((moment for moment in said if moment > began - LOG_TICK), None)


def led_at(servers: LocalRedis, victim: int, began: float) -> float:
    """When another than the victim said first, after `began`, that it leads: what it says comes a little later."""

    def first() -> float | None:
        said = [leads_since(servers.log(each), began) for each in servers.running if each != victim]
        return min((each for each in said if each is not None), default=None)

    found = servers.wait(first, START_TIMEOUT, "No server said that it leads")
    assert found is not None
    return found


def leads_and_writes(servers: LocalRedis) -> int:
    """The leader of servers that have settled, and that has just written; 0 if a busy machine has unseated it."""
    leader = servers.settle()
    return leader if _succeeds(servers.client(leader)) else 0


def failovers(servers: LocalRedis, rounds: int) -> list[Failover]:
    """Kills the leader again and again, and lets it come back."""
    taken = []
    for _ in range(rounds):
        leader = servers.wait(lambda: leads_and_writes(servers), START_TIMEOUT, "No server went on leading")
        retry = Retry(ConstantBackoff(0.001), 0)  # redis-py's own would try the dead server for seconds
        clients = [servers.connect(each, retry=retry) for each in servers.running]
        for client in clients:
            client.ping()
        server = servers.server(leader)
        began, killed_at = time.perf_counter_ns(), time.time()
        server.signal(signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT
        while not any(_succeeds(client) for client in clients):
            if time.monotonic() > deadline:
                raise NoLeader(f"No server took writes within {START_TIMEOUT:g} s of the leader's death.")
        total = time.perf_counter_ns() - began
        leads = led_at(servers, leader, killed_at) - killed_at
        taken.append(Failover(total, min(total, max(0, int(leads * 1e9)))))
        for client in clients:
            client.close()
        server.kill()  # it is dead: this tidies up
        servers.launch(leader)
    return taken


def _succeeds(client: Any) -> bool:
    try:
        client.set("after", 1)
    except redis.RedisError:
        return False
    return True


def report(replicated: Measured, baseline: Measured | None) -> dict[str, Any]:
    """The contract of `--json`."""
    found: dict[str, Any] = {"replicated": replicated.summary()}
    if baseline is not None:
        ours, theirs = found["replicated"], baseline.summary()
        ratio = {"p50": ours["p50_us"] / theirs["p50_us"], "per_s": ours["per_s"] / theirs["per_s"]}
        found |= {"baseline": theirs, "ratio": ratio}
    return found


def write_latencies(latencies_ns: Sequence[int], path: Path) -> None:
    """One latency a line, in nanoseconds."""
    path.write_text("".join(f"{each}\n" for each in latencies_ns), encoding="utf-8")


def write_histogram(latencies_ns: Sequence[int], path: Path) -> None:
    """A picture (SVG) of how often each latency came, up to the 99th percentile."""
    ordered = sorted(latencies_ns)
    low, high = ordered[0], max(ordered[int(len(ordered) * 0.99)], ordered[0] + SVG_BARS)
    bars = [0] * SVG_BARS
    for each in ordered:
        if each <= high:
            bars[min(SVG_BARS - 1, (each - low) * SVG_BARS // (high - low))] += 1
    tallest = max(bars)
    drawn = "".join(
        f'<rect x="{10 + 8 * i}" y="{180 - 160 * bar / tallest:.1f}" width="7" height="{160 * bar / tallest:.1f}"/>'
        for i, bar in enumerate(bars)
    )
    labels = f'<text x="10" y="196">{low / 1000:.1f} µs</text><text x="430" y="196">{high / 1000:.1f} µs</text>'
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 500 200" font-family="sans-serif" font-size="11">'
    title = f'<text x="10" y="14">{json.dumps(len(ordered))} requests</text>'
    path.write_text(f'{head}<g fill="#47a">{drawn}</g>{title}{labels}</svg>\n', encoding="utf-8")
