"""What of the outside suites is not asked of a replicated redis, and why; all of it is shown at each run.

Invariant: every entry names a test that exists, and has its reason: what Mu refuses, docs/redis.md says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Names of Redis's own tests, or /expressions for them.
TCL: Final[Mapping[str, str]] = {
    "/(?i)DEBUG RELOAD": "DEBUG RELOAD replaces data behind the log",
    "Test LPUSH and LPOP on plain nodes": "DEBUG RELOAD",
    "BGSAVE": "DEBUG RELOAD",
    "/^Check consistency of different data types after a reload": "DEBUG RELOAD",
    "/^FUNCTION - (test loading|function stats reloaded correctly) from rdb": "DEBUG RELOAD",
    "/^X(ADD|TRIM) with .* can propagate correctly": "DEBUG LOADAOF replaces data behind the log",
    "XREADGROUP with NOACK creates consumer": "DEBUG LOADAOF",
    "/after loadaof$": "DEBUG LOADAOF",
    "/^EXPIRES after (a|AOF) reload": "DEBUG LOADAOF",
    "/rewrite into AOF": "BGREWRITEAOF: the file stays empty",
    "Consumer without PEL is present in AOF after AOFRW": "BGREWRITEAOF",
    "Same dataset digest if saving/reloading as AOF?": "BGREWRITEAOF",
    "MULTI / EXEC with REPLICAOF": "REPLICAOF: the log decides whom a server follows",
    "exec with read commands and stale replica state change": "REPLICAOF",
    "CLUSTER RESET can not be invoke from within a script": "CLUSTER is refused before redis asks where it comes from",
    "LIBRARIES - redis.set_repl from function load": "redis.set_repl is refused before the library is compiled",
    "SLOWLOG - Certain commands are omitted that contain sensitive information": "CONFIG SET masterauth is refused",
    "/^Dumping an RDB": "DEBUG POPULATE goes around the log",
    "Connecting as a replica": "CONFIG SET repl-diskless-sync is refused",
    "CONFIG sanity": "sets every setting anew, those too on which replication stands",
    "CONFIG SET with multiple args": "CONFIG SET of settings on which replication stands",
    "/SRANDMEMBER with a dict containing long chain": "wants a server of its own, and without leaves saves hanging",
}

# Node ids of redis-py's.
PY: Final[Mapping[str, str]] = {
    "tests/test_commands.py::TestRedisCommands::test_replicaof": "REPLICAOF: the log decides whom a server follows",
}
