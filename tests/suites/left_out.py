"""What of the outside suites is not asked of a replicated redis, and why; all of it is shown at each run.

Invariant: every entry names a test that exists, and has its reason: what Mu refuses, docs/redis.md says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Names of Redis's own tests, or /expressions for them.
TCL: Final[Mapping[str, str]] = {
    "/DEBUG RELOAD": "DEBUG RELOAD replaces data behind the log",
    "Test LPUSH and LPOP on plain nodes": "DEBUG RELOAD",
    "/SRANDMEMBER with a dict containing long chain": "wants a server of its own, and without leaves saves hanging",
}

# Node ids of redis-py's.
PY: Final[Mapping[str, str]] = {
    "tests/test_commands.py::TestRedisCommands::test_replicaof": "REPLICAOF: the log decides whom a server follows",
}
