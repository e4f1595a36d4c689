"""Timeouts as people give them, in the nanoseconds that the core takes."""

from __future__ import annotations

from typing import Final

from mu.errors import ConfigError

LONGEST: Final = 1e9  # seconds: thirty years, and far from what 64 bits of nanoseconds hold


def nanoseconds(timeout: float) -> int:
    """Of so many seconds.

    Raises:
        ConfigError: it is no number from 0 on.
    """
    try:
        good = 0 <= timeout <= LONGEST
    except TypeError:
        good = False
    if not good:
        raise ConfigError(f"timeout: {timeout!r} should be a number of seconds, from 0 to {LONGEST:.0f}.")
    return int(timeout * 1e9)
