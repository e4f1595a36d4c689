"""Changes that nothing sees, each with the reason.

They are no mistakes: another rule already forbids what they would let happen, so no schedule can tell them from the
protocol. They stay here because the next change of the protocol may make them real ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Edit, Mutant, liveness, safety

PERMISSION = "protocol/permission.cpp"
REPLICATOR = "protocol/replicator.cpp"
MEMORY = "fabric/sim_memory.cpp"
REPLAYER = "protocol/replayer.cpp"


@dataclass(frozen=True)
class Uncaught:
    """A mutant, and why no schedule can tell it from the protocol."""

    mutant: Mutant
    why: str


UNCAUGHT = [
    Uncaught(
        safety(
            "no-end-mark",
            "What was carried over ends with a mark: a landing area still holds what its owner wrote before.",
            Edit(
                MEMORY,
                "        std::memset(areas_[area].ring.data() + (end & (log_bytes() - 1)), 0, kEndMarkBytes);\n",
                "",
            ),
        ),
        "A slot left in the area is found only if it links to the last slot that was carried over. Then it is the next "
        "slot of the very chain that its tenure wrote, as if accepted late; nobody was told so, and whatever a later "
        "tenure has decided carries a higher proposal.",
    ),
    Uncaught(
        safety(
            "commit-beyond-own-chain",
            "A deposed leader takes as decided only what its own log has accepted.",
            Edit(REPLICATOR, "std::min(decided_, followers_[settings_.self].accepted)", "decided_"),
        ),
        "Execution follows the chain. After the adopted part one's own log holds either one's own slots or none that "
        "links to it: if an older slot did, that longer chain would have been the better one.",
    ),
    Uncaught(
        safety(
            "unchanged-not-checked",
            "What was read from the log is executed only if it is unchanged after it was copied.",
            Edit(
                REPLAYER,
                "!format_.unchanged(view.bytes, *slot) || !fabric_.same_log(view)",
                "!fabric_.same_log(view)",
            ),
        ),
        "What is decided is never replaced, and its place is not reused before this follower has executed it, or it is "
        "not written to any more. The check would show recycling that is wrong (recycles-past-the-slowest). The same "
        "holds for the floor, and for asking same_log() before the copy instead of after it.",
    ),
    Uncaught(
        liveness(
            "no-minimum-hold",
            "A live writer keeps a log for a minimum time.",
            Edit(PERMISSION, "request.proposal > word && writer_keeps(requester, now)", "false"),
        ),
        "Back-off alone also ends every duel, later; and the hold does without back-off. no-back-off leaves both out.",
    ),
]
