// The whole protocol on its good days, without any chance: formation, election, decision, fail-over, bring-up.
#include <doctest/doctest.h>

#include "simulation/walk_parade.hpp"

namespace mu::simulation {
namespace {

void form_and_decide(std::size_t replicas, Revocation revocation) {
    Parade parade(replicas, revocation);
    parade.settle();
    parade.decide(300);  // the ring laps several times
    CHECK(parade.until([&] { return parade.all_applied(); }));
    CHECK(parade.same_histories());
}

void fail_over_and_bring_up(std::size_t replicas, Revocation revocation, std::size_t ballast) {
    Parade parade(replicas, revocation, ballast);
    parade.settle();
    parade.decide(50);
    parade.crash(1);
    parade.world.report_gone(1);
    parade.settle();
    parade.decide(200);
    parade.restart(1);
    REQUIRE(parade.until([&] { return parade.replica(1).shared().joined.load(); }));
    parade.settle();
    parade.decide(200);
    CHECK(parade.until([&] { return parade.all_applied(); }));
    CHECK(parade.same_histories());
}

}  // namespace

TEST_CASE("clusters of one, three, five, seven and nine form, elect, decide and apply alike") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        for (std::size_t const replicas : {1U, 3U, 5U, 7U, 9U}) {
            CAPTURE(replicas);
            form_and_decide(replicas, revocation);
        }
    }
}

TEST_CASE("commands go on after the leader's crash, and it comes back with empty memory to an equal history") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        for (std::size_t const replicas : {3U, 5U, 7U, 9U}) {
            CAPTURE(replicas);
            fail_over_and_bring_up(replicas, revocation, 0);
        }
    }
}

TEST_CASE("a snapshot of several pieces brings a restarted replica up") {
    fail_over_and_bring_up(3, Revocation::by_area, 3 * kPieceBytes);
}

}  // namespace mu::simulation
