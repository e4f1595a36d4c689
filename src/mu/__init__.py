"""Mu: a deterministic program survives crashes, at about a microsecond a request.

    with mu.Replica.open("cluster.toml", replica_id=1, state_machine=mu.Counter()) as replica:
        replica.wait_until_leader(timeout=5)
        replica.execute(b"+1")

`Replica` is a replica in this process, `LocalCluster` three of them in processes of their own (for tests and
trials), `StateMachine` what you write, `Cluster` what you configure; errors all stand in one tree, `mu.errors`.
"""

from mu.cluster import Cluster
from mu.errors import (
    Busy,
    CannotStart,
    Closed,
    CommandFailed,
    ConfigError,
    IdInUse,
    Indeterminate,
    InDoubt,
    LogFull,
    MuError,
    NoLeader,
    NoMajority,
    NoMemory,
    NoSpace,
    NotLeader,
    NotProposed,
    OtherCluster,
    PermissionRefused,
    ReplicaDown,
    SessionExpired,
    SimViolation,
    TooLarge,
    UnknownReplica,
)
from mu.replica import Replica
from mu.session import Session
from mu.state_machine import Counter, StateMachine
from mu.status import Status
from mu.testing import LocalCluster

__all__ = [
    "Busy",
    "CannotStart",
    "Closed",
    "Cluster",
    "CommandFailed",
    "ConfigError",
    "Counter",
    "IdInUse",
    "InDoubt",
    "Indeterminate",
    "LocalCluster",
    "LogFull",
    "MuError",
    "NoLeader",
    "NoMajority",
    "NoMemory",
    "NoSpace",
    "NotLeader",
    "NotProposed",
    "OtherCluster",
    "PermissionRefused",
    "Replica",
    "ReplicaDown",
    "Session",
    "SessionExpired",
    "SimViolation",
    "StateMachine",
    "Status",
    "TooLarge",
    "UnknownReplica",
]

__version__ = "0.1.0"
