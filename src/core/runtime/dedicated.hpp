// How the protocol's times change when every thread has a core of its own.
#pragma once

#include "protocol/settings.hpp"

namespace mu {

// With a core for every thread nobody is ever descheduled for long, so a death shows within a millisecond.
inline void use_dedicated_cores(Settings& settings) noexcept {
    settings.heartbeat_period = 50 * kMicrosecond;
    settings.heartbeat_idle_period = 50 * kMicrosecond;
    settings.stale_limit = 1 * kMillisecond;
    settings.starved_limit = 1 * kMillisecond;
    settings.stuck_limit = 2 * kMillisecond;
    settings.minimum_hold = 500 * kMicrosecond;
    settings.grant_timeout = 2 * kMillisecond;
    settings.backoff_first = 100 * kMicrosecond;
    settings.joiner_retry = 500 * kMicrosecond;
}

}  // namespace mu
