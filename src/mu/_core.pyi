"""The native core. Private: use `mu.Replica` and the other public names."""

from collections.abc import Callable, Sequence
from typing import Any

class Node:
    """One replica of one cluster in this process: the protocol, its planes' threads and the fabric.

    Every call releases the GIL around whatever can block. Errors are raised as `mu.errors` classes:
    ConfigError, IdInUse, NoSpace, PermissionRefused, OtherCluster (construction); NotLeader(leader), NoMajority,
    Indeterminate, LogFull, TooLarge, Busy, NoMemory, SessionExpired, CommandFailed, Closed (calls).
    """

    def __init__(
        self,
        *,
        fabric: str,  # "shm" | "verbs"
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
        registry: str,  # "host" or "host:port"; "": none
        rdma_device: str,  # "": the first with an active port
        rdma_port: int,  # 0: the first active one
        rdma_gid_index: int,  # -1: RoCE v2 over IPv4 if there is one
        rdma_mtu: int,  # bytes; 0: the active one
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
        propose_p50_ns and propose_p99_ns (of recent proposals here, a sample; 0: none was timed), failure (why it
        stopped by itself, or ""), pid.
        """

    # Benchmarks run inside the leader, natively. Results in nanoseconds.
    def bench_latency(self, payload: int, outstanding: int, count: int) -> list[int]: ...
    def bench_floor(self, payload: int, count: int) -> list[int]: ...
    def bench_throughput(self, payload: int, batch: int, outstanding: int, count: int) -> tuple[int, list[int]]: ...

class Walk:
    """A whole cluster in one thread, over the sim fabric: a random walk, or by hand. One seed decides everything."""

    def __init__(
        self,
        *,
        seed: int,  # 64 bits
        steps: int,  # of run(); 0: as the seed says
        replicas: int,  # 0: as the seed says
        log_bytes: int,  # 0: as the seed says
        state_machine: Callable[[], object] | None,  # makes one for each life; None: commands are numbers only
    ) -> None: ...
    # False: something must not have happened; report() says what.
    def run(self) -> bool: ...
    def storm(self, steps: int) -> bool: ...
    def calm(self, rounds: int) -> bool: ...
    def conclude(self) -> bool: ...
    def crash(self, replica_id: int, reported: bool) -> None: ...
    def restart(self, replica_id: int) -> None: ...
    def cut(self, sender: int, receiver: int) -> None: ...
    def heal(self, sender: int, receiver: int) -> None: ...
    def heal_everything(self) -> None: ...
    def freeze(self, replica_id: int, frozen: bool) -> None: ...
    def pause(self, replica_id: int, paused: bool) -> None: ...
    def propose(self, replica_id: int, command: bytes) -> int: ...  # the command's number; 0: not proposed, see why()
    def why(self) -> str: ...
    def propose_in_storms(self, command: bytes) -> None: ...
    def fate(self, number: int) -> str: ...  # "open" | "acknowledged" | "indeterminate"
    def reply(self, replica_id: int, number: int) -> tuple[bool, bytes] | None: ...  # None: not executed there
    def read(self, replica_id: int) -> bool | None: ...  # True: read now. False: not here. None: ask again
    def leader(self) -> int: ...
    def alive(self, replica_id: int) -> bool: ...
    def machine(self, replica_id: int) -> Any: ...
    def replica(self, replica_id: int) -> dict[str, Any]: ...
    def report(self) -> dict[str, Any]: ...

def clean(directory: str, cluster: str) -> list[str]:
    """Remove what dead replicas left behind (cluster "" = all); return a line for each thing removed."""

def peek(directory: str, cluster: str, replica_id: int) -> dict[str, Any] | None:
    """Read a live replica's published cells from outside (for `mu status`); None if there is no such segment.

    Keys: replica_id, incarnation, pid, alive (bool), heartbeat, admitted (bool), eligible (bool), leader, leading
    (bool), applied, fuo, chain_end, paused (bool), propose_p50_ns, propose_p99_ns (both at most a second old), members.
    """

def ask_pause(directory: str, cluster: str, replica_id: int, paused: bool) -> bool:
    """Ask a live replica on this machine to stop (or resume) its heartbeat; False if there is none."""

def max_command(log_bytes: int) -> int: ...
def look_for_verbs(device: str = "", port: int = 0, gid_index: int = -1, mtu: int = 0) -> dict[str, Any]:
    """RDMA ports here (device, port, state, gid, gid_index, active_mtu, soft), and the problem, if none can be used."""

def measure_permission(
    device: str, port: int, gid_index: int, mtu: int, log_bytes: int, rounds: int
) -> dict[str, list[int]]:
    """How long changes of a permission take, in ns: "flags", "restart", "replace", "register"."""
