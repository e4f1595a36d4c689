#include "log.hpp"

#include <atomic>
#include <cstring>

#include "common/assert.hpp"

namespace mu {
namespace {

constexpr std::uint64_t kMixA = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t kMixB = 0xe7037ed1a0b428dbULL;
constexpr std::uint64_t kMixC = 0x8ebc6af09c88c6e3ULL;

// Folds a 128-bit product: every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    __extension__ using Wide = unsigned __int128;
    Wide const product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

std::uint64_t load_word(std::byte const* at, std::memory_order order) noexcept {
    // atomic_ref wants a mutable object before C++26; nothing is written through it.
    auto* word = reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(at));
    return std::atomic_ref<std::uint64_t>(*word).load(order);
}

// Another replica may be writing while this reads: word by word, so that each word is whole.
SlotHeader load_header(std::byte const* at, std::uint64_t stamp) noexcept {
    std::uint64_t words[6];
    words[0] = stamp;
    for (std::size_t i = 1; i < 6; ++i) {
        words[i] = load_word(at + 8 * i, std::memory_order_relaxed);
    }
    SlotHeader header;
    static_assert(sizeof words == sizeof header);
    std::memcpy(&header, words, sizeof header);
    return header;
}

bool known(SlotKind kind) noexcept { return kind >= SlotKind::empty && kind <= SlotKind::admit; }

}  // namespace

Offset Slot::end() const noexcept {
    // A pad's length counts its unused bytes too, so every slot knows its end by itself.
    return header.offset + slot_bytes(header.length);
}

LogFormat::LogFormat(std::uint64_t cluster_key, std::uint64_t ring_bytes, Integrity integrity)
    : key_(cluster_key ^ kMixC),
      ring_bytes_(ring_bytes),
      max_value_(static_cast<std::uint32_t>(ring_bytes / 8 - kSlotAlignment)),
      integrity_(integrity) {
    MU_ASSERT(ring_bytes >= 4096 && (ring_bytes & (ring_bytes - 1)) == 0 && ring_bytes <= kLargestRing);
}

std::uint32_t LogFormat::pad_length(Offset offset) const noexcept {
    std::uint64_t const length = room_to_end(offset) - sizeof(SlotHeader) - kCanaryBytes;
    MU_ASSERT(slot_bytes(static_cast<std::uint32_t>(length)) == room_to_end(offset));
    return static_cast<std::uint32_t>(length);
}

std::uint64_t LogFormat::stamp_of(SlotHeader const& header) const noexcept {
    std::uint64_t const shape = (static_cast<std::uint64_t>(header.kind) << 32U) | header.length;
    std::uint64_t const place = mix(header.offset ^ key_, header.proposal ^ kMixA);
    std::uint64_t const link = mix(header.previous ^ kMixB, header.commit ^ key_);
    std::uint64_t const stamp = mix(place ^ shape ^ kMixC, link ^ kMixA);
    return stamp == 0 ? 1 : stamp;  // 0 is the end mark
}

inline std::uint64_t LogFormat::canary_of(SlotHeader const& header, std::span<std::byte const> value) const noexcept {
    std::uint64_t const sum = mix(header.stamp ^ kMixB, key_ ^ kMixA);
    return integrity_ == Integrity::stamp || header.kind == SlotKind::pad ? sum : checksum(sum, value);
}

std::uint64_t LogFormat::canary(Slot const& slot) const noexcept { return canary_of(slot.header, slot.value); }

std::uint64_t LogFormat::checksum(std::uint64_t sum, std::span<std::byte const> value) const noexcept {
    std::size_t i = 0;
    for (; i + 8 <= value.size(); i += 8) {
        sum = mix(sum ^ load_word(value.data() + i, std::memory_order_relaxed), kMixC);
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, value.data() + i, value.size() - i);
    return mix(sum ^ rest, kMixA ^ value.size());
}

std::uint64_t LogFormat::seal(SlotHeader& header, std::span<std::byte const> value) const noexcept {
    header.stamp = stamp_of(header);
    return canary_of(header, value);
}

std::optional<Slot> LogFormat::parse(std::span<std::byte const> ring, Position const& at) const noexcept {
    std::byte const* const base = ring.data() + place(at.offset);
    std::uint64_t const stamp = load_word(base, std::memory_order_acquire);
    if (stamp == 0) {
        return std::nullopt;
    }
    SlotHeader const header = load_header(base, stamp);
    if (header.offset != at.offset || header.previous != at.previous || !known(header.kind) ||
        header.stamp != stamp_of(header)) {
        return std::nullopt;
    }
    // From here on the header is one that a member of this cluster sealed: its length is sane.
    bool const pad = header.kind == SlotKind::pad;
    MU_ASSERT(slot_bytes(header.length) <= room_to_end(at.offset));
    Slot const slot{header, value_of(ring, header)};
    std::uint64_t const canary =
        load_word(base + (pad ? sizeof(SlotHeader) : canary_at(header.length)), std::memory_order_acquire);
    if (canary != canary_of(header, slot.value)) {
        return std::nullopt;
    }
    return slot;
}

bool LogFormat::unchanged(std::span<std::byte const> ring, Slot const& slot) const noexcept {
    std::atomic_thread_fence(std::memory_order_acquire);
    return load_word(ring.data() + place(slot.header.offset), std::memory_order_relaxed) == slot.header.stamp;
}

Position LogFormat::chain_end(std::span<std::byte const> ring, Position const& from) const noexcept {
    Position at = from;
    // A chain cannot be longer than its ring: what lies a lap ahead would name another offset.
    while (at.offset - from.offset < ring_bytes_) {
        std::optional<Slot> const slot = parse(ring, at);
        if (!slot) {
            break;
        }
        at = slot->after();
    }
    return at;
}

Offset LogFormat::unchanged_until(std::span<std::byte const> ring, std::span<std::byte const> copy, Offset from,
                                  Offset to) const noexcept {
    std::atomic_thread_fence(std::memory_order_acquire);
    Offset at = from;
    while (at < to) {
        std::byte const* const base = copy.data() + place(at);
        std::uint64_t const stamp = load_word(base, std::memory_order_relaxed);
        if (stamp == 0 || load_word(ring.data() + place(at), std::memory_order_relaxed) != stamp) {
            return at;
        }
        SlotHeader const header = load_header(base, stamp);
        if (header.offset != at || header.stamp != stamp_of(header)) {
            return at;
        }
        Offset const end = at + slot_bytes(header.length);
        if (end > to) {
            return at;  // a longer slot has begun in the place of the one that was there, and is not all in the copy
        }
        at = end;
    }
    return at;
}

}  // namespace mu
