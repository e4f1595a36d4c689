// The settings of the core that may be changed by their names; rarely needed, and by tests.
#pragma once

#include <string_view>

#include "protocol/settings.hpp"

namespace mu {

// In nanoseconds. Throws std::invalid_argument if there is no such setting, or the value is negative.
void tune(Settings& settings, std::string_view name, Nanoseconds value);

// Several at once, as in "stale_limit=50000000,stuck_limit=200000000"; an empty text changes nothing.
void tune(Settings& settings, std::string_view text);

}  // namespace mu
