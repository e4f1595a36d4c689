"""The command line, `mu`. Each sub-command is a small file; what it does is in `mu.bench`, `mu.testing`, `mu.fabric`.

Invariant: a mistake of the user ends with one line on stderr and exit code 2, a result that does not hold with 1.
"""

from __future__ import annotations

import sys

from mu.cli.app import app
from mu.cli.show import errors
from mu.errors import MuError

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line: the entry point `mu`."""
    try:
        app()
    except MuError as error:
        errors.print(f"mu: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
