"""Mistakes that the simulator does not see, each with the reason.

Most are no mistakes: another rule already forbids what they would let happen, so no schedule can tell them from the
protocol. They stay here because the next change of the protocol may make them real ones. What is a mistake, and only
too rare to be met, says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Edit, Mutant, liveness, safety

PERMISSION = "protocol/permission.cpp"
TAKEOVER = "protocol/takeover.cpp"
FOLLOWERS = "protocol/followers.cpp"
REPLICATOR = "protocol/replicator.cpp"
MEMORY = "fabric/sim_memory.cpp"
REPLAYER = "protocol/replayer.cpp"


@dataclass(frozen=True)
class Uncaught:
    """A mutant, whether any schedule could tell it from the protocol, and why it is not caught."""

    mutant: Mutant
    equivalent: bool
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
        True,
        "A slot left in the area is found only if it links to the last slot that was carried over. Then it is the next "
        "slot of the very chain that its tenure wrote, as if accepted late; nobody was told so, and whatever a later "
        "tenure has decided carries a higher proposal.",
    ),
    Uncaught(
        safety(
            "carried-over-unverified",
            "What was carried over is trusted only as far as nothing had begun to overwrite it meanwhile.",
            Edit(
                PERMISSION,
                "log.empty() ? range.to : format_.unchanged_until(log, copy, range.from, range.to)",
                "range.to",
            ),
        ),
        False,
        "A mistake: half of an undecided slot and half of what replaces it could be carried over as one slot. The late "
        "store has to be torn inside the copy, over a slot of the same length, and the mixture has to be adopted.",
    ),
    Uncaught(
        safety(
            "late-completion-counts",
            "A completion of an earlier grant counts for nothing.",
            Edit(REPLICATOR, "!follower.owns(completion.id)", "false"),
        ),
        False,
        "Within one tenure and one life of the follower such a completion is true. To lie it must be polled after the "
        "grant of a later tenure and name an offset beyond that tenure's seal: the old tenure's log must have been the "
        "longer one and not the best. earlier-acceptance-counts is the same mistake where it can be met.",
    ),
    Uncaught(
        safety(
            "commit-beyond-own-chain",
            "A deposed leader takes as decided only what its own log has accepted.",
            Edit(REPLICATOR, "std::min(decided_, followers_[settings_.self].accepted)", "decided_"),
        ),
        True,
        "Execution follows the chain. After the adopted part one's own log holds either one's own slots or none that "
        "links to it: if an older slot did, that longer chain would have been the better one.",
    ),
    Uncaught(
        safety(
            "teaches-over-the-unapplied",
            "Nothing is written to a joiner that is more than a ring behind.",
            Edit("protocol/followers.cpp", "tail_.offset > follower.grant.from.offset + format_.ring_bytes()", "false"),
        ),
        False,
        "A mistake: it needs a follower whose chain still reaches what the leader has applied while that one's tail is "
        "a whole ring ahead of it, which is a window of one slot. In all other cases common_point() says no first.",
    ),
    Uncaught(
        safety(
            "seal-over-the-unexecuted",
            "A takeover whose seal would overwrite what is not executed here is given up.",
            Edit(
                TAKEOVER, "tail_.offset + kSlotAlignment > executor_.applied().offset + format_.ring_bytes()", "false"
            ),
        ),
        False,
        "A mistake: commands leave a quarter of the ring to empty slots, so only a long run of takeovers that seal and "
        "execute nothing brings a log so far.",
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
        True,
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
        True,
        "Back-off alone also ends every duel, later; and the hold does without back-off. no-back-off leaves both out.",
    ),
]
