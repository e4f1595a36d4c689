"""Mistakes of leaders: how they take over, teach their followers, and tell what is decided."""

from __future__ import annotations

from tests.mutants.mutant import Edit, safety

TAKEOVER = "protocol/takeover.cpp"
FOLLOWERS = "protocol/followers.cpp"
REPLICATOR = "protocol/replicator.cpp"

BETTER = "(here.previous > there.previous || (here.previous == there.previous && here.offset > there.offset))"

# Everything above what is executed here, once more, under the tenure's own proposal.
REACCEPT = """    Position link = executor_.applied();
    for (Position at = link; at.offset < tail_.offset;) {
        bool const mine = !other || at.offset < adopted_from_.offset;
        std::optional<Slot> const slot = format_.parse(mine ? ring : std::span<std::byte const>(source.chain), at);
        if (!slot) {
            return Adoption::lost;
        }
        Slot again = *slot;
        again.header.previous = link.previous;
        again.header.proposal = tenure_.proposal;
        static_cast<void>(format_.seal(again.header, again.value));
        write_copy(settings_.self, again);
        at = slot->after();
        link = Position{at.offset, tenure_.proposal};
    }
    tail_ = link;
    adopted_from_ = executor_.applied();
    return Adoption::done;
"""

TERMINATOR = """    follower.stage = Follower::Stage::updating;
    static constexpr std::uint64_t kTerminator = 0;
    if (Offset const end = seal_end_ - kSlotAlignment; end >= follower.grant.from.offset) {
        log_.write(replica, Region::log, format_.place(end), {std::as_bytes(std::span(&kTerminator, 1))},
                   follower.completion_id(0));
    }
"""

REWRITE = """        Slot again = *slot;
        again.header.commit = std::max(again.header.commit, std::min(decided_, again.header.offset));
        static_cast<void>(format_.seal(again.header, again.value));
        write_copy(replica, again);
"""

REWRITE_FROM = """bool const has_all = follower.grant.from.offset >= lowest_kept() &&
                             walk(fabric_.own_log(), follower.grant.from, common->offset, common->offset) == *common;
        follower.cursor = has_all ? follower.grant.from : *common;"""

CHAIN_OF_BEFORE = """    bool const before = follower.chain_read && follower.grant.incarnation == grant.incarnation;
    Position const from = before ? follower.grant.from : grant.from;
    Position const end = before ? follower.grant.end : grant.end;
    follower.grant = grant;
    follower.grant.from = from;
    follower.grant.end = end;
    follower.applied = grant.from.offset;
    follower.accepted = 0;
    follower.chain_read = before;
"""

