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
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/assert.hpp"
#include "common/types.hpp"

namespace mu {

using Bytes = std::span<std::byte const>;

inline constexpr std::size_t kWord = 8;  // what is read and written whole, in bytes

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

// The word at `at` of a private part; what lies beyond the part reads as zero.
inline std::uint64_t private_word(Bytes part, std::size_t at) noexcept {
    std::uint64_t value = 0;
    if (part.size() - at >= kWord) [[likely]] {
        std::memcpy(&value, part.data() + at, kWord);
    } else {
        std::memcpy(&value, part.data() + at, part.size() - at);
    }
    return value;
}

// Private to shared, in no particular order; `bytes` is a multiple of 8.
inline void copy_in(std::byte* to, std::byte const* from, std::size_t bytes) noexcept {
    if constexpr (kEveryWordAtomic) {
        for (std::size_t i = 0; i < bytes; i += kWord) {
            word(to + i).store(private_word({from + i, kWord}, 0), std::memory_order_relaxed);
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

// The words of `part`, which lies at `at` of the write, but for the write's first and last word.
inline void copy_between(std::byte* to, Bytes part, std::size_t at, std::size_t last) noexcept {
    std::size_t const whole = part.size() / kWord * kWord;
    std::size_t const begin = at == 0 ? kWord : at;
    std::size_t const end = at + whole < last ? at + whole : last;
    if (begin < end) copy_in(to + begin, part.data() + (begin - at), end - begin);
    if (whole < part.size() && at + whole >= begin && at + whole < last) {
        word(to + at + whole).store(private_word(part, whole), std::memory_order_relaxed);
    }
}

}  // namespace racy

// How many bytes a write of three parts covers: the tail begins at the next multiple of 8 after the body.
constexpr std::size_t ordered_bytes(Bytes head, Bytes body, Bytes tail) noexcept {
    return align_up(align_up(head.size() + body.size(), kWord) + tail.size(), kWord);
}

// Stores one write. `to` is aligned to 8; a head that is followed by anything is a multiple of 8 long.
inline void ordered_copy(std::byte* to, Bytes head, Bytes body = {}, Bytes tail = {}) noexcept {
    std::size_t const body_at = head.size();
    std::size_t const tail_at = align_up(body_at + body.size(), kWord);
    std::size_t const total = align_up(tail_at + tail.size(), kWord);
    MU_ASSERT(total > 0 && reinterpret_cast<std::uintptr_t>(to) % kWord == 0);
    MU_ASSERT(body_at % kWord == 0 || (body.empty() && tail.empty()));

    Bytes const first = !head.empty() ? head : !body.empty() ? body : tail;
    Bytes const final = !tail.empty() ? tail : !body.empty() ? body : head;
    std::size_t const last = total - kWord;
    if (last != 0) {
        // Release: it must not overtake the last word of the write before it either (F3).
        racy::word(to).store(racy::private_word(first, 0), std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_release);
        racy::copy_between(to, head, 0, last);
        racy::copy_between(to, body, body_at, last);
        racy::copy_between(to, tail, tail_at, last);
    }
    racy::word(to + last).store(racy::private_word(final, (final.size() - 1) / kWord * kWord),
                                std::memory_order_release);
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
