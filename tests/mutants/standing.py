"""Mistakes by which a cluster stands still."""

from __future__ import annotations

from tests.mutants.mutant import Edit, liveness

TAKEOVER = "protocol/takeover.cpp"
FOLLOWERS = "protocol/followers.cpp"
REPLICATOR = "protocol/replicator.cpp"
ELECTION = "protocol/election.cpp"

MUTANTS = [
    liveness(
        "waits-for-the-dead",
        "A follower that fails leaves the tenure, and a slot is decided once a majority has accepted it.",
        Edit(REPLICATOR, "decide(accepted[settings_.majority() - 1]);", "decide(accepted[count - 1]);"),
        Edit(REPLICATOR, "} else if (followers_[replica].is_written()) {", "} else if (stage_ == Stage::follower) {"),
        Edit(
            REPLICATOR,
            "if (have_all >= settings_.majority()) [[likely]] {",
            "if (have_all == counted_.size() && have_all >= settings_.majority()) {",
        ),
    ),
    liveness(
        "never-drops-a-stalled-follower",
        "A follower that blocks recycling for longer than a limit is dropped.",
        Edit(REPLICATOR, "if (now - blocked_since_ <= (by_joiner ?", "if (now >= blocked_since_ || 0 == (by_joiner ?"),
    ),
    liveness(
        "joiner-never-retried",
        "A follower that was lost is asked again.",
        Edit(FOLLOWERS, "if (now >= follower.retry_at && ", "if (follower.retry_at == 0 && "),
    ),
    liveness(
        "lost-follower-counts",
        "A follower that left the tenure is not counted any more.",
        Edit(FOLLOWERS, "if (followers_[member].is_written()) {", "if (true) {"),
        Edit(
            FOLLOWERS,
            "    follower.stage = Follower::Stage::idle;\n    follower.accepted = 0;\n",
            "    follower.stage = Follower::Stage::idle;\n",
        ),
    ),
    liveness(
        "held-but-not-counted",
        "What a follower that is asked again holds of the tenure is counted, though its acknowledgement was lost.",
        Edit(FOLLOWERS, "follower.accepted = follower.cursor.offset;", "follower.accepted = 0;"),
    ),
    liveness(
        "broken-connection-unnoticed",
        "A follower to which a connection has broken is asked again.",
        Edit(FOLLOWERS, "!counts || (follower.stage != Follower::Stage::idle && !connected(replica))", "!counts"),
    ),
    liveness(
        "commit-never-carried",
        "An idle leader appends an empty slot that carries the commit offset.",
        Edit(REPLICATOR, "bool const carry = idle &&", "bool const carry = false && idle &&"),
    ),
    liveness(
        "fresh-replica-eligible",
        "A replica that was not brought up is not eligible for leadership.",
        Edit(
            ELECTION,
            "if (!joined) {\n        eligible = false;",
            "if (!joined) {\n        eligible = true;",
        ),
    ),
    liveness(
        "lapped-replica-eligible",
        "A replica that has not accepted what others have applied is not eligible for leadership.",
        Edit(
            ELECTION,
            "} else if (reached >= most_applied() ||",
            "} else if (reached <= most_applied() || reached > 0 ||",
        ),
        Edit(ELECTION, "!shared_.lapped.load(std::memory_order_acquire) &&", ""),
    ),
    liveness(
        "replaced-chain-not-walked-again",
        "What a new writer may have replaced is walked again.",
        Edit(
            "protocol/replayer.cpp",
            "bool const may_change = scan_.previous != view.proposal && !found_;",
            "bool const may_change = false;",
        ),
    ),
    liveness(
        "dead-stay-alive",
        "A peer whose heartbeat stands still is taken for dead.",
        Edit(
            ELECTION,
            "} else if (pulse.score < kDeadBelow && is_stale(peer, now - pulse.moved_at - theirs)) {",
            "} else if (theirs < 0) {",
        ),
    ),
    liveness(
        "piece-never-given-up",
        "A snapshot that nobody takes ends.",
        Edit("protocol/transfer.cpp", "if (state.gone || state.incarnation != piece_.target) {", "if (false) {"),
        Edit("protocol/transfer.cpp", "if (now - sent_at_ > patience()) {", "if (sent_at_ > now) {"),
    ),
]
