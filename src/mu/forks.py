"""Children of fork(): what a child finds of its parent's replicas, servers and files is not its own.

The threads that serve them are not there, locks may be held by threads that never let go, and what would be ended or
removed is in use. Invariant: whoever keeps an Owner ends, removes and tells nothing in another process than its own.
"""

from __future__ import annotations

import os

from mu.errors import Closed


class Owner:
    """The process in which something was made."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether it is this one: else this one is a child of fork()."""
        return os.getpid() == self._pid

    def require(self, what: str) -> None:
        """Refuses a child's call of something, `what`.

        Raises:
            Closed: this process is a child of fork().
        """
        if not self.is_here:
            raise Closed(f"This process is a child of fork(), and the {what} is its parent's")
