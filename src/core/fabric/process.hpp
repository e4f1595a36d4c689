// What the kernel knows of a process that this one did not start.
#pragma once

#include <cstdint>

namespace mu {

struct ProcessState {
    char letter = 0;               // as the kernel names it: R, S, D, T, …; 0 if there is no such process to be seen
    std::uint64_t started_at = 0;  // in clock ticks since the machine's start: tells two users of one pid apart
};

// Opens, reads and parses a file of /proc: some ten microseconds.
[[nodiscard]] ProcessState look_at_process(std::int32_t pid) noexcept;

}  // namespace mu
