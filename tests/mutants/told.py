"""Mistakes that walks meet so seldom that each has a test which tells it alone, and sees it every time."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Edit, Mutant, liveness, safety

PERMISSION = "protocol/permission.cpp"
TAKEOVER = "protocol/takeover.cpp"
REPLICATOR = "protocol/replicator.cpp"
MEMORY = "fabric/sim_memory.cpp"
REPLAYER = "protocol/replayer.cpp"
TRANSFER = "protocol/transfer.cpp"
ELECTION = "protocol/election.cpp"


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
            "torn-copy-counts",
            "The place of a slot is cleared before a copy of it is laid there.",
            Edit(
                "protocol/followers.cpp",
                "format_.integrity() == Integrity::stamp && !slot.value.empty()",
                "format_.integrity() == Integrity::stamp && slot.value.empty()",
            ),
        ),
        "paper",
        "A torn copy of a slot is not taken for whole because an earlier store of it left its canary there",
        "The slot has to lie there whole, refused, from an earlier tenure; its head has to be replaced, and nothing "
        "behind that; and the copy has to be torn behind its head for ever, while the slot is decided elsewhere.",
    ),
    Told(
        safety(
            "stamp-without-offset",
            "The stamp covers the offset: a header of two laps is nobody's.",
            Edit("log.cpp", "mix(header.offset ^ key_, header.proposal ^ kMixA)", "mix(key_, header.proposal ^ kMixA)"),
        ),
        "core",
        "A header of two laps is nobody's, though its offset is right: that of one lap, and all else of the one before",
        "A header has to be torn behind its offset, over one of the lap before that links to the same slot. Walks of a "
        "minute met it in 7 of 10.",
    ),
    Told(
        safety(
            "commit-without-chain",
            "A commit offset is used only when the chain is valid up to the slot that carries it.",
            Edit(
                REPLAYER,
                "        if (!slot) {\n            more_ = false;\n",
                "        if (!slot) {\n"
                "            for (Offset next = at.offset; next < at.offset + 512; next += kSlotAlignment) {\n"
                "                SlotHeader header;\n"
                "                std::byte const* const there = view.bytes.data() + format_.place(next);\n"
                "                racy_copy_out(reinterpret_cast<std::byte*>(&header), there, sizeof header);\n"
                "                if (header.offset == next) commit = std::max(commit, header.commit);\n"
                "            }\n"
                "            more_ = false;\n",
            ),
        ),
        "paper",
        "A commit offset is used only when the chain is valid up to the slot that carries it (paper 4.3)",
        "A tenure's writes land in order, and none after one that failed: what lies beyond a hole is another tenure's, "
        "and what that has decided, this one had to adopt.",
    ),
    Told(
        safety(
            "late-completion-counts",
            "A completion of an earlier grant counts for nothing.",
            Edit(REPLICATOR, "!follower.owns(completion.id)", "false"),
        ),
        "paper",
        "What is heard late of an earlier tenure counts for nothing in the present one",
        "It has to be heard after the grant of a later tenure, and to name an offset beyond that tenure's seal: the "
        "old tenure's log was the longer one and not the best. earlier-acceptance-counts is the same mistake where it "
        "can be met.",
    ),
    Told(
        safety(
            "teaches-over-the-unapplied",
            "Nothing is written to a joiner that is more than a ring behind.",
            Edit("protocol/followers.cpp", "tail_.offset > follower.grant.from.offset + format_.ring_bytes()", "false"),
        ),
        "paper",
        "A dropped follower whose chain reaches far enough is still not written over what it has not executed",
        "The follower's chain still has to reach what the leader has executed while the leader's tail is a ring ahead "
        "of it: that takes much that is on its way to the others. In all other cases common_point() says no first.",
    ),
    Told(
        safety(
            "seal-over-the-unexecuted",
            "A takeover whose seal would overwrite what is not executed here is given up.",
            Edit(
                TAKEOVER, "tail_.offset + kSlotAlignment > executor_.applied().offset + format_.ring_bytes()", "false"
            ),
        ),
        "paper",
        "A takeover whose seal would overwrite what is not executed here is given up",
        "Commands leave a quarter of the ring to empty slots, so only a long run of takeovers that seal and "
        "execute nothing brings a log so far.",
    ),
    Told(
        safety(
            "carried-over-unverified",
            "What was carried over is trusted only as far as nothing had begun to overwrite it meanwhile.",
            Edit(
                PERMISSION,
                "log.empty() ? range.to : format_.unchanged_until(log, copy, range.from, range.to)",
                "range.to",
            ),
        ),
        "core",
        "What a late store has begun to overwrite while it was carried over is not carried over",
        "Half of an undecided slot and half of what replaces it could be carried over as one slot. The late "
        "store has to be torn inside the copy, over a slot of the same length, and the mixture has to be adopted.",
    ),
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
    Told(
        liveness(
            "one-chain-only",
            "A takeover reads what the best chain's owner shows no more from another granter.",
            Edit(TAKEOVER, "shown.from = extend_down(source);", ""),
        ),
        "paper",
        "What the owner of the best chain has applied, a takeover reads from whoever still shows it",
        "It keeps one replica from leading, and matters only if the others are paused or stand aside, and stay so.",
    ),
    Told(
        liveness(
            "splices-any-chain",
            "What another granter shows below the best chain belongs to that only if it leads up to where that begins.",
            Edit(TAKEOVER, "walk(lower.chain, begin, from.offset, lower.grant.end.offset) != from", "false"),
        ),
        "paper",
        "What another granter shows belongs below the best chain only if it leads up to that",
        "A wrong chain does not link, so the takeover ends; and it does so again and again, where the right one is "
        "there, too. 600 seconds of walks did not meet it.",
    ),
    Told(
        liveness(
            "gives-up-at-first",
            "A takeover that lacks what one granter has applied waits for what the others show.",
            Edit(TAKEOVER, "if (awaits_grants(now)) {", "if (false) {"),
        ),
        "paper",
        "A takeover that lacks what one granter has applied waits for the others, until its time is over",
        "The same. In the virtual machine, whose reads take long, one of twenty runs of a test of callers met it.",
    ),
    Told(
        liveness(
            "no-back-off",
            "Failed takeovers space themselves out, and a live writer keeps a log for a minimum time.",
            Edit(
                TAKEOVER,
                "next_attempt_ = now + backoff_ + backoff_ * settings_.self / ",
                "next_attempt_ = now + 0 * settings_.self / ",
            ),
            Edit(PERMISSION, "request.proposal > word && writer_keeps(requester, now)", "false"),
        ),
        "paper",
        "A takeover that failed is tried again only after a while",
        "Of two that keep each other from leading, sooner or later one is lucky. Walks met it while a leader could "
        "take itself for lapped, and so be deposed again and again; since then 1.2 billion steps did not.",
    ),
    Told(
        liveness(
            "only-leaders-give",
            "Who alone may lead, and was lapped, gets a snapshot from those who may not.",
            Edit(TRANSFER, "        look_for_lapped(now);\n", ""),
        ),
        "paper",
        "(c) From those who may not lead the only one who may, and was lapped, gets a snapshot, and then leads",
        "The others must be paused or stand aside, and stay so. One of fifty runs of a test of callers met it on a "
        "loaded machine; walks let everybody lead again in the end.",
    ),
    Told(
        safety(
            "admitted-by-anybody",
            "★ A restarted replica is brought up by a sealed leader only: with the snapshot comes the promise.",
            Edit(TRANSFER, "view->lapped == 0 || view->admitted != view->incarnation ||", "view->lapped == 0 ||"),
            Edit(TRANSFER, "if (!joined && piece.proposal == kNoProposal) {", "if (false) {"),
        ),
        "paper",
        "(c) While nobody leads, a restarted replica is brought up by nobody: there is no promise to give it",
        "A replica that was not brought up does not take itself for lapped, so nobody would give it anything.",
    ),
    Told(
        liveness(
            "who-is-behind-never-tries",
            "Who is behind tries to lead when nobody else can: it reads what it lacks, or says that it is lapped.",
            Edit(ELECTION, " || now - led_at_ > settings_.stale_limit", ""),
        ),
        "paper",
        "(c) Who knows already that he is behind tries to lead when nobody else can, and so gets what he lacks",
        "The others must be alive and stand aside, and stay so, and the leader die while it teaches the last one.",
    ),
    Told(
        liveness(
            "alone-while-it-teaches",
            "A leader is not alone while whoever makes its majority takes a snapshot.",
            Edit(REPLICATOR, "counted_.size() + (joiner_learns_ ? 1 : 0)", "counted_.size()"),
        ),
        "paper",
        "(c) A lapped voter that a majority needs is brought up, though that takes longer than a leader stays alone",
        "A walk's snapshots have one piece or two: they are taken before anybody's patience is over.",
    ),
    Told(
        liveness(
            "never-finds-that-it-is-alone",
            "Who took no piece of a snapshot in time gets none for a while.",
            Edit(TRANSFER, "now < std::max(give_at_, shunned_until_[replica])", "now < give_at_"),
        ),
        "paper",
        "A leader without a majority gives way, though it goes on trying to bring up one who takes nothing",
        "Walks end with everybody well; here one has stopped by itself, and stays so.",
    ),
    Told(
        liveness(
            "waits-for-who-does-not-beat",
            "Nobody is asked or brought up who does not beat, unless there is no majority without it.",
            Edit(
                "protocol/followers.cpp",
                "return shared_.is_alive(replica) || !enough_counted();",
                "return replica != kNobody;",
            ),
        ),
        "paper",
        "Nobody is kept waiting for a replica that has stopped by itself, while its fabric still answers",
        "It costs time again and again, and everything is decided nevertheless.",
    ),
    Told(
        liveness(
            "outrun-for-ever",
            "A joiner that was outrun is waited for longer the next time.",
            Edit(REPLICATOR, "settings_.stall_limit << outrun_", "settings_.stall_limit"),
        ),
        "paper",
        "A joiner that was outrun is waited for longer the next time: it gets in, however fast commands come",
        "In the end of a walk nobody proposes so much, and whoever is behind gets in then.",
    ),
]
