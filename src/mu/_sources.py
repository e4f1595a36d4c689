"""Where configuration comes from: a TOML file and variables, read into plain values with clear errors.

Invariant: a value leaves this file in the type that its key has, or not at all.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mu.errors import ConfigError

# As the paper's artifact names them; our own names win.
ARTIFACT_NAMES = {"IDS": "replicas", "DORY_REGISTRY_IP": "registry"}


def suggestion(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, as the end of a message."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def refuse_unknown(given: Iterable[str], known: list[str], kind: str) -> None:
    """Raises for a key that does not exist."""
    for key in given:
        if key not in known:
            hint = suggestion(key, known) or f" Known are {', '.join(known)}."
            raise ConfigError(f"There is no {kind} {key!r}.{hint}")


def from_file(source: object, known: list[str]) -> dict[str, Any]:
    """The keys of a TOML file."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigError(f"cluster: {source!r} names no file; give a path, a Cluster, or None for the defaults.")
    path = Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    try:
        refuse_unknown(values, known, "key")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return values


def from_environment(environment: Mapping[str, str], types: Mapping[str, type]) -> dict[str, Any]:
    """The keys that variables set: the artifact's names first, then MU_<KEY>."""
    values: dict[str, Any] = {}
    for name, key in ARTIFACT_NAMES.items():
        if environment.get(name):
            values[key] = _typed(name, environment[name], types[key])
    for key, kind in types.items():
        name = f"MU_{key.upper()}"
        if environment.get(name):
            values[key] = _typed(name, environment[name], kind)
    return values


def _typed(name: str, text: str, kind: type) -> Any:
    if kind is int:
        return number(name, text)
    if kind is tuple:
        return tuple(number(name, each) for each in text.split(",") if each.strip())
    return text


def number(name: str, text: str) -> int:
    """A whole number; `1_000` and `0x10` are understood."""
    try:
        return int(text.strip(), 0)
    except ValueError:
        raise ConfigError(f"{name}={text!r} should be a whole number.") from None
