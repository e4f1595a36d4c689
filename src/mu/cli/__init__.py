"""The command line, `mu`. Each sub-command is a small file; what it does is in `mu.bench`, `mu.testing`, `mu.fabric`.

Invariant: a mistake of the user ends with one line on stderr and exit code 2, a result that does not hold with 1.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from mu.cli.app import app
from mu.cli.show import errors
from mu.errors import MuError

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line: the entry point `mu`."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else somebody (nohup) has chosen
            signal.signal(number, _end)
    try:
        app()
    except MuError as error:
        errors.print(f"mu: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _end(number: int, _: FrameType | None) -> None:
    """What a cluster here has left is removed on the way out, as after Ctrl-C."""
    sys.exit(128 + number)
