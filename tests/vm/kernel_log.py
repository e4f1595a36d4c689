"""What in a kernel's log says that the kernel itself is in trouble.

A soft device that corrupts the kernel still moves bytes for a while, so tests may pass on a broken machine: the
log is looked at after every run, whatever its script said.
"""

from __future__ import annotations

import re

LEVEL = re.compile(r"^<\d+>")
TROUBLE = re.compile(
    r"\b(?:WARNING|BUG|Oops|UBSAN|K[A-Z]+SAN|KFENCE|Call Trace|Kernel panic)\b"
    r"|refcount_t|general protection fault|Out of memory|page allocation failure|blocked for more than \d+ seconds"
    r"|\blockdep\b|possible (?:circular|recursive) locking|inconsistent lock state|suspicious RCU usage"
)


def findings(log: str) -> list[str]:
    """The lines of a kernel's log that no healthy run has, without their levels."""
    lines = (LEVEL.sub("", line).rstrip() for line in log.splitlines())
    return [line for line in lines if TROUBLE.search(line)]
