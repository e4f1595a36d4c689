// The log: a ring of slots addressed by absolute byte offsets.
//
//     offset X                                                        X + slot_bytes(length)
//     | stamp | offset | proposal | previous | commit | length, kind | value … | canary |   (next slot)
//       word 0                                                          padded   8 bytes
//
// A slot is valid at X only if its header names X, links to the slot before it, and carries the keyed stamp of its
// own header, and the canary carries the keyed stamp of the header too. So what an earlier lap left, torn writes, and
// values that imitate a header all read as "empty", and nothing is ever zeroed. The *chain* is the maximal run of
// valid, linked slots from a position.
//
// A writer's first word (the stamp) changes before anything else of a slot and its canary last (fabric F4): a reader
// that finds the same stamp before and after copying has copied one slot, not two. Where a fabric cannot promise that
// order, the canary is a keyed checksum over header and value (Integrity::checksum).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/types.hpp"

namespace mu {

enum class SlotKind : std::uint32_t {
    empty = 1,      // decides nothing new: seals a tenure, carries a commit offset
    pad = 2,        // fills the ring up to its end, so that no slot wraps
    commands = 3,   // one or more client commands
    formation = 4,  // the incarnations with which the cluster began; always the first slot
    admit = 5,      // a restarted replica's new incarnation
};

struct SlotHeader {
    std::uint64_t stamp = 0;
    Offset offset = 0;
    Proposal proposal = kNoProposal;
    Proposal previous = kNoProposal;  // the proposal of the slot that ends at `offset`
    Offset commit = 0;                // everything below is decided
    std::uint32_t length = 0;         // of the value, in bytes
    SlotKind kind = SlotKind::empty;
};
static_assert(sizeof(SlotHeader) == 48);

inline constexpr std::size_t kSlotAlignment = kCacheLine;
inline constexpr std::size_t kCanaryBytes = 8;

constexpr std::uint64_t canary_at(std::uint32_t length) noexcept { return sizeof(SlotHeader) + align_up(length, 8); }
// What a value of `length` bytes occupies in the ring.
constexpr std::uint64_t slot_bytes(std::uint32_t length) noexcept {
    return align_up(canary_at(length) + kCanaryBytes, kSlotAlignment);
}
static_assert(slot_bytes(0) == kSlotAlignment);  // so a pad always fits before the end of the ring
static_assert(slot_bytes(72) == 128);

enum class Integrity : std::uint8_t { stamp, checksum };

// A slot as found in a ring; `value` points into the ring.
struct Slot {
    SlotHeader header;
    std::span<std::byte const> value;

    [[nodiscard]] Offset end() const noexcept;
    [[nodiscard]] Position after() const noexcept { return {end(), header.proposal}; }
};

// How slots look in rings of one cluster: the key, the size of the ring, the kind of canary.
class LogFormat {
public:
    LogFormat(std::uint64_t cluster_key, std::uint64_t ring_bytes, Integrity integrity);

    [[nodiscard]] std::uint64_t ring_bytes() const noexcept { return ring_bytes_; }
    [[nodiscard]] Integrity integrity() const noexcept { return integrity_; }
    [[nodiscard]] std::uint32_t max_value() const noexcept { return max_value_; }
    // Where offset X lies in the ring.
    [[nodiscard]] std::uint64_t place(Offset offset) const noexcept { return offset & (ring_bytes_ - 1); }
    // Bytes from X to the end of the ring.
    [[nodiscard]] std::uint64_t room_to_end(Offset offset) const noexcept { return ring_bytes_ - place(offset); }
    // The length that makes a pad reach from `offset` to the end of the ring.
    [[nodiscard]] std::uint32_t pad_length(Offset offset) const noexcept;

    // Fills in the stamp; returns the canary.
    [[nodiscard]] std::uint64_t seal(SlotHeader& header, std::span<std::byte const> value) const noexcept;

    // The canary that belongs to a slot as found.
    [[nodiscard]] std::uint64_t canary(Slot const& slot) const noexcept;

    // The valid slot at `at` in `ring`, or nothing. Loads the stamp and the canary with acquire order, so it may run
    // while another replica writes; whoever uses the value must then check unchanged().
    [[nodiscard]] std::optional<Slot> parse(std::span<std::byte const> ring, Position const& at) const noexcept;
    // Where the value of a slot with this header lies.
    [[nodiscard]] std::span<std::byte const> value_of(std::span<std::byte const> ring,
                                                      SlotHeader const& header) const noexcept {
        std::size_t const length = header.kind == SlotKind::pad ? 0 : header.length;
        return ring.subspan(place(header.offset) + sizeof(SlotHeader), length);
    }
    // Asks for the lines at `at`, which will be read soon. Only a hint.
    void prefetch(std::span<std::byte const> ring, Offset at) const noexcept {
        __builtin_prefetch(ring.data() + place(at));
        __builtin_prefetch(ring.data() + place(at + kCacheLine));
    }
    // Whether the slot that was read is still there: call after copying, before trusting the copy.
    [[nodiscard]] bool unchanged(std::span<std::byte const> ring, Slot const& slot) const noexcept;
    // The position after the last slot of the chain that starts at `from`.
    [[nodiscard]] Position chain_end(std::span<std::byte const> ring, Position const& from) const noexcept;
    // The part of the chain from `from` that nothing has begun to overwrite, judged after it was copied.
    [[nodiscard]] Offset unchanged_until(std::span<std::byte const> ring, std::span<std::byte const> copy, Offset from,
                                         Offset to) const noexcept;

private:
    [[nodiscard]] std::uint64_t stamp_of(SlotHeader const& header) const noexcept;
    [[nodiscard]] std::uint64_t canary_of(SlotHeader const& header, std::span<std::byte const> value) const noexcept;
    [[nodiscard]] std::uint64_t checksum(std::uint64_t sum, std::span<std::byte const> value) const noexcept;

    std::uint64_t key_;
    std::uint64_t ring_bytes_;  // a power of two
    std::uint32_t max_value_;
    Integrity integrity_;
};

}  // namespace mu
