"""Mistakes of acceptors: whom they let write their logs, and what they promise by that."""

from __future__ import annotations

from tests.mutants.mutant import Edit, safety

PERMISSION = "protocol/permission.cpp"
TAKEOVER = "protocol/takeover.cpp"
MEMORY = "fabric/sim_memory.cpp"

# The sim fabric would notice a promise that goes back before anything comes of it. Here something shall.
BLIND_FABRIC = Edit(MEMORY, "    MU_ASSERT(tenure.proposal >= word_);  // the promise\n", "")
REFUSES_LOWER = "request.proposal < word || taken"
# A request says in its nonce whether its tenure is sealed already.
LATE_BIT = Edit(
    TAKEOVER,
    "follower.nonce = ++nonce_;",
    "follower.nonce = ++nonce_ | (stage_ == Stage::requesting ? 0 : 1ULL << 40U);",
)

MUTANTS = [
    safety(
        "lower-proposal-granted",
        "★ An acceptor grants p only if p is greater than its permission word.",
        Edit(PERMISSION, REFUSES_LOWER, "taken"),
        BLIND_FABRIC,
    ),
    safety(
        "late-joiner-below-promise",
        "★ The promise is part of the grant for late joiners too: a sealed tenure is refused like any other.",
        Edit(PERMISSION, REFUSES_LOWER, "(request.proposal < word && (request.nonce >> 40U) == 0) || taken"),
        BLIND_FABRIC,
        LATE_BIT,
    ),
    safety(
        "early-joiner-below-promise",
        "★ The promise is part of the grant in the takeover itself.",
        Edit(PERMISSION, REFUSES_LOWER, "(request.proposal < word && (request.nonce >> 40U) != 0) || taken"),
        BLIND_FABRIC,
        LATE_BIT,
    ),
    safety(
        "grants-before-admitted",
        "★ A restarted replica grants nothing before it was brought up.",
        Edit(PERMISSION, "load_word(region_.own.admitted) != incarnation_", "incarnation_ == 0"),
    ),
    safety(
        "counts-before-admitted",
        "★ A restarted replica does not count before it was brought up, not even if it grants.",
        Edit(PERMISSION, "load_word(region_.own.admitted) != incarnation_", "incarnation_ == 0"),
        Edit(TAKEOVER, "follower.grant.incarnation != configuration_.incarnations[member]", "false"),
        Edit(
            "protocol/followers.cpp",
            "bool const counts = fabric_.peer(replica).incarnation == configuration_.incarnations[replica];",
            "bool const counts = true;",
        ),
    ),
    safety(
        "grants-of-any-incarnation",
        "★ A takeover is void if a grant's incarnation differs from the one that the adopted chain names.",
        Edit(TAKEOVER, "follower.grant.incarnation != configuration_.incarnations[member]", "false"),
    ),
    safety(
        "permission-by-replica",
        "The permission names a tenure, not a replica: late stores of its earlier tenures do no harm.",
        Edit(
            "fabric/sim_memory.hpp",
            "tenure.proposal == word_ && key == key_",
            "proposer_of(tenure.proposal) == proposer_of(word_)",
        ),
        Edit(MEMORY, "key == 0 || area.key != key", "key == 0 || (area.key & 0xffU) != (key & 0xffU)"),
    ),
    safety(
        "own-store-unchecked",
        "★ The leader's own store counts only if its own permission word still names its tenure after it.",
        Edit(
            "protocol/replicator.cpp",
            "if (!completion.success) {\n        write_failed(completion.peer);",
            "if (!completion.success && completion.peer != settings_.self) {\n        write_failed(completion.peer);",
        ),
    ),
    safety(
        "own-log-granted-in-mid-store",
        "★ One's own log is granted away only where no store of one's own is under way.",
        Edit(
            MEMORY,
            "if (key == 0 || area.key != key) return {};\n    return area.ring;",
            "if (key == 0 || (area.key != key && writer != self_)) return {};\n    return area.ring;",
        ),
    ),
    safety(
        "nothing-carried-over",
        "The live part of the log is carried over into the landing area of the new writer.",
        Edit(MEMORY, "    copy(old_area, area, range.from, middle);\n", ""),
    ),
    safety(
        "area-reused-too-early",
        "A landing area is reused only where no earlier tenure may still store.",
        Edit(
            MEMORY,
            "key == 0 || area.key != key) return {};\n    return area.ring;",
            "key == 0) return {};\n    return area.ring;",
        ),
    ),
    safety(
        "keeps-nothing",
        "The live part of a log reaches from what is applied to the end of the chain.",
        Edit(PERMISSION, "log.empty() ? from.offset : format_.chain_end(log, from).offset", "from.offset"),
    ),
]
