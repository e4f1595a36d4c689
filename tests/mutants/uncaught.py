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
            "lost-follower-counts",
            "A follower that left the tenure is not counted any more.",
            Edit(FOLLOWERS, "if (followers_[member].is_written()) {", "if (true) {"),
            Edit(
                FOLLOWERS,
                "    follower.stage = Follower::Stage::idle;\n    follower.accepted = 0;\n",
                "    follower.stage = Follower::Stage::idle;\n",
            ),
        ),
        True,
        "What it accepted it has accepted. Only its next life has forgotten it, and that is admitted by a record that "
        "a majority without it accepts, and with the record everything before it.",
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
        safety(
            "formation-forgets",
            "Another vector is prepared only once a majority of the first one's incarnations has abandoned that.",
            Edit("protocol/formation.cpp", "if (abandoned_by_majority()) {", "if (prepared_ != digest) {"),
        ),
        False,
        "It matters only when a majority of those who formed has forgotten everything: no walk goes so far, because "
        "then nothing that was acknowledged could be demanded any more.",
    ),
    Uncaught(
        safety(
            "same-proposal-of-another-life",
            "A proposal names one tenure: one that an earlier life of the replica was granted is refused to its next.",
            Edit(PERMISSION, "request.proposal < word || taken", "request.proposal < word"),
            Edit(MEMORY, "        MU_ASSERT(tenure == holder_);  // a proposal names one tenure\n", ""),
        ),
        False,
        "A mistake that one walk in 150,000 met; tests/simulation/walk_regression_test.cpp tells its story alone.",
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
    Uncaught(
        safety(
            "no-promise-on-admission",
            "★ Whoever is admitted first promises what its earlier life may have promised.",
            Edit(PERMISSION, "leader.proposal > fabric_.permission()", "leader.proposal == kNoProposal"),
        ),
        False,
        "Nearly no mistake: the snapshot names the proposal of the last slot that it stands for, a grant shows it, and"
        " a takeover is given up when a grant shows a proposal that is not below its own. What is left is a leader that"
        " sends the snapshot before it has executed its own seal. 680 million steps did not meet it.",
    ),
    Uncaught(
        liveness(
            "execution-untold",
            "What a replica has executed it tells, also when its tenure ends before its next step.",
            Edit(REPLAYER, "    publish();  // also what", "    if (found || executed) publish();  // also what"),
        ),
        False,
        "A mistake: it keeps the last leader from leading again until somebody else has written a slot. For nobody to "
        "do so, the others must be lapped or unwilling at that moment; a loaded machine met it, three minutes of walks "
        "did not. tests/paper/decide_test.cpp tells it alone.",
    ),
]
