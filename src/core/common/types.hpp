// The words that every room shares: who, which proposal, where in the log, when.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mu {

using ReplicaId = std::uint32_t;    // 1 … kMaxReplicaId; 0 names nobody
using Incarnation = std::uint64_t;  // one life of one replica; 0 names none; a later life has a larger one
using Offset = std::uint64_t;       // absolute byte offset in the log; never wraps
using Nanoseconds = std::int64_t;   // a point in or a span of monotonic time

inline constexpr ReplicaId kNobody = 0;
inline constexpr std::size_t kMaxReplicas = 16;               // members of one cluster
inline constexpr ReplicaId kMaxReplicaId = kMaxReplicas - 1;  // ids index fixed tables: cell 0 stays empty
inline constexpr std::uint64_t kLargestRing = 1ULL << 32U;    // bytes of a log: a slot has its length in 32 bits
inline constexpr std::size_t kCacheLine = 64;

// A proposal number (paper, section 4.1): ordered by round, then by replica, so that two replicas never share one.
using Proposal = std::uint64_t;
inline constexpr Proposal kNoProposal = 0;

constexpr Proposal make_proposal(std::uint64_t round, ReplicaId replica) noexcept { return (round << 8U) | replica; }
constexpr std::uint64_t round_of(Proposal proposal) noexcept { return proposal >> 8U; }
constexpr ReplicaId proposer_of(Proposal proposal) noexcept { return static_cast<ReplicaId>(proposal & 0xffU); }

// A tenure is one leadership attempt of one replica in one life of it.
struct Tenure {
    ReplicaId replica = kNobody;
    Incarnation incarnation = 0;
    Proposal proposal = kNoProposal;

    bool operator==(Tenure const&) const = default;
};

// More than half of `members`, oneself included.
constexpr std::size_t majority_of(std::size_t members) noexcept { return members / 2 + 1; }
static_assert(majority_of(1) == 1 && majority_of(3) == 2 && majority_of(4) == 3);

// A place in the log: an offset, and the proposal of the slot that ends there. Two logs that agree on a position
// agree on everything below it, because each slot names the proposal of the slot before it.
struct Position {
    Offset offset = 0;
    Proposal previous = kNoProposal;

    bool operator==(Position const&) const = default;
};

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t to) noexcept { return (value + to - 1) / to * to; }

}  // namespace mu
