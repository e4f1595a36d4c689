// Slots written by hand, as a leader would write them, into a ring that a test owns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"
#include "log.hpp"

namespace mu::test {

inline constexpr std::uint64_t kKey = 0x5eed'c0de'0000'0001ULL;
inline constexpr std::size_t kWordBytes = 8;

inline std::span<std::byte const> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string text_of(std::span<std::byte const> bytes) {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

// At the end of `to`. (In a file of its own: where GCC 12 can see that a vector is empty, it warns of overflows.)
void append(OwnedBytes& to, std::span<std::byte const> bytes);
template <class T>
    requires std::is_trivially_copyable_v<T> && (!std::ranges::range<T>)
void append(OwnedBytes& to, T const& value) {
    append(to, std::as_bytes(std::span(&value, 1)));
}

// A slot as it lies in the ring: header, value, canary.
struct Sealed {
    SlotHeader header;
    OwnedBytes bytes;

    [[nodiscard]] std::size_t words() const noexcept { return bytes.size() / kWordBytes; }
    [[nodiscard]] Position after() const noexcept {
        return {header.offset + slot_bytes(header.length), header.proposal};
    }
};

inline Sealed seal(LogFormat const& format, Position const& at, Proposal proposal, std::string_view value = {},
                   SlotKind kind = SlotKind::commands, Offset commit = 0) {
    Sealed sealed;
    sealed.header = {0, at.offset, proposal, at.previous, commit, static_cast<std::uint32_t>(value.size()), kind};
    if (kind == SlotKind::pad) {
        sealed.header.length = format.pad_length(at.offset);
    }
    OwnedBytes const aligned(bytes_of(value).begin(), bytes_of(value).end());  // a checksum reads it by words
    std::uint64_t const canary = format.seal(sealed.header, aligned);
    sealed.bytes.resize(canary_at(static_cast<std::uint32_t>(value.size())) + kCanaryBytes);
    std::memcpy(sealed.bytes.data(), &sealed.header, sizeof sealed.header);
    if (!value.empty()) {
        std::memcpy(sealed.bytes.data() + sizeof sealed.header, value.data(), value.size());
    }
    std::memcpy(sealed.bytes.data() + sealed.bytes.size() - kCanaryBytes, &canary, kCanaryBytes);
    return sealed;
}

// A ring of one cluster, empty at first.
struct Ring {
    explicit Ring(Integrity integrity = Integrity::stamp, std::uint64_t ring_bytes = 4096)
        : format(kKey, ring_bytes, integrity), bytes(ring_bytes) {}

    // The words of `slot` that `landed` names, by index.
    template <class Landed>
    void put_words(Sealed const& slot, Landed const& landed) {
        for (std::size_t word = 0; word < slot.words(); ++word) {
            if (landed(word)) {
                std::memcpy(bytes.data() + format.place(slot.header.offset) + word * kWordBytes,
                            slot.bytes.data() + word * kWordBytes, kWordBytes);
            }
        }
    }
    Position put(Sealed const& slot) {
        put_words(slot, [](std::size_t) { return true; });
        return slot.after();
    }
    Position put(Position const& at, Proposal proposal, std::string_view value = {}, SlotKind kind = SlotKind::commands,
                 Offset commit = 0) {
        return put(seal(format, at, proposal, value, kind, commit));
    }
    [[nodiscard]] std::optional<Slot> parse(Position const& at) const { return format.parse(bytes, at); }
    [[nodiscard]] Position chain_end(Position const& from = {}) const { return format.chain_end(bytes, from); }

    LogFormat format;
    OwnedBytes bytes;
};

}  // namespace mu::test
