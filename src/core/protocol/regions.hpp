// The background region: everything replicas tell each other beside the log. Readable by all members; the owner
// writes `own`, and each peer writes only its own `peers[id]`. Nothing here is ever waited for in one piece: a cell of
// several words carries a check word, and a reader that meets a half-written one looks again later.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "common/types.hpp"

namespace mu {

// Several words that mean something only together.
template <class T>
struct Checked {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0);
    T value{};
    std::uint64_t check = 0;

    [[nodiscard]] static std::uint64_t check_of(T const& value) noexcept {
        std::uint64_t words[sizeof(T) / 8];
        std::memcpy(words, &value, sizeof value);
        std::uint64_t sum = 0x6d7520636865636bULL;  // an all-zero cell is not a valid one
        for (std::uint64_t const word : words) {
            sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
            sum ^= sum >> 29U;
        }
        return sum;
    }
    [[nodiscard]] static Checked of(T const& value) noexcept { return {value, check_of(value)}; }
};

// Puts a cell into one's own region, for peers to read.
template <class T>
void store_cell(Checked<T>& cell, T const& value) noexcept {
    std::uint64_t words[sizeof(Checked<T>) / 8];
    Checked<T> const checked = Checked<T>::of(value);
    std::memcpy(words, &checked, sizeof checked);
    auto* const to = reinterpret_cast<std::uint64_t*>(&cell);
    for (std::size_t i = 0; i < sizeof words / 8; ++i) {
        std::atomic_ref<std::uint64_t>(to[i]).store(words[i], std::memory_order_release);
    }
}

// Reads a cell; nothing if it is half-written or was never written.
template <class T>
[[nodiscard]] std::optional<T> load_cell(Checked<T> const& cell) noexcept {
    std::uint64_t words[sizeof(Checked<T>) / 8];
    auto* const from = reinterpret_cast<std::uint64_t*>(const_cast<Checked<T>*>(&cell));
    for (std::size_t i = 0; i < sizeof words / 8; ++i) {
        words[i] = std::atomic_ref<std::uint64_t>(from[i]).load(std::memory_order_acquire);
    }
    Checked<T> checked;
    std::memcpy(&checked, words, sizeof checked);
    if (checked.check != Checked<T>::check_of(checked.value)) {
        return std::nullopt;
    }
    return checked.value;
}

inline void store_word(std::uint64_t& word, std::uint64_t value) noexcept {
    std::atomic_ref<std::uint64_t>(word).store(value, std::memory_order_release);
}
// Of a counter that both planes of its owner advance.
inline void count_word(std::uint64_t& word) noexcept {
    std::atomic_ref<std::uint64_t>(word).fetch_add(1, std::memory_order_release);
}
[[nodiscard]] inline std::uint64_t load_word(std::uint64_t const& word) noexcept {
    return std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(word)).load(std::memory_order_acquire);
}

// A position that is rewritten while others read it: the two cells are written alternately, so one is always whole.
using PositionCells = std::array<Checked<Position>, 2>;

inline void store_position(PositionCells& cells, Position const& position) noexcept {
    std::optional<Position> const first = load_cell(cells[0]);
    std::optional<Position> const second = load_cell(cells[1]);
    bool const replace_first = !first || (second && first->offset < second->offset);
    store_cell(cells[replace_first ? 0 : 1], position);
}

[[nodiscard]] inline std::optional<Position> load_position(PositionCells const& cells) noexcept {
    std::optional<Position> const first = load_cell(cells[0]);
    std::optional<Position> const second = load_cell(cells[1]);
    if (first && second) {
        return first->offset < second->offset ? second : first;
    }
    // The other one is being written, so this one is the newest; but it may have been rewritten since it was read.
    return load_cell(cells[first ? 0 : 1]);
}

using Incarnations = std::array<Incarnation, kMaxReplicas>;  // by replica id; 0 where there is no member

// What an operator may leave in OwnCells::control; taken and cleared by the background plane.
enum class Control : std::uint64_t { none = 0, pause = 1, resume = 2 };

