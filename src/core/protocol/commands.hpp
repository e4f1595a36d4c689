// How clients' commands lie in the value of one slot: a count, the lengths, then the commands one after the other.
//
//     | count u32 | length u32 × count | padding to 8 bytes | command … | command … |
//
// A length's top bit says that the command is a session's: it begins with client id and request number.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "common/types.hpp"

namespace mu {

struct SessionRequest {
    std::uint64_t client = 0;  // 0: no session
    std::uint64_t number = 0;  // from 1, each new command one more; with kRetryBit if it was sent before
};

inline constexpr std::uint64_t kRetryBit = 1ULL << 63U;
inline constexpr std::uint32_t kSessionBit = 1U << 31U;
inline constexpr std::size_t kSessionBytes = sizeof(SessionRequest);

// Where the length of command `index` lies, and what comes before the first command.
constexpr std::size_t command_length_at(std::size_t index) noexcept { return 4 + 4 * index; }
constexpr std::size_t commands_prefix_bytes(std::size_t count) noexcept {
    return align_up(command_length_at(count), 8);
}

// Walks over the commands of a slot's value. A value that does not add up ends the walk early: it was sealed by a
// member, so that cannot happen, but nothing is read beyond it either way.
class CommandReader {
public:
    struct Command {
        SessionRequest session;
        std::span<std::byte const> bytes;
    };

    explicit CommandReader(std::span<std::byte const> value) noexcept : value_(value) {
        if (value.size() >= 4) {
            std::memcpy(&count_, value.data(), 4);
        }
        if (commands_prefix_bytes(count_) > value.size()) {
            count_ = 0;
        }
        next_at_ = commands_prefix_bytes(count_);
    }

    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

    [[nodiscard]] bool next(Command& command) noexcept {
        if (taken_ == count_) {
            return false;
        }
        std::uint32_t length = 0;
        std::memcpy(&length, value_.data() + command_length_at(taken_++), 4);
        bool const has_session = (length & kSessionBit) != 0;
        length &= ~kSessionBit;
        if (next_at_ + length > value_.size() || (has_session && length < kSessionBytes)) {
            taken_ = count_;
            return false;
        }
        command.bytes = value_.subspan(next_at_, length);
        command.session = {};
        next_at_ += length;
        if (has_session) {
            std::memcpy(&command.session, command.bytes.data(), kSessionBytes);
            command.bytes = command.bytes.subspan(kSessionBytes);
        }
        return true;
    }

private:
    std::span<std::byte const> value_;
    std::uint32_t count_ = 0;
    std::uint32_t taken_ = 0;
    std::size_t next_at_ = 0;
};

}  // namespace mu
