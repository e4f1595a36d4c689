// The follower's side of the log (paper, section 4.3): finds what has been decided in one's own log and executes it.
//
// A slot carries the offset below which everything is decided; that counts only if the chain is valid up to the slot
// that carries it, because only then is what lies below the leader's own log. So a follower trails by one slot.
// Everything read from the log is copied first and trusted only if nothing began to overwrite it meanwhile and the
// log still belongs to the same writer.
#pragma once

#include <algorithm>

#include "fabric/fabric.hpp"
#include "log.hpp"
#include "protocol/executor.hpp"

namespace mu {

class Replayer {
public:
    Replayer(Fabric& fabric, LogFormat const& format, Executor& executor, Shared& shared) noexcept;

    // Looks for new slots and executes decided ones, a bounded number; whether there was anything to do.
    bool step(Nanoseconds now);

    // The leader executes from the ring it writes itself, up to `until`.
    void execute_own(Offset until, ReplySink* sink);
    // Tells peers how far this replica is. The leader calls it now and then, not for every command.
    void publish() noexcept;
    // A snapshot was restored: everything starts from where it stands.
    void restored() noexcept;
    // One's own log is known to hold the decided chain up to `decided`.
    void learned_decided(Offset decided) noexcept { decided_ = decided_ < decided ? decided : decided_; }

    [[nodiscard]] Offset decided() const noexcept { return decided_; }
    // Whether the last step stopped at its bound, not at the end of the log.
    [[nodiscard]] bool more() const noexcept { return more_; }
    [[nodiscard]] Offset published() const noexcept { return published_; }
    [[nodiscard]] Offset chain_end() const noexcept { return std::max(scan_.offset, executor_.applied().offset); }

private:
    void publish_if_far() noexcept;
    static void store_if_new(std::uint64_t& cell, Offset offset) noexcept;
    // A step is a bounded piece of work, so that heartbeats and requests are never kept waiting for long.
    static constexpr int kSlotsPerStep = 256;
    static constexpr std::uint64_t kBytesPerStep = 128 * 1024;
    // Slots come from another core's cache: those of a backlog are fetched so many bytes ahead.
    static constexpr std::uint64_t kReadAhead = 1024;

    [[nodiscard]] bool scan(LogView const& view) noexcept;
    [[nodiscard]] bool execute_decided(LogView const& view);
    [[nodiscard]] bool execute_next(LogView const& view);
    [[nodiscard]] std::optional<Slot> next_slot(LogView const& view) noexcept;

    Fabric& fabric_;
    LogFormat const& format_;
    Executor& executor_;
    Shared& shared_;
    OwnCells& own_;
    Proposal writer_ = kNoProposal;   // whose log scan_ has walked
    Position scan_;                   // the chain is valid up to here
    Position walked_to_;              // by the last step
    bool found_ = false;              // the last step came upon slots: perhaps there are more
    std::vector<SlotHeader> walked_;  // valid slots up to scan_ that are not executed yet
    std::size_t next_walked_ = 0;
    Offset decided_ = 0;
    Offset published_ = 0;
    bool more_ = false;
    OwnedBytes value_;  // reused, and never shrunk
};

}  // namespace mu