MUTANTS = [
    safety(
        "minority-decides",
        "A majority is more than half of the members.",
        Edit(
            "protocol/settings.hpp",
            "return majority_of(members.size());",
            "return members.size() == 1 ? 1 : members.size() / 2;",
        ),
    ),
    safety(
        "adopts-from-a-minority",
        "A takeover reads the chains of a majority before it adopts one.",
        Edit(TAKEOVER, "known < settings_.majority()", "known == 0"),
    ),
    safety(
        "longest-chain",
        "The chain whose last slot has the highest proposal is adopted; length decides among equals.",
        Edit(
            TAKEOVER,
            BETTER,
            "(here.offset > there.offset || (here.offset == there.offset && here.previous > there.previous))",
        ),
    ),
    safety(
        "own-chain-preferred",
        "Another's chain is adopted if it is better than one's own.",
        Edit(TAKEOVER, BETTER, "false"),
    ),
    safety(
        "chain-read-before-the-grant",
        "A chain is read after its grant, when nobody else can change it any more.",
        Edit(
            TAKEOVER,
            "    follower.grant = grant;\n    follower.applied = grant.from.offset;\n    follower.accepted = 0;\n"
            "    follower.chain_read = false;\n",
            CHAIN_OF_BEFORE,
        ),
        Edit(
            TAKEOVER,
            "replica != settings_.self && !same_as_own",
            "replica != settings_.self && !same_as_own && !before",
        ),
    ),
    safety(
        "reaccepted-in-place",
        "★ Recovered slots are copied byte for byte, under their original proposals.",
        Edit(TAKEOVER, "    return Adoption::done;\n", REACCEPT),
    ),
    safety(
        "terminator-beyond-the-chain",
        "★ There are no terminators: nothing but slots is written at or beyond the end of the adopted chain.",
        Edit(FOLLOWERS, "    follower.stage = Follower::Stage::updating;\n", TERMINATOR),
    ),
    safety(
        "matching-slot-written-again",
        "★ A slot that already matches is never written again, not even with the commit offset of today.",
        Edit(FOLLOWERS, "follower.cursor = first_difference(follower, *common);", REWRITE_FROM),
        Edit(FOLLOWERS, "        write_copy(replica, *slot);\n", REWRITE),
    ),
    safety(
        "no-seal",
        "★ Nothing is decided before a slot with the tenure's own proposal has succeeded on a majority.",
        Edit(REPLICATOR, "seal_end_ == 0 || by_majority < seal_end_", "seal_end_ == 0"),
    ),
    safety(
        "executed-before-the-seal",
        "Nothing of the adopted chain is executed before the seal is decided.",
        Edit(
            TAKEOVER,
            "    rebuild_writers();\n    work_end_",
            "    rebuild_writers();\n    replayer_.execute_own(tail_.offset, nullptr);\n    work_end_",
        ),
    ),
    safety(
        "refused-write-counts",
        "A follower's write that failed is not counted.",
        Edit(
            REPLICATOR,
            "if (!completion.success) {\n        write_failed(completion.peer);",
            "if (!completion.success && completion.peer == settings_.self) {\n        write_failed(completion.peer);",
        ),
    ),
    safety(
        "stores-on-after-a-failure",
        "After one failure a tenure stores nothing more at that follower: logs are prefixes, never holes.",
        Edit("fabric/sim_landing.cpp", "        if (queue.broken_for(operation)) return Effect::refused;\n", ""),
        Edit(REPLICATOR, "} else if (followers_[replica].is_written()) {", "} else if (stage_ == Stage::follower) {"),
    ),
    safety(
        "earlier-acceptance-counts",
        "What a follower accepted under an earlier tenure does not count under the present one.",
        Edit(
            TAKEOVER,
            "        followers_[member].accepted = 0;\n        followers_[member].retry_at = 0;\n",
            "        followers_[member].retry_at = 0;\n",
        ),
        Edit(
            TAKEOVER,
            "    follower.accepted = 0;\n    follower.chain_read = false;\n",
            "    follower.chain_read = false;\n",
        ),
        Edit(
            REPLICATOR,
            "        follower.stage = Follower::Stage::idle;\n        follower.accepted = 0;\n",
            "        follower.stage = Follower::Stage::idle;\n",
        ),
    ),
    safety(
        "commit-beyond-decided",
        "A slot carries as commit offset only what is decided.",
        Edit(REPLICATOR, "header.commit = decided_;", "header.commit = tail_.offset;"),
    ),
    safety(
        "executes-what-it-has-not-stored",
        "A leader executes what is decided only as far as its own log holds it.",
        Edit(
            "protocol/replica.cpp",
            "std::min(replicator_.decided(), replicator_.follower(settings_.self).accepted)",
            "replicator_.decided()",
        ),
    ),
    safety(
        "refused-yet-proposed",
        "What is refused was not proposed: Indeterminate is said where the outcome is open, and only there.",
        Edit(
            REPLICATOR,
            """    if (!enough_confirmed()) {
        return Outcome::no_majority;
    }
    std::uint64_t const bytes = slot_bytes(static_cast<std::uint32_t>(prefix.size() + body.size()));
    if (!make_room(bytes, reserve())) {
        return Outcome::no_room;
    }
    append_pad_if_needed(bytes);
    append_slot(kind, prefix, body);
    return Outcome::ok;""",
            """    std::uint64_t const bytes = slot_bytes(static_cast<std::uint32_t>(prefix.size() + body.size()));
    if (!make_room(bytes, reserve())) {
        return Outcome::no_room;
    }
    append_pad_if_needed(bytes);
    append_slot(kind, prefix, body);
    return enough_confirmed() ? Outcome::ok : Outcome::no_majority;""",
        ),
    ),
    safety(
        "recycles-past-the-slowest",
        "The ring is reused only up to what all confirmed followers have applied.",
        Edit(
            REPLICATOR, "bound = std::min(bound, followers_[writer].applied);", "bound = std::min(bound, tail_.offset);"
        ),
    ),
    safety(
        "recycles-past-a-joiner",
        "A joiner enters the recycling bound with its own applied offset, before anything is written to it.",
        Edit(TAKEOVER, "follower.applied = grant.from.offset;", "follower.applied = executor_.applied().offset;"),
    ),
]
