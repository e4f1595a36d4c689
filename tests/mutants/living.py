"""Mistakes about one's own log and life: slots, execution, reads, formation, bring-up, snapshots, sessions."""

from __future__ import annotations

from tests.mutants.mutant import Edit, safety

LOG = "log.cpp"
REPLAYER = "protocol/replayer.cpp"
EXECUTOR = "protocol/executor.cpp"
TRANSFER = "protocol/transfer.cpp"
FORMATION = "protocol/formation.cpp"

# The snapshot is sent, and believed, whether or not it stands for the record.
BROUGHT_UP_AT_ONCE = (
    Edit(TRANSFER, "executor_.configuration().incarnations[replica] != incarnation", "incarnation == 0"),
    Edit(
        TRANSFER,
        "    MU_ASSERT(executor_.configuration().incarnations[settings_.self] == incarnation_);\n",
        "",
    ),
)

MUTANTS = [
    safety(
        "executes-its-whole-chain",
        "A follower executes what lies below a commit offset that its chain carries, and nothing beyond.",
        Edit(REPLAYER, "Offset const until = std::min(decided_, scan_.offset);", "Offset const until = scan_.offset;"),
    ),
    safety(
        "link-ignored",
        "A slot is valid only if it links to the slot before it.",
        Edit(LOG, " || header.previous != at.previous ||", " ||"),
    ),
    safety(
        "offset-ignored",
        "A slot is valid only at the offset that its header names.",
        Edit(LOG, "if (header.offset != at.offset || header.previous", "if (header.previous"),
    ),
    safety(
        "canary-ignored",
        "Without its canary a slot is not there.",
        Edit(LOG, "canary != canary_of(header, slot.value)", "canary == 0"),
    ),
    safety(
        "read-before-applied",
        "A read waits until everything that was decided when it began is applied.",
        Edit("protocol/replica.cpp", " || executor_.applied().offset < read_at_", ""),
    ),
    safety(
        "read-unconfirmed",
        "A read confirms the tenure on a majority.",
        Edit("protocol/replica.cpp", "!replicator_.confirmed() || ", ""),
    ),
    safety(
        "formation-in-one-phase",
        "A cluster forms only when everybody was seen prepared with the same incarnations.",
        Edit(FORMATION, "own_.abandoned != digest && prepared_by_all()", "own_.abandoned != digest"),
    ),
    safety(
        "joiner-decides-its-own-record",
        "★ The record that admits a restarted replica is decided by a majority without it, before it is brought up.",
        *BROUGHT_UP_AT_ONCE,
    ),
    safety(
        "admitted-without-a-record",
        "★ A restarted replica is admitted only by a decided record.",
        *BROUGHT_UP_AT_ONCE,
        Edit(
            "protocol/followers.cpp",
            "    append_slot(SlotKind::admit, std::as_bytes(std::span(&record, 1)), {});\n",
            "    configuration_.incarnations[record.replica] = record.incarnation;\n",
        ),
    ),
    safety(
        "older-snapshot-restored",
        "A snapshot that is not ahead of what was executed is refused.",
        Edit(EXECUTOR, " || head.applied.offset <= applied_.offset", ""),
    ),
    safety(
        "sessions-not-in-snapshots",
        "The session table travels in snapshots.",
        Edit(EXECUTOR, "    sessions_.save(writer);\n", "    Sessions(sessions_.limit()).save(writer);\n"),
    ),
    safety(
        "request-number-ignored",
        "A command that a session sends again is not applied again.",
        Edit(
            EXECUTOR,
            "            case Sessions::Verdict::repeated:\n                reply_",
            "            case Sessions::Verdict::repeated:\n                break;\n                reply_",
        ),
    ),
    safety(
        "piece-unchecked",
        "A piece of a snapshot is taken only if it is whole.",
        Edit(TRANSFER, "digest_of(std::span(arriving.bytes).subspan(at)) != piece.digest", "piece.bytes == 0"),
    ),
]
