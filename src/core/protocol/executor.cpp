#include "protocol/executor.hpp"

#include <cstring>

#include "common/assert.hpp"

namespace mu {
namespace {

constexpr std::uint64_t kSnapshotMagic = 0x31302070616e736dULL;

// What every snapshot begins with; sessions and the state machine's own bytes follow.
struct SnapshotHead {
    std::uint64_t magic = 0;
    Position applied;
    Configuration configuration;
    std::uint64_t commands = 0;
};
static_assert(std::is_trivially_copyable_v<SnapshotHead>);
static_assert(sizeof(SnapshotHead) == 2 * sizeof(std::uint64_t) + sizeof(Position) + sizeof(Configuration));

}  // namespace

void Configuration::take(SlotHeader const& header, std::span<std::byte const> value) noexcept {
    if (header.kind == SlotKind::formation) {
        MU_ASSERT(value.size() == sizeof incarnations);
        std::memcpy(incarnations.data(), value.data(), sizeof incarnations);
    } else if (header.kind == SlotKind::admit) {
        AdmitRecord record;
        MU_ASSERT(value.size() == sizeof record);
        std::memcpy(&record, value.data(), sizeof record);
        MU_ASSERT(record.replica < kMaxReplicas);
        incarnations[record.replica] = record.incarnation;
    }
}

void Executor::execute(SlotHeader const& header, std::span<std::byte const> value, ReplySink* sink) {
    MU_ASSERT(header.offset == applied_.offset && header.previous == applied_.previous);
    if (header.kind == SlotKind::commands) {
        execute_commands(header.offset, value, sink);
    } else {
        configuration_.take(header, value);
    }
    applied_ = Position{header.offset + slot_bytes(header.length), header.proposal};
}

void Executor::execute_commands(Offset slot, std::span<std::byte const> value, ReplySink* sink) {
    CommandReader commands(value);
    CommandReader::Command command;
    for (std::uint32_t index = 0; commands.next(command); ++index) {
        reply_.clear();
        ReplyStatus const status = execute_one(command);
        ++commands_;
        if (sink != nullptr) {
            sink->reply(slot, index, status, reply_);
        }
    }
}

ReplyStatus Executor::execute_one(CommandReader::Command const& command) {
    bool const has_session = command.session.client != 0;
    if (has_session) {
        switch (sessions_.judge(command.session)) {
            case Sessions::Verdict::repeated:
                reply_ = sessions_.last_reply();
                return sessions_.last_status();
            case Sessions::Verdict::expired:
                return ReplyStatus::session_expired;
            case Sessions::Verdict::stale:
                return ReplyStatus::session_stale;
            case Sessions::Verdict::fresh:
                break;
        }
    }
    ReplyStatus const status = machine_.apply(command.bytes, reply_) ? ReplyStatus::ok : ReplyStatus::failed;
    if (has_session) {
        sessions_.remember(command.session, status, reply_);
    }
    return status;
}

bool Executor::snapshot(OwnedBytes& out) {
    // The fixed part is laid down in one piece: g++ 12 takes the first insert into an empty vector for an overflow.
    SnapshotHead const head{kSnapshotMagic, applied_, configuration_, commands_};
    std::span<std::byte const> const fixed = std::as_bytes(std::span(&head, 1));
    out.assign(fixed.begin(), fixed.end());
    ByteWriter writer(out);
    sessions_.save(writer);
    OwnedBytes machine;
    bool const given = machine_.snapshot(machine);
    writer.sized(machine);
    return given;
}

bool Executor::restore(std::span<std::byte const> snapshot) {
    ByteReader reader(snapshot);
    auto const head = reader.take<SnapshotHead>();
    if (head.magic != kSnapshotMagic || !reader.sound() || head.applied.offset <= applied_.offset) {
        return false;
    }
    Sessions sessions(sessions_.limit());
    sessions.load(reader);
    std::span<std::byte const> const machine = reader.sized();
    if (!reader.finished()) {
        return false;
    }
    machine_.restore(machine);
    sessions_ = std::move(sessions);
    configuration_ = head.configuration;
    commands_ = head.commands;
    applied_ = head.applied;
    return true;
}

}  // namespace mu
