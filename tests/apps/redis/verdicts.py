"""What a storm's clients were told, what the servers hold at its end, and whether the two agree.

A client's transaction appends a number to a list of the client's own and counts in common, so its reply says where the
number stands and how many transactions there were. Invariant: each verdict is a list of findings, empty if all is well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Transaction:
    """One that was acknowledged."""

    number: int
    """what it appended; a client's numbers grow, and one in doubt is never used again"""
    length: int
    """of the list, as the reply said"""
    count: int
    """of all transactions, as the reply said"""
    called: int
    returned: int
    """when, in ns"""


@dataclass(frozen=True)
class Ending:
    """What the servers hold when all is quiet again."""

    lists: Sequence[Sequence[int]]
    count: int
    digests: Mapping[int, str]


def of_lists(acknowledged: Sequence[Sequence[Transaction]], ending: Ending) -> list[str]:
    """All that was acknowledged is there, once, in order, where its reply said; and a transaction is there whole."""
    findings = []
    for client, (told, found) in enumerate(zip(acknowledged, ending.lists, strict=True)):
        if [*found] != sorted(set(found)):
            findings.append(f"client {client}: doubled, or out of order: {found}")
        if lost := {each.number for each in told} - set(found):
            findings.append(f"client {client}: lost: {sorted(lost)}")
        misplaced = [each for each in told if each.number not in found[each.length - 1 : each.length]]
        findings += [
            f"client {client}: {each.number} is not the element {each.length} of its list" for each in misplaced
        ]
    if (total := sum(map(len, ending.lists))) != ending.count:
        findings.append(f"{ending.count} transactions were counted, and {total} numbers appended")
    return findings


def of_counts(acknowledged: Sequence[Sequence[Transaction]], ending: Ending) -> list[str]:
    """The counter's replies are those of one counter: each once, none beyond its end, and none before an earlier one's.

    That is linearizability, which is cheap to tell of a counter that goes up by one and tells each of its values.
    """
    findings = []
    latest_call, last = 0, 0
    for each in sorted(chain(*acknowledged), key=lambda each: each.count):
        if each.count == last:
            findings.append(f"the count {last} was told twice")
        if each.returned < latest_call:
            findings.append(f"the count {each.count} was told before a transaction with a lower one was called")
        latest_call, last = max(latest_call, each.called), each.count
    if last > ending.count:
        findings.append(f"the count {last} was told, and at the end it is {ending.count}")
    return findings


def of_digests(ending: Ending) -> list[str]:
    """All servers hold the same."""
    return [] if len(set(ending.digests.values())) == 1 else [f"the servers differ: {ending.digests}"]


def of_all(acknowledged: Sequence[Sequence[Transaction]], ending: Ending) -> list[str]:
    """All of these."""
    return [*of_lists(acknowledged, ending), *of_counts(acknowledged, ending), *of_digests(ending)]
