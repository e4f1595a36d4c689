"""What a mutant is: one deliberate mistake in the protocol, as an edit of its sources.

Invariant: the text that an edit replaces stands exactly once in its file. A mutant of which that is no longer true is
stale: nobody knows any more what it breaks, so the test run fails until somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CORE = ROOT / "src/core"


class Kind(Enum):
    """What a mistake costs: something wrong happens, or nothing happens any more."""

    SAFETY = "safety"
    LIVENESS = "liveness"


@dataclass(frozen=True)
class Edit:
    """In `file` (below src/core), `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A mistake: its name, the rule that it breaks (★: one that DESIGN marks so), and its edits."""

    name: str
    rule: str
    kind: Kind
    edits: tuple[Edit, ...]

    @property
    def files(self) -> list[str]:
        """The files that it changes, each once."""
        return list(dict.fromkeys(edit.file for edit in self.edits))


def safety(name: str, rule: str, *edits: Edit) -> Mutant:
    """A mistake that lets something wrong happen."""
    return Mutant(name, rule, Kind.SAFETY, edits)


def liveness(name: str, rule: str, *edits: Edit) -> Mutant:
    """A mistake by which nothing happens any more."""
    return Mutant(name, rule, Kind.LIVENESS, edits)


def mutated(edits: Iterable[Edit], file: str, text: str) -> str:
    """The text of `file` with the edits that are meant for it; a ValueError if one of them is stale."""
    for edit in edits:
        if edit.file == file:
            count = text.count(edit.old)
            if count != 1 or edit.old == edit.new:
                raise ValueError(f"stale: in src/core/{file} this stands {count} times, not once:\n{edit.old}")
            text = text.replace(edit.old, edit.new)
    return text
