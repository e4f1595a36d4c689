// Copies into and out of memory that another process reads or writes at the same time (fabric contract, F4).
//
//     | first word |  everything between, in any order  | last word |
//       stored 1st   (plain memcpy, vector stores)        stored last
//
// Invariant: whoever sees any byte of a write sees its first word when it looks next, and whoever sees its last word
// sees all of it. Aligned 8-byte words are stored whole: targets are aligned to 8 and lengths are rounded up to 8
// (ragged ends are filled with zeros), and memcpy of such a block uses no store that splits a word. String moves may
// disorder their own bytes but no store passes them.
//
// The race with the readers is intended: it is a sequence lock whose sequence is the first and the last word. Compilers
// keep the plain stores between the two fences. ThreadSanitizer cannot know any of this, so under it every word is a
// relaxed atomic.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/assert.hpp"
#include "common/types.hpp"

namespace mu {

using Bytes = std::span<std::byte const>;

inline constexpr std::size_t kWord = 8;                     // what is read and written whole, in bytes
static_assert(std::endian::native == std::endian::little);  // what is cut off a word is cut off its end

namespace racy {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kEveryWordAtomic = true;
#else
inline constexpr bool kEveryWordAtomic = false;
#endif

// Below this a loop of vector moves beats the call of memcpy, in bytes.
inline constexpr std::size_t kInlineBytes = 256;

// A short head has just been put together, of words: a processor loads what it has just stored at once only in pieces
// that were stored whole.
inline constexpr std::size_t kFreshBytes = 64;

inline std::atomic_ref<std::uint64_t> word(std::byte const* at) noexcept {
    // Shared memory is mapped writable; const is only the reader's view of it.
    return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(at)));
}

inline std::uint64_t private_word(std::byte const* at) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, at, kWord);
    return value;
}

// The last word of a private part that is not empty; what lies beyond the part reads as zero.
inline std::uint64_t last_word(Bytes part) noexcept {
    std::size_t const missing = (kWord - part.size() % kWord) % kWord;
    if (part.size() >= kWord) [[likely]] {
        return private_word(part.data() + part.size() - kWord) >> (8 * missing);
    }
    std::uint64_t value = 0;
    std::memcpy(&value, part.data(), part.size());
    return value;
}

// The same bytes go to the same place in several rings at once: what is loaded once is stored several times, and the
// stores of one ring need not wait for those of another. `Most` is their number, or, where that may be less, `kAnyRings`.
// All of it is inlined, so that the places stay in registers.
inline constexpr std::size_t kAnyRings = kMaxReplicas;

template <std::size_t Most>
class Rings {
public:
    // Places of as many rings, each aligned to 8.
    [[gnu::always_inline]] explicit Rings(std::span<std::byte* const> places) noexcept : count_(places.size()) {
        for (std::size_t k = 0; k < count(); ++k) {
            places_[k] = places[k];
        }
    }

    // Private to shared, in no particular order; `bytes` is a multiple of 8.
    [[gnu::always_inline]] void copy_in(std::size_t at, std::byte const* from, std::size_t bytes) const noexcept {
        if constexpr (kEveryWordAtomic) {
            for (std::size_t i = 0; i < bytes; i += kWord) {
                store(at + i, private_word(from + i), std::memory_order_relaxed);
            }
        } else if (bytes > kInlineBytes) {
            // From the next cache line on, so that whole lines are written.
            std::size_t const ahead = -reinterpret_cast<std::uintptr_t>(places_[0] + at) % kCacheLine;
            copy_inline(at, from, ahead);
            each([&](std::byte* place) { std::memcpy(place + at + ahead, from + ahead, bytes - ahead); });
        } else {
            copy_inline(at, from, bytes);
        }
    }
    // The same for any length; a ragged end is filled up with zeros.
    [[gnu::always_inline]] void copy_in_padded(std::size_t at, Bytes part) const noexcept {
        std::size_t const whole = part.size() / kWord * kWord;
        if (whole != 0) copy_in(at, part.data(), whole);
        if (whole != part.size()) store(at + whole, last_word(part), std::memory_order_relaxed);
    }
    [[gnu::always_inline]] void store(std::size_t at, std::uint64_t value, std::memory_order order) const noexcept {
        each([&](std::byte* place) { word(place + at).store(value, order); });
    }

private:
    [[gnu::always_inline]] void copy_inline(std::size_t at, std::byte const* from, std::size_t bytes) const noexcept {
        struct Pair {
            std::byte bytes[2 * kWord];
        };
        std::size_t i = 0;
        for (; i + sizeof(Pair) <= bytes; i += sizeof(Pair)) {
            Pair pair;
            __builtin_memcpy(&pair, from + i, sizeof pair);
            each([&](std::byte* place) { __builtin_memcpy(place + at + i, &pair, sizeof pair); });
        }
        if (i < bytes) store(at + i, private_word(from + i), std::memory_order_relaxed);
    }

