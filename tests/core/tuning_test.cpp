#include "runtime/tuning.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

using namespace mu;

TEST_CASE("Settings are tuned by their names, several at once") {
    Settings settings;
    Nanoseconds const untouched = settings.stall_limit;
    tune(settings, "stale_limit=7000000,stuck_limit=0");
    tune(settings, "");
    CHECK(settings.stale_limit == 7 * kMillisecond);
    CHECK(settings.stuck_limit == 0);
    CHECK(settings.stall_limit == untouched);
}

TEST_CASE("What is no setting, or no time, is refused by its name") {
    for (char const* const wrong :
         {"stale=1", "stale_limit", "stale_limit=", "stale_limit=1ms", "stale_limit=-1", "="}) {
        Settings settings;
        CHECK_THROWS_AS(tune(settings, wrong), std::invalid_argument);
    }
}
