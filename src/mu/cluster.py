"""What a person chooses about a cluster: one frozen description, validated once, at the edge.

Sources, each overriding the one before: the defaults, a TOML file, `MU_*` variables (and `IDS`, `SID`,
`DORY_REGISTRY_IP` as the paper's artifact understands them), keyword arguments or flags.

Invariant: a `Cluster` that exists is valid; nothing below this file checks configuration again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mu import _sources
from mu.errors import ConfigError, UnknownReplica

log = logging.getLogger("mu")

LARGEST_ID: Final = 15  # ids index fixed tables in shared memory
SMALLEST_LOG: Final = 64 * 1024  # bytes: some slots of a page each
LARGEST_LOG: Final = 1024**3
FABRICS: Final = ("shm", "verbs")
RDMA_MTUS: Final = (0, 256, 512, 1024, 2048, 4096)
CORES: Final = ("auto", "shared", "dedicated")
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
LARGEST_TUNING: Final = 10**17  # ns: three years; tuning.cpp has it, too
THREADS_PER_REPLICA: Final = 2  # the two planes; each spins on a core of its own if cores are dedicated


@dataclass(frozen=True, kw_only=True, slots=True)
class RdmaPort:
    """A port of an RDMA device, and how it is used: what the keys `rdma_…` say for one replica."""

    device: str = ""
    port: int = 0
    gid_index: int = -1
    mtu: int = 0  # bytes


ANY_PORT: Final = RdmaPort()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster's description, the same for all of its replicas.

    The file is TOML; every key is optional:

        name = "orders"             # one word; names the segments
        secret = "…"                # with the name, makes the key that shuts others out
        replicas = [1, 2, 3]        # ids, 1 … 15, never reused; an odd number of them
        fabric = "shm"              # how replicas reach each other's memory
        directory = "/dev/shm"      # where segments live; a memory file system
        log_bytes = 1048576         # the log's ring: a power of two, 64 KiB … 1 GiB
        cores = "auto"              # shared: wait sparingly; dedicated: spin; auto: as the machine allows
        commit_idle_us = 100        # after so long without a proposal tell the followers what is decided; 0: never
        stall_limit_ms = 500        # a follower that holds up the log for longer is dropped, and rejoins
        max_sessions = 10000        # clients that the cluster remembers
        timeout_ms = 1000           # of a call that names none
        fifo = "/run/mu-{id}.fifo"  # a pipe: the letter p pauses the replica, c continues it; "": none
        registry = "10.0.0.1"       # address of the registry, where replicas on several hosts find each other
        rdma_device = ""            # verbs: as `mu fabrics` names it; {id} is the replica's; "": the first active one
        rdma_port = 0               # verbs: of the device; 0: the first active one
        rdma_gid_index = -1         # verbs: which address of the port; -1: RoCE v2 over IPv4 if there is one
        rdma_mtu = 0                # verbs: bytes; 0: what is active

        [tuning]                    # settings of the core, in nanoseconds or as counts; rarely needed
        heartbeat_period = 2000000

    Each key is also a variable: `MU_NAME`, `MU_REPLICAS=1,2,3`, `MU_LOG_BYTES`, … ; `MU_CLUSTER` is the file.
    """

    name: str = "mu"
    secret: str = field(default="", repr=False)
    replicas: tuple[int, ...] = (1, 2, 3)
    fabric: str = "shm"
    directory: str = "/dev/shm"  # segments are private files
    log_bytes: int = 1024 * 1024
    cores: str = "auto"
    commit_idle_us: int = 100
    stall_limit_ms: int = 500
    max_sessions: int = 10_000
    timeout_ms: int = 1000
    fifo: str = ""
    registry: str = ""
    rdma_device: str = ""
    rdma_port: int = 0
    rdma_gid_index: int = -1
    rdma_mtu: int = 0
    tuning: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Validates. The only mutation is to make sequences of ids tuples."""
        for each in dataclasses.fields(self):
            self._check_type(each.name, getattr(self, each.name), each.default)
        object.__setattr__(self, "replicas", tuple(self.replicas))
        self._check_members()
        self._check_sizes()
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"name: {self.name!r} must be up to 64 letters (a to z), digits, '-' and '_'.")
        if not self.directory or "\0" in self.directory:
            raise ConfigError(f"directory: {self.directory!r} names no directory; the default is /dev/shm.")
        for key in ("fifo", "registry", "rdma_device"):
            if "\0" in (text := getattr(self, key)):
                raise ConfigError(f"{key}: {text!r} holds a zero byte, where the system's names end.")
        if any(0xD800 <= ord(each) <= 0xDFFF for each in self.secret):
            raise ConfigError("secret: it holds what is no text (half of a surrogate pair); spell it anew.")
        _one_of("fabric", self.fabric, FABRICS)
        _one_of("cores", self.cores, CORES)
        self._check_rdma()

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | Cluster | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        **overrides: Any,
    ) -> Cluster:
        """Puts the sources together.

        Args:
            source: a TOML file; None for `$MU_CLUSTER`, or the defaults if that is unset; a Cluster is taken as it
                is (variables do not touch what a program has built), but for the overrides.
            environment: the variables; None for those of this process.
            overrides: keys of the file; None stands for "not given".

        Raises:
            ConfigError: an unreadable file, an unknown key, a bad value.
        """
        overrides = {key: value for key, value in overrides.items() if value is not None}
        _sources.refuse_unknown(overrides, cls.keys(), "argument")
        if isinstance(source, Cluster):
            return dataclasses.replace(source, **overrides)
        environment = os.environ if environment is None else environment
        path = environment.get("MU_CLUSTER") or None if source is None else source
        values = {} if path is None else _sources.from_file(path, cls.keys())
        return cls(**{**values, **_sources.from_environment(environment, cls._types()), **overrides})

    def anchored(self) -> Cluster:
        """The same with absolute paths: what is open stays where it is if the program changes its directory."""
        directory, fifo = (path and str(Path(path).absolute()) for path in (self.directory, self.fifo))
        if (directory, fifo) == (self.directory, self.fifo):
            return self
        return dataclasses.replace(self, directory=directory, fifo=fifo)

    @classmethod
    def keys(cls) -> list[str]:
        """The keys of the file."""
        return [each.name for each in dataclasses.fields(cls)]

    @classmethod
    def _types(cls) -> dict[str, type]:
        return {each.name: type(each.default) for each in dataclasses.fields(cls) if each.name != "tuning"}

    @property
    def cluster_key(self) -> int:
        """64 bits that stamp every slot. Replicas of another name or secret have another one.

        So have those with another `max_sessions`, which would answer a client's retry otherwise than the rest.
        """
        text = f"{self.name}\0{self.secret}\0{self.max_sessions}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")

    @property
    def majority(self) -> int:
        """How many replicas have to agree."""
        return len(self.replicas) // 2 + 1

    @property
    def chosen_cores(self) -> str:
        """`cores`, with "auto" decided: dedicated only if every plane here, and the program, can have its own."""
        if self.cores != "auto":
            return self.cores
        wanted = THREADS_PER_REPLICA * len(self.replicas) + 1
        return "dedicated" if len(os.sched_getaffinity(0)) >= wanted else "shared"

    def rdma_port_of(self, replica_id: int) -> RdmaPort:
        """The RDMA port of one of the replicas."""
        return RdmaPort(
            device=self.rdma_device.replace("{id}", str(self.require_member(replica_id))),
            port=self.rdma_port,
            gid_index=self.rdma_gid_index,
            mtu=self.rdma_mtu,
        )

    def require_member(self, replica_id: int) -> int:
        """Returns the id, or raises UnknownReplica."""
        if not is_whole(replica_id):
            raise ConfigError(f"replica_id: {replica_id!r} should be a whole number, one of {list(self.replicas)}.")
        if replica_id not in self.replicas:
            raise UnknownReplica(replica_id, self.replicas)
        return replica_id

    def _check_type(self, key: str, value: object, default: object) -> None:
        if key == "replicas":
            good = isinstance(value, list | tuple) and all(is_whole(each) for each in value)
            wanted = "a list of ids, as in [1, 2, 3]"
        elif key == "tuning":
            good = isinstance(value, Mapping) and all(
                isinstance(name, str) and is_whole(each) for name, each in value.items()
            )
            wanted = "a table of whole numbers"
        elif isinstance(default, int):
            good, wanted = is_whole(value), "a whole number"
        else:
            good, wanted = isinstance(value, str), "a text"
        if not good:
            raise ConfigError(f"{key}: {value!r} should be {wanted}.")

    def _check_members(self) -> None:
        ids = self.replicas
        if not ids:
            raise ConfigError("replicas: the membership is empty; name at least one id, as in [1, 2, 3].")
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ConfigError(f"replicas: {_spelled(twice)} stands there more than once; ids must differ.")
        outside = [each for each in ids if not 1 <= each <= LARGEST_ID]
        if outside:
            raise ConfigError(f"replicas: {_spelled(outside)} is outside 1…{LARGEST_ID}.")
        if len(ids) % 2 == 0:
            log.warning(
                "%d replicas survive no more failures than %d would: an odd number is better", len(ids), len(ids) - 1
            )

    def _check_sizes(self) -> None:
        if not SMALLEST_LOG <= self.log_bytes <= LARGEST_LOG or self.log_bytes & (self.log_bytes - 1):
            raise ConfigError(
                f"log_bytes: {self.log_bytes} must be a power of two from {SMALLEST_LOG} to {LARGEST_LOG}."
            )
        for key, least in {"commit_idle_us": 0, "stall_limit_ms": 1, "max_sessions": 1, "timeout_ms": 1}.items():
            if not least <= getattr(self, key) < 2**31:
                raise ConfigError(f"{key}: {getattr(self, key)} must be at least {least} and below 2³¹.")

        for name, value in self.tuning.items():
            if not 0 <= value <= LARGEST_TUNING:
                raise ConfigError(f"tuning: {name} = {value} must be from 0 to {LARGEST_TUNING}.")

    def _check_rdma(self) -> None:
        if self.rdma_mtu not in RDMA_MTUS:
            raise ConfigError(f"rdma_mtu: {self.rdma_mtu} is not one of {', '.join(map(str, RDMA_MTUS))}.")
        for key, least in {"rdma_port": 0, "rdma_gid_index": -1}.items():
            if not least <= getattr(self, key) < 256:
                raise ConfigError(f"{key}: {getattr(self, key)} must be at least {least} and below 256.")


def replica_id_from(environment: Mapping[str, str] | None = None) -> int | None:
    """This replica's id from `MU_REPLICA_ID` or, as the artifact names it, `SID`; None if neither is set."""
    environment = os.environ if environment is None else environment
    for name in ("MU_REPLICA_ID", "SID"):
        if environment.get(name):
            return int(_sources.number(name, environment[name]))
    return None


def is_whole(value: object) -> bool:
    """Whether it is a number of type int; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _spelled(ids: list[int]) -> str:
    return ", ".join(map(str, ids))


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        hint = _sources.suggestion(value, allowed)
        raise ConfigError(f"{key}: {value!r} is not one of {', '.join(allowed)}.{hint}")
