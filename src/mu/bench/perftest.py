"""What perftest's `ib_write_lat` says of the same devices: somebody else's figure, beside ours.

Invariant: both of its processes have ended when the function returns.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from typing import Final

PROGRAM: Final = "ib_write_lat"
LIMIT: Final = 60.0  # seconds for the whole measurement
ROUND_TRIPS: Final = 1000
TYPICAL: Final = 4  # the column of its table that holds the typical latency, in microseconds


def write_latency_us(server: str, client: str, gid_index: int, size: int) -> float | None:
    """The typical latency of one write (half of a round trip) in µs; None if the program is not here, or fails.

    Args:
        server: the device that is written to.
        client: the device that writes.
        gid_index: of both.
        size: bytes of a write.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    common = [program, "-F", "-x", str(gid_index), "-s", str(size), "-n", str(ROUND_TRIPS), "-p", str(port)]
    waiting = subprocess.Popen([*common, "-d", server], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return _typical(_asked([*common, "-d", client, "127.0.0.1"]), size)
    finally:
        with contextlib.suppress(ProcessLookupError):
            waiting.kill()
        waiting.wait()


def _asked(command: list[str]) -> str:
    """What the client prints; it is started again while the server does not listen yet."""
    for _ in range(20):
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return ""
        if done.returncode == 0:
            return done.stdout
    return ""


def _typical(table: str, size: int) -> float | None:
    for line in table.splitlines():
        columns = line.split()
        if len(columns) > TYPICAL and columns[0] == str(size):
            with contextlib.suppress(ValueError):
                return float(columns[TYPICAL])
    return None
