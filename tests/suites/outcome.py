"""What a suite said of each of its tests."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """One run of one suite against one server."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """name -> what was said"""
    skipped: int = 0
    """by the suite itself: not for an external server, not for this version"""
    broken: str = ""
    """the suite did not come to its end: what it said last"""
    seconds: float = 0.0

    def beyond(self, plain: Outcome) -> dict[str, str]:
        """What failed here and not on a plain server."""
        return {name: said for name, said in self.failed.items() if name not in plain.failed}

    def missing(self, plain: Outcome) -> set[str]:
        """What was run on a plain server, and not here."""
        return (plain.passed | plain.failed.keys()) - self.passed - self.failed.keys()