// What an owner publishes about itself. Plain words, each a lower bound or a flag; read whole by peers.
struct OwnCells {
    // Background plane (the heartbeat: both).
    alignas(kCacheLine) std::uint64_t heartbeat = 0;
    std::uint64_t heartbeat_period_ns = 0;
    std::uint64_t incarnation = 0;
    std::uint64_t admitted = 0;  // equals `incarnation` once this replica may grant and count
    std::uint64_t leader = 0;    // whom this replica takes for the leader (for status)
    // First formation (see formation.hpp): digests of vectors of incarnations.
    std::uint64_t prepared = 0;
    std::uint64_t formed = 0;
    std::uint64_t abandoned = 0;
    // Replication plane.
    alignas(kCacheLine) PositionCells applied;  // everything below is executed here
    std::uint64_t fuo = 0;                      // first undecided offset, as far as known here
    std::uint64_t chain_end = 0;                // accepted up to here
    std::uint64_t eligible = 0;                 // may lead: admitted, and not behind what others have applied
    std::uint64_t leading = 0;                  // the proposal of the sealed tenure, 0 if not leading
    // For people: what an operator on this machine asked for (see Control), and what came of it.
    std::uint64_t control = 0;
    std::uint64_t paused = 0;
    // First formation again: grows with each vector that this replica prepares.
    std::uint64_t prepared_order = 0;
    // For people again, who have clocks: how long recent proposals took; 0: none was timed.
    std::uint64_t propose_p50_ns = 0;
    std::uint64_t propose_p99_ns = 0;
    // Background plane: the others' logs begin above what is executed here, so this replica needs a snapshot.
    std::uint64_t lapped = 0;
};

// "Let tenure (proposal, incarnation) write your log." Asked again with another nonce.
struct Request {
    Proposal proposal = kNoProposal;
    Incarnation incarnation = 0;
    std::uint64_t nonce = 0;
};

// The answer, in the requester's region. A refusal has word > proposal.
struct Grant {
    Proposal proposal = kNoProposal;
    std::uint64_t nonce = 0;
    Proposal word = kNoProposal;  // the grantor's permission word after it decided
    Incarnation incarnation = 0;  // the grantor's
    std::uint64_t key = 0;        // what the fabric needs to write there
    Position from;                // the grantor's applied position: all below is decided
    Position end;                 // where its chain ends
};

// One piece of a snapshot on its way to a learner (see transfer.hpp).
struct Piece {
    Proposal proposal = kNoProposal;  // the leader's tenure; none: given by one who does not lead
    Incarnation giver = 0;            // its incarnation: the learner may have seen only an earlier one
    Incarnation target = 0;           // the learner's
    std::uint64_t transfer = 0;       // which snapshot
    std::uint64_t number = 0;         // of this piece, from 1
    std::uint64_t total_bytes = 0;    // of the whole snapshot
    std::uint64_t bytes = 0;          // of this piece
    std::uint64_t digest = 0;         // of those bytes: the write that brings them may fail, and only this one land
};
struct PieceTaken {
    Incarnation learner = 0;
    Incarnation giver = 0;
    std::uint64_t transfer = 0;
    std::uint64_t number = 0;
};

inline constexpr std::size_t kPieceBytes = 64 * 1024;

[[nodiscard]] inline std::uint64_t digest_of(std::span<std::byte const> bytes) noexcept {
    std::uint64_t sum = 0x6d75207069656365ULL ^ bytes.size();
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, bytes.size() - at < 8 ? bytes.size() - at : 8);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
        sum ^= sum >> 32U;
    }
    return sum;
}

// What one peer writes into this region.
struct PeerCells {
    alignas(kCacheLine) Checked<Request> request;
    alignas(kCacheLine) Checked<Grant> grant;
    alignas(kCacheLine) Checked<Piece> piece;
    alignas(kCacheLine) Checked<PieceTaken> taken;
    alignas(kCacheLine) std::array<std::byte, kPieceBytes> piece_bytes{};
};

struct BackgroundRegion {
    OwnCells own;
    std::array<PeerCells, kMaxReplicas> peers;
};
static_assert(std::is_trivially_copyable_v<BackgroundRegion>);
static_assert(sizeof(OwnCells) == 3 * kCacheLine);
static_assert(sizeof(PeerCells) % kCacheLine == 0);

// Where a cell of peer `writer` lies in the region of another.
template <class Member>
[[nodiscard]] std::uint64_t peer_cell_at(ReplicaId writer, Member PeerCells::* member) noexcept {
    static_assert(std::is_trivially_copyable_v<Member>);
    alignas(PeerCells) static constexpr std::byte storage[sizeof(PeerCells)]{};
    auto const* const cells = reinterpret_cast<PeerCells const*>(storage);
    auto const* const at = reinterpret_cast<std::byte const*>(&(cells->*member));
    return offsetof(BackgroundRegion, peers) + writer * sizeof(PeerCells) + static_cast<std::uint64_t>(at - storage);
}

}  // namespace mu
