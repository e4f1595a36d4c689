// Monotonic time for the planes' threads.
#pragma once

#include <time.h>

#include <algorithm>
#include <limits>

#include "common/types.hpp"

namespace mu {

[[nodiscard]] inline Nanoseconds monotonic_now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<Nanoseconds>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// The moment so long after now; for ever, if it is too far away to be told.
[[nodiscard]] inline Nanoseconds deadline_after(Nanoseconds timeout) noexcept {
    Nanoseconds const now = monotonic_now();
    return now + std::min(timeout, std::numeric_limits<Nanoseconds>::max() - now);
}

}  // namespace mu
