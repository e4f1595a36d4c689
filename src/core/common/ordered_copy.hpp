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
inline constexpr std::size_t kInlineBytes = 128;

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

// Private to shared, in no particular order; `bytes` is a multiple of 8.
inline void copy_in(std::byte* to, std::byte const* from, std::size_t bytes) noexcept {
    if constexpr (kEveryWordAtomic) {
        for (std::size_t i = 0; i < bytes; i += kWord) {
            word(to + i).store(private_word(from + i), std::memory_order_relaxed);
        }
    } else if (bytes > kInlineBytes) {
        std::memcpy(to, from, bytes);
    } else {
        std::size_t i = 0;
        for (; i + 16 <= bytes; i += 16) {
            __builtin_memcpy(to + i, from + i, 16);
        }
        if (i < bytes) __builtin_memcpy(to + i, from + i, kWord);
    }
}

// The same for any length; a ragged end is filled up with zeros.
inline void copy_in_padded(std::byte* to, Bytes part) noexcept {
    std::size_t const whole = part.size() / kWord * kWord;
    if (whole != 0) copy_in(to, part.data(), whole);
    if (whole != part.size()) word(to + whole).store(last_word(part), std::memory_order_relaxed);
}

// A write whose first word begins `head` and whose last word is `last`.
inline void copy_framed(std::byte* to, Bytes head, Bytes body, std::uint64_t last) noexcept {
    // Release: it must not overtake the last word of the write before it either (F3).
    word(to).store(private_word(head.data()), std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);
    copy_in(to + kWord, head.data() + kWord, head.size() - kWord);
    copy_in_padded(to + head.size(), body);
    word(to + align_up(head.size() + body.size(), kWord)).store(last, std::memory_order_release);
}

// Writes of any other form. They are rare, so each part is simply taken word by word.
inline void copy_by_words(std::byte* to, Bytes head, Bytes body, Bytes tail) noexcept {
    std::size_t const tail_at = align_up(head.size() + body.size(), kWord);
    std::size_t const total = align_up(tail_at + tail.size(), kWord);
    for (std::size_t at = 0; at < total; at += kWord) {
        Bytes const part = at < head.size() ? head : at < tail_at ? body : tail;
        std::size_t const part_at = at < head.size() ? 0 : at < tail_at ? head.size() : tail_at;
        std::size_t const reach = at - part_at + kWord < part.size() ? at - part_at + kWord : part.size();
        word(to + at).store(last_word(part.first(reach)), std::memory_order_release);
    }
}

}  // namespace racy

// How many bytes a write of three parts covers: the tail begins at the next multiple of 8 after the body.
constexpr std::size_t ordered_bytes(Bytes head, Bytes body, Bytes tail) noexcept {
    return align_up(align_up(head.size() + body.size(), kWord) + tail.size(), kWord);
}

// Stores one write. `to` is aligned to 8; a head that is followed by anything is a multiple of 8 long.
inline void ordered_copy(std::byte* to, Bytes head, Bytes body = {}, Bytes tail = {}) noexcept {
    MU_ASSERT(reinterpret_cast<std::uintptr_t>(to) % kWord == 0);
    bool const whole_head = head.size() % kWord == 0;
    bool const only_head = body.empty() && tail.empty();
    MU_ASSERT(!head.empty() || !only_head);
    MU_ASSERT(whole_head || only_head);
    if (tail.size() == kWord && head.size() >= kWord) [[likely]] {  // a slot
        racy::copy_framed(to, head, body, racy::private_word(tail.data()));
    } else if (only_head && whole_head && head.size() > kWord) {  // slots as they lie in another log
        racy::copy_framed(to, head.first(head.size() - kWord), {}, racy::last_word(head));
    } else {
        racy::copy_by_words(to, head, body, tail);
    }
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
