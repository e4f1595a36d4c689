"""The native core. Private: use `mu.Replica` and the other public names."""

from collections.abc import Callable, Sequence
from typing import Any

class Node:
    """One replica of one cluster in this process: the protocol, its planes' threads and the fabric.

    Every call releases the GIL around whatever can block. Errors are raised as `mu.errors` classes:
    ConfigError, IdInUse, NoSpace, PermissionRefused, OtherCluster (construction); NotLeader(leader), NoMajority,
    Indeterminate, LogFull, TooLarge, SessionExpired, CommandFailed, Closed (calls).
    """

    def __init__(
        self,
        *,
        fabric: str,  # "shm"
        cluster: str,
        cluster_key: int,  # 64 bits
        replica_id: int,
        members: Sequence[int],
        directory: str,  # where segments live
        log_bytes: int,  # a power of two
        cores: str,  # "shared" | "dedicated"
        commit_idle_us: int,  # 0: off
        stall_limit_ms: int,
        max_sessions: int,
        overrides: dict[str, int],  # any Settings field by its C++ name, in ns (tests and tuning)
        state_machine: object | None,  # apply/snapshot/restore; None: a native one that only counts and hashes
    ) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...
    # client/number: a session's request (0, 0: none). Timeouts in ns; on expiry Indeterminate or NoMajority.
    def execute(self, command: bytes, timeout_ns: int, client: int = 0, number: int = 0) -> bytes: ...
    def execute_many(self, commands: Sequence[bytes], timeout_ns: int) -> list[bytes]: ...
    def propose(self, command: bytes, timeout_ns: int) -> int: ...
    def propose_many(self, commands: Sequence[bytes], timeout_ns: int) -> int: ...
    def read(self, function: Callable[[], Any], timeout_ns: int) -> Any: ...
    def wait_until_leading(self, timeout_ns: int) -> bool: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def notice(self) -> str: ...  # what start-up cleaned up; "" if nothing
    def status(self) -> dict[str, Any]:
        """How this replica is, at one moment; `mu.Status` names the same values.

        Keys: replica_id, incarnation, role ("leader" | "follower" | "candidate" | "joining" | "forming"), leader (id
        or 0), proposal, applied, fuo, decided, chain_end, log_bytes, max_command, admitted (bool), eligible (bool),
        paused (bool), scores {id: 0..15}, alive [ids], confirmed [ids], members [ids], takeovers, aborts,
        commands_applied, digest (native state machine only), took_over_us (request to sealed, of the last takeover),
        failure (why it stopped by itself, or ""), pid.
        """

    # Benchmarks run inside the leader, natively. Results in nanoseconds.
    def bench_latency(self, payload: int, outstanding: int, count: int) -> list[int]: ...
    def bench_floor(self, payload: int, count: int) -> list[int]: ...
    def bench_throughput(self, payload: int, batch: int, outstanding: int, count: int) -> tuple[int, list[int]]: ...

def clean(directory: str, cluster: str) -> list[str]:
    """Remove what dead replicas left behind (cluster "" = all); return a line for each thing removed."""

def peek(directory: str, cluster: str, replica_id: int) -> dict[str, Any] | None:
    """Read a live replica's published cells from outside (for `mu status`); None if there is no such segment.

    Keys: replica_id, incarnation, pid, alive (bool), heartbeat, admitted (bool), eligible (bool), leader, leading
    (bool), applied, fuo, chain_end, paused (bool), members.
    """

def ask_pause(directory: str, cluster: str, replica_id: int, paused: bool) -> bool:
    """Ask a live replica on this machine to stop (or resume) its heartbeat; False if there is none."""

def max_command(log_bytes: int) -> int: ...
