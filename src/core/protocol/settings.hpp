// What a person may choose about one replica's protocol, and what its two planes tell each other.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "common/types.hpp"

namespace mu {

inline constexpr Nanoseconds kMicrosecond = 1'000;
inline constexpr Nanoseconds kMillisecond = 1'000'000;
inline constexpr Nanoseconds kSecond = 1'000'000'000;

struct Settings {
    ReplicaId self = kNobody;
    std::vector<ReplicaId> members;  // sorted, oneself included
    std::uint64_t cluster_key = 0;

    // Shared cores: late detection is better than a false election (facts: worst stall 9–12 ms under CPU hogs).
    Nanoseconds heartbeat_period = 2 * kMillisecond;
    Nanoseconds heartbeat_idle_period = 10 * kMillisecond;
    Nanoseconds idle_after = kSecond;                // without new slots: heartbeats slow down
    Nanoseconds stale_limit = 25 * kMillisecond;     // dead by heartbeat only if also stale for longer than this
    Nanoseconds starved_limit = 250 * kMillisecond;  // the same while the fabric says that it is not stopped
    Nanoseconds stuck_limit = 100 * kMillisecond;    // replication plane without a step: heartbeat stops (fate sharing)
    Nanoseconds minimum_hold = 5 * kMillisecond;     // a live writer keeps a log at least this long
    Nanoseconds grant_timeout = 20 * kMillisecond;   // a takeover that has adopted nothing by then aborts
    Nanoseconds backoff_first = 1 * kMillisecond;
    Nanoseconds backoff_limit = 200 * kMillisecond;
    Nanoseconds joiner_retry = 2 * kMillisecond;
    Nanoseconds stall_limit = 500 * kMillisecond;        // a follower that blocks recycling for longer is dropped
    Nanoseconds transfer_timeout = 2 * kSecond;          // a piece of a snapshot that is not taken ends the transfer
    Nanoseconds commit_idle_after = 100 * kMicrosecond;  // 0: never append an empty slot to carry the commit offset
    std::uint64_t max_sessions = 10'000;

    [[nodiscard]] std::size_t majority() const noexcept { return majority_of(members.size()); }
};

// The words that the replication plane and the background plane of one replica share. Hints and flags only: every
// safety-relevant decision is taken inside one plane.
struct Shared {
    std::atomic<ReplicaId> leader{kNobody};  // election's output
    std::atomic<std::uint64_t> steps{0};     // of the replication plane: fate sharing watches it
    std::atomic<bool> busy{false};           // the replication plane is inside the state machine, rightly so
    std::atomic<bool> paused{false};         // an operator asked for silence
    std::atomic<bool> aside{false};          // the program around this replica cannot lead now
    std::atomic<bool> joined{false};         // formed or admitted: incarnations are known
    std::atomic<bool> eligible{false};       // election's opinion of this replica
    std::atomic<bool> lapped{false};         // a takeover found that this log does not reach the others'
    std::atomic<bool> unheard{false};        // has asked in vain: no majority answers this replica
    std::atomic<bool> halted{false};         // lost an invariant of its own state machine: must not go on
    std::atomic<Proposal> highest_seen{kNoProposal};
    std::atomic<Nanoseconds> active_at{0};  // when a slot was last appended or found, or one could not lead
    std::atomic<std::uint32_t> alive{0};    // bit by replica id
    std::array<std::atomic<std::uint32_t>, kMaxReplicas> scores{};
    std::array<std::atomic<Incarnation>, kMaxReplicas> formation{};  // the vector that formed the cluster

    void saw(Proposal proposal) noexcept {
        Proposal seen = highest_seen.load(std::memory_order_relaxed);
        while (seen < proposal && !highest_seen.compare_exchange_weak(seen, proposal, std::memory_order_acq_rel)) {
        }
    }
    [[nodiscard]] bool is_alive(ReplicaId replica) const noexcept {
        return ((alive.load(std::memory_order_acquire) >> replica) & 1U) != 0;
    }
};

}  // namespace mu
