"""Mistakes that walks meet so seldom that each has a test which tells it alone, and sees it every time."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Edit, Mutant, liveness, safety

PERMISSION = "protocol/permission.cpp"
MEMORY = "fabric/sim_memory.cpp"
REPLAYER = "protocol/replayer.cpp"


@dataclass(frozen=True)
class Told:
    """A mutant, the test that sees it (a room of the C++ tests and a test's name), and why walks hardly do."""

    mutant: Mutant
    room: str
    story: str
    why: str


TOLD = [
    Told(
        safety(
            "formation-forgets",
            "Another vector is prepared only once a majority of the first one's incarnations has abandoned that.",
            Edit("protocol/formation.cpp", "if (abandoned_by_majority()) {", "if (prepared_ != digest) {"),
        ),
        "simulation",
        "a vector is not abandoned by a member that has prepared an earlier one and may still prepare this one",
        "It matters only when a majority of those who formed has forgotten everything: no walk goes so far, because "
        "then nothing that was acknowledged could be demanded any more.",
    ),
    Told(
        safety(
            "same-proposal-of-another-life",
            "A proposal names one tenure: one that an earlier life of the replica was granted is refused to its next.",
            Edit(PERMISSION, "request.proposal < word || taken", "request.proposal < word"),
            Edit(MEMORY, "        MU_ASSERT(tenure == holder_);  // a proposal names one tenure\n", ""),
        ),
        "simulation",
        "an acceptor refuses a proposal that an earlier life of the same replica was granted",
        "One walk in 150,000 met it.",
    ),
    Told(
        safety(
            "no-promise-on-admission",
            "★ Whoever is admitted first promises what its earlier life may have promised.",
            Edit(PERMISSION, "leader.proposal > fabric_.permission()", "leader.proposal == kNoProposal"),
        ),
        "paper",
        "(d) With the snapshot comes the promise: its word is the leader's proposal before it calls itself admitted",
        "Nearly no mistake: the snapshot names the proposal of the last slot that it stands for, a grant shows it, and"
        " a takeover is given up when a grant shows a proposal that is not below its own. What is left is a leader that"
        " sends the snapshot before it has executed its own seal. 680 million steps did not meet it.",
    ),
    Told(
        liveness(
            "execution-untold",
            "What a replica has executed it tells, also when its tenure ends before its next step.",
            Edit(REPLAYER, "    publish();  // also what", "    if (found || executed) publish();  // also what"),
        ),
        "paper",
        "A leader that is deposed tells what it has executed, or others would take its log for one that lacks it",
        "It keeps the last leader from leading again until somebody else has written a slot. For nobody to "
        "do so, the others must be lapped or unwilling at that moment; a loaded machine met it, three minutes of walks "
        "did not.",
    ),
]
