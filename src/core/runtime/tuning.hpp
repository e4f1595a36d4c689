// The settings of the core that may be changed by their names (rarely needed, and by tests), and how they follow from the
// medium.
#pragma once

#include <string_view>

#include "protocol/settings.hpp"

namespace mu {

// In nanoseconds. Throws std::invalid_argument if there is no such setting, or the value is negative.
void tune(Settings& settings, std::string_view name, Nanoseconds value);

// Several at once, as in "stale_limit=50000000,stuck_limit=200000000"; an empty text changes nothing.
void tune(Settings& settings, std::string_view text);

// On a soft device one operation takes as long as a hundred on hardware, and threads of the kernel's own take the
// processor for milliseconds: all time limits grow by the same factor, so that what holds between them goes on holding.
// Whatever somebody has chosen himself stays as it is.
[[nodiscard]] Settings for_medium(Settings settings, bool soft) noexcept;

}  // namespace mu
