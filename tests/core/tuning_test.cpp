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
    for (char const* const wrong : {"stale=1", "stale_limit", "stale_limit=", "stale_limit=1ms", "stale_limit=-1",
                                    "stale_limit=9000000000000000000", "="}) {
        Settings settings;
        CHECK_THROWS_AS(tune(settings, wrong), std::invalid_argument);
    }
}

TEST_CASE("On a soft device time limits keep their proportions: as many beats fit into a back-off as on hardware") {
    Settings const usual;
    Settings const soft = for_medium(usual, true);
    CHECK(soft.heartbeat_period > usual.heartbeat_period);
    CHECK(soft.backoff_limit / soft.heartbeat_period == usual.backoff_limit / usual.heartbeat_period);
    CHECK(soft.backoff_limit / soft.grant_timeout == usual.backoff_limit / usual.grant_timeout);
    CHECK(soft.starved_limit / soft.stale_limit == usual.starved_limit / usual.stale_limit);
    CHECK(soft.idle_after == usual.idle_after);
}

TEST_CASE("Hardware changes no time limit, and a soft device none that somebody has chosen") {
    Settings chosen;
    tune(chosen, "stale_limit=7000000");
    CHECK(for_medium(chosen, false).heartbeat_period == Settings{}.heartbeat_period);
    CHECK(for_medium(chosen, true).stale_limit == 7 * kMillisecond);
}
