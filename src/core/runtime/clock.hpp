// Monotonic time for the planes' threads.
#pragma once

#include <time.h>

#include "common/types.hpp"

namespace mu {

[[nodiscard]] inline Nanoseconds monotonic_now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<Nanoseconds>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace mu
