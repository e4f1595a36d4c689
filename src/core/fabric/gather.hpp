// The bytes of a gathered write, laid out as they are to arrive, or a piece of them.
#pragma once

#include <algorithm>
#include <cstring>

#include "fabric/fabric.hpp"

namespace mu {

// Copies bytes [from, from + length) of `bytes`. In no particular order: for fabrics without ordered writes.
inline void copy_gather(std::byte* to, Gather const& bytes, std::size_t from, std::size_t length) noexcept {
    std::size_t const before_tail = bytes.head.size() + bytes.body.size();
    std::size_t const tail_at = bytes.tail.empty() ? before_tail : align_up(before_tail, 8);
    auto const lay = [&](std::span<std::byte const> part, std::size_t at) {
        std::size_t const begin = std::max(at, from);
        std::size_t const end = std::min(at + part.size(), from + length);
        if (begin < end) std::memcpy(to + (begin - from), part.data() + (begin - at), end - begin);
    };
    lay(bytes.head, 0);
    lay(bytes.body, bytes.head.size());
    if (tail_at > before_tail && from < tail_at && from + length > before_tail) {
        std::size_t const begin = std::max(before_tail, from);
        std::memset(to + (begin - from), 0, std::min(tail_at, from + length) - begin);
    }
    lay(bytes.tail, tail_at);
}

[[nodiscard]] inline std::size_t bytes_of(Gather const& bytes) noexcept {
    std::size_t const before_tail = bytes.head.size() + bytes.body.size();
    return bytes.tail.empty() ? before_tail : align_up(before_tail, 8) + bytes.tail.size();
}

}  // namespace mu