    template <class Do>
    [[gnu::always_inline]] void each(Do const& act) const noexcept {
        if constexpr (Most == kAnyRings) {
#pragma GCC unroll 1
            for (std::size_t k = 0; k < count_; ++k) {
                act(places_[k]);
            }
        } else {
#pragma GCC unroll 4
            for (std::size_t k = 0; k < Most; ++k) {
                act(places_[k]);
            }
        }
    }
    [[nodiscard]] std::size_t count() const noexcept { return Most == kAnyRings ? count_ : Most; }

    std::array<std::byte*, Most> places_;
    std::size_t count_;
};

// A write whose first word begins `head` and whose last word is `last`.
template <class To>
[[gnu::always_inline]] inline void copy_framed(To const& to, Bytes head, Bytes body, std::uint64_t last) noexcept {
    // Release: it must not overtake the last word of the write before it either (F3).
    to.store(0, private_word(head.data()), std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);
    if (head.size() <= kFreshBytes) {
        for (std::size_t i = kWord; i < head.size(); i += kWord) {
            to.store(i, private_word(head.data() + i), std::memory_order_relaxed);
        }
    } else {
        to.copy_in(kWord, head.data() + kWord, head.size() - kWord);
    }
    to.copy_in_padded(head.size(), body);
    to.store(align_up(head.size() + body.size(), kWord), last, std::memory_order_release);
}

// Writes of any form and length. Not inlined: the short ones keep more registers, and less code has to be at hand.
void copy_any_to_all(std::span<std::byte* const> places, Bytes head, Bytes body, Bytes tail) noexcept;

}  // namespace racy

// How many bytes a write of three parts covers: the tail begins at the next multiple of 8 after the body.
constexpr std::size_t ordered_bytes(Bytes head, Bytes body, Bytes tail) noexcept {
    return align_up(align_up(head.size() + body.size(), kWord) + tail.size(), kWord);
}

// Stores one write at each of several places, which are aligned to 8; a head that is followed by anything is a multiple
// of 8 long.
inline void ordered_copy_to_all(std::span<std::byte* const> places, Bytes head, Bytes body, Bytes tail) noexcept {
    bool const framed = tail.size() == kWord && head.size() >= kWord && head.size() % kWord == 0;
    if (framed && head.size() <= racy::kFreshBytes && body.size() <= racy::kInlineBytes) [[likely]] {
        std::uint64_t const last = racy::private_word(tail.data());
        switch (places.size()) {  // the usual ones are worth code of their own
            case 2:
                return racy::copy_framed(racy::Rings<2>(places), head, body, last);
            case 3:
                return racy::copy_framed(racy::Rings<3>(places), head, body, last);
            default:
                return racy::copy_framed(racy::Rings<racy::kAnyRings>(places), head, body, last);
        }
    }
    racy::copy_any_to_all(places, head, body, tail);
}

inline void ordered_copy(std::byte* to, Bytes head, Bytes body = {}, Bytes tail = {}) noexcept {
    MU_ASSERT(reinterpret_cast<std::uintptr_t>(to) % kWord == 0);
    racy::copy_any_to_all(std::span(&to, 1), head, body, tail);
}

// Shared to shared; all three are multiples of 8.
inline void racy_copy(std::byte* to, std::byte const* from, std::size_t bytes) noexcept {
    if constexpr (racy::kEveryWordAtomic) {
        for (std::size_t i = 0; i < bytes; i += kWord) {
            racy::word(to + i).store(racy::word(from + i).load(std::memory_order_relaxed), std::memory_order_relaxed);
        }
    } else if (bytes != 0) {
        std::memcpy(to, from, bytes);
    }
}

// The reader's side: shared to private, of any length; `from` is aligned to 8. What is loaded after it is loaded later
// (so a check that comes after the copy judges the copy).
inline void racy_copy_out(std::byte* into, std::byte const* from, std::size_t bytes) noexcept {
    if constexpr (racy::kEveryWordAtomic) {
        for (std::size_t i = 0; i < bytes; i += kWord) {
            std::uint64_t const value = racy::word(from + i).load(std::memory_order_relaxed);
            std::memcpy(into + i, &value, bytes - i < kWord ? bytes - i : kWord);
        }
    } else if (bytes != 0) {
        std::memcpy(into, from, bytes);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
}

}  // namespace mu
