"""What of the outside suites is not asked of a replicated redis, and why; all of it is shown at each run.

Invariant: every entry names a test that exists, and has its reason: what Mu refuses, docs/redis.md says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RELOAD: Final = "DEBUG RELOAD replaces data behind the log"
LOADAOF: Final = "DEBUG LOADAOF replaces data behind the log"
REWRITE: Final = "BGREWRITEAOF is refused: the file stays empty"
MASTERAUTH: Final = "CONFIG SET masterauth is refused: the servers use it among themselves"
REPLICAOF: Final = "REPLICAOF is refused: the log decides whom a server follows"
FOLLOWERS: Final = "CONFIG SET min-replicas-to-write is refused: redis does not see who follows"
PAUSE: Final = "CLIENT PAUSE is refused: it would stop replication, too"

# Names of Redis's own tests, or /expressions for them.
TCL: Final[Mapping[str, str]] = {
    "/(?i)DEBUG RELOAD": RELOAD,
    "Test LPUSH and LPOP on plain nodes": RELOAD,
    "BGSAVE": RELOAD,
    "/^Check consistency of different data types after a reload": RELOAD,
    "/^FUNCTION - (test loading|function stats reloaded correctly) from rdb": RELOAD,
    "/^X(ADD|TRIM) with .* can propagate correctly": LOADAOF,
    "XREADGROUP with NOACK creates consumer": LOADAOF,
    "/after loadaof$": LOADAOF,
    "/^EXPIRES after (a|AOF) reload": LOADAOF,
    "/rewrite into AOF": REWRITE,
    "Consumer without PEL is present in AOF after AOFRW": REWRITE,
    "Same dataset digest if saving/reloading as AOF?": REWRITE,
    "MULTI / EXEC with REPLICAOF": REPLICAOF,
    "exec with read commands and stale replica state change": REPLICAOF,
    "exec with write commands and state change": FOLLOWERS,
    "not enough good replicas": FOLLOWERS,
    "CLUSTER RESET can not be invoke from within a script": "CLUSTER is refused before redis asks where it comes from",
    "LIBRARIES - redis.set_repl from function load": "redis.set_repl is refused before the library is compiled",
    "SLOWLOG - Certain commands are omitted that contain sensitive information": MASTERAUTH,
    "/^Test .*(client pause|paused by RO|blocked by pause RO)": PAUSE,
    "/^Test (multiple clients can be queued up|clients with syntax errors)": PAUSE,
    "/^Dumping an RDB": "DEBUG POPULATE goes around the log",
    "Connecting as a replica": "CONFIG SET repl-diskless-sync is refused: replication stands on it",
    "CONFIG sanity": "sets every setting anew, those too on which replication stands",
    "CONFIG SET with multiple args": "CONFIG SET save is refused: replication stands on it",
    "/SRANDMEMBER with a dict containing long chain": "kills a save of a server of its own; on another one that hangs",
}

# Node ids of redis-py's.
PY: Final[Mapping[str, str]] = {
    "tests/test_commands.py::TestRedisCommands::test_replicaof": REPLICAOF,
    "tests/test_commands.py::TestRedisCommands::test_client_pause": PAUSE,
    "tests/test_commands.py::TestRedisCommands::test_client_pause_all": PAUSE,
}
