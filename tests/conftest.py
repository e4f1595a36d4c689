"""What every test may rely on, and which tests are for which machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Tests that need more than any machine has: the variable that says it is there (./dev vm sets it) -> where they stand.
ELSEWHERE = {
    "MU_GUEST": ["vm/inside", "verbs"],  # the guest: several hosts, soft RDMA devices
    "MU_VM": ["vm/outside"],  # what boots a guest
}
# Whoever starts the tests may have them ignore signals (nohup, or a shell in the background), and what they start would
# inherit that. It does not inherit a handler: so it hears what it is sent, and the tests still do not.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

collect_ignore = [place for variable, places in ELSEWHERE.items() if variable not in os.environ for place in places]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return ROOT
