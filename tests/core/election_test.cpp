// Election by pulled heartbeats (paper 5.1): scores, death by silence, death by the fabric's word, fate sharing, and
// who may lead. Replica 1 of three judges; its peers are cells that the test writes.
#include "protocol/election.hpp"

#include <doctest/doctest.h>

#include "support/elector.hpp"

using namespace mu;
using namespace mu::test;

TEST_CASE("A peer's score rises by one for each reading that moved, up to 15, and falls by one for each that did not") {
    Elector elector;
    elector.appear();
    for (std::uint32_t score = elector.score(2) + 1; score <= 18; ++score) {
        elector.read_moved(2);
        CHECK(elector.score(2) == std::min(score, 15U));
    }
    for (int score = 14; score >= -3; --score) {
        elector.read_unmoved();
        CHECK(elector.score(2) == static_cast<std::uint32_t>(std::max(score, 0)));
    }
}

TEST_CASE("A peer is dead only below 2 and alive again only from 6 (paper 5.1)") {
    Elector elector;
    elector.settings.stale_limit = 0;
    elector.appear();
    for (int i = 0; i < 20; ++i) {
        elector.read_moved(2);  // 15
    }
    for (int score = 14; score >= 2; --score) {
        elector.read_unmoved();
        CHECK(elector.alive(2));
    }
    elector.read_unmoved();  // 1
    CHECK_FALSE(elector.alive(2));
    for (int score = 2; score <= 5; ++score) {
        elector.read_moved(2);
        CHECK_FALSE(elector.alive(2));
    }
    elector.read_moved(2);  // 6
    CHECK(elector.alive(2));
}

TEST_CASE("A peer that the fabric knows to be able to run is given longer: it waits for a processor, or hangs") {
    Elector elector;
    elector.appear();
    elector.read_moved(2);
    Nanoseconds const moved_at = elector.now;
    elector.world.vouch_runnable(2, true);
    Nanoseconds const limit = elector.settings.starved_limit + elector.settings.heartbeat_period;
    while (elector.now + elector.settings.heartbeat_period <= moved_at + limit) {
        elector.read_unmoved();
        REQUIRE(elector.alive(2));
    }
    elector.read_unmoved();
    CHECK_FALSE(elector.alive(2));
}

TEST_CASE("A low score alone is not death: the heartbeat must also be stale for longer than the worst stall") {
    Elector elector;
    elector.appear();
    elector.read_moved(2);  // 8
    Nanoseconds const moved_at = elector.now;
    Nanoseconds const limit = elector.settings.stale_limit + elector.settings.heartbeat_period;
    int readings = 0;
    for (; elector.now + elector.settings.heartbeat_period <= moved_at + limit; ++readings) {
        elector.read_unmoved();
        CHECK(elector.alive(2));
    }
    CHECK(readings > 8);
    elector.read_unmoved();
    CHECK_FALSE(elector.alive(2));
}

TEST_CASE("A slow reading never fakes a death: without a new reading there is no opinion, however long it takes") {
    Elector elector;
    elector.appear();
    elector.read_moved(2);
    std::uint32_t const score = elector.score(2);
    elector.world.auto_deliver(false);
    for (int i = 0; i < 1000; ++i) {
        elector.step(elector.settings.heartbeat_period);
    }
    CHECK(elector.score(2) == score);
    CHECK(elector.alive(2));
    // When it lands at last, it shows a counter that has moved on: as good as a quick one.
    elector.beat(2);
    elector.world.auto_deliver(true);
    elector.step(elector.settings.heartbeat_period);
    CHECK(elector.score(2) == score + 1);
}

TEST_CASE("A peer is never read more often than it beats: an unmoved counter would mean nothing") {
    Elector elector;
    Nanoseconds const slow = 5 * elector.settings.heartbeat_period;
    elector.own(2).heartbeat_period_ns = static_cast<std::uint64_t>(slow);
    elector.appear();
    for (int i = 0; i < 50; ++i) {
        elector.beat(2);
        for (Nanoseconds waited = 0; waited < slow; waited += elector.settings.heartbeat_period) {
            elector.step(elector.settings.heartbeat_period);
        }
    }
    CHECK(elector.score(2) == Election::kMaxScore);
}

TEST_CASE("A peer of which the fabric says that it has ended scores 0 and is dead at once") {
    Elector elector;
    elector.appear();
    for (int i = 0; i < 20; ++i) {
        elector.read_moved(2);
    }
    REQUIRE(elector.score(2) == Election::kMaxScore);
    elector.world.crash(2);
    elector.world.report_gone(2);
    elector.step(0);
    CHECK(elector.score(2) == 0);
    CHECK_FALSE(elector.alive(2));
    CHECK(elector.leader() == 1);
}

TEST_CASE("A new incarnation begins anew: nothing that was read of the earlier one counts for it") {
    Elector elector;
    elector.appear();
    for (int i = 0; i < 20; ++i) {
        elector.read_moved(2);
    }
    elector.world.crash(2);
    elector.world.restart(2);
    elector.step(elector.settings.heartbeat_period);
    CHECK(elector.score(2) <= Election::kAliveFrom + 1);
    CHECK(elector.peers.view(2).eligible == 0);
}

TEST_CASE("A replica beats once a period while its replication plane steps") {
    Elector elector;
    for (std::uint64_t beats = 1; beats <= 100; ++beats) {
        elector.shared.steps.fetch_add(1);
        elector.step(elector.settings.heartbeat_period);
        CHECK(elector.own(1).heartbeat == beats);
        elector.step(elector.settings.heartbeat_period / 2);
        CHECK(elector.own(1).heartbeat == beats);
        elector.now -= elector.settings.heartbeat_period / 2;
    }
}

TEST_CASE("Without work heartbeats slow down, and say so") {
    Elector elector;
    elector.shared.active_at = elector.now;
    elector.shared.steps.fetch_add(1);
    elector.step(0);
    CHECK(elector.own(1).heartbeat_period_ns == static_cast<std::uint64_t>(elector.settings.heartbeat_period));
    elector.shared.steps.fetch_add(1);
    elector.step(elector.settings.idle_after);
    CHECK(elector.own(1).heartbeat_period_ns == static_cast<std::uint64_t>(elector.settings.heartbeat_idle_period));
}

TEST_CASE(
    "Fate sharing: a stuck replication plane silences the heartbeat, and its next step lets it go on (paper 5.1)") {
    Elector elector;
    elector.shared.steps.fetch_add(1);
    elector.step(0);
    elector.step(elector.settings.stuck_limit);
    std::uint64_t const last = elector.own(1).heartbeat;
    for (int i = 0; i < 10; ++i) {
        elector.step(elector.settings.heartbeat_idle_period);
        CHECK(elector.own(1).heartbeat == last);
        CHECK(elector.own(1).eligible == 0);
    }
    elector.shared.steps.fetch_add(1);
    elector.step(elector.settings.heartbeat_idle_period);
    CHECK(elector.own(1).heartbeat == last + 1);
}

TEST_CASE("Fate sharing: a plane that is busy inside the state machine is not stuck") {
    Elector elector;
    elector.shared.busy = true;
    std::uint64_t beats = elector.own(1).heartbeat;
    for (int i = 0; i < 20; ++i) {
        elector.step(elector.settings.stuck_limit);
        CHECK(elector.own(1).heartbeat == ++beats);
    }
}

TEST_CASE("A pause silences the heartbeat and gives up leading; resuming undoes both") {
    Elector elector;
    elector.appear();
    REQUIRE(elector.leader() == 1);
    elector.shared.paused = true;
    std::uint64_t const last = elector.own(1).heartbeat;
    elector.step(elector.settings.heartbeat_idle_period);
    CHECK(elector.own(1).heartbeat == last);
    CHECK(elector.own(1).eligible == 0);
    CHECK(elector.leader() != 1);
    elector.shared.paused = false;
    elector.step(elector.settings.heartbeat_idle_period);
    CHECK(elector.own(1).heartbeat == last + 1);
    CHECK(elector.leader() == 1);
}

TEST_CASE("A halted replica neither beats nor leads") {
    Elector elector;
    elector.shared.halted = true;
    std::uint64_t const last = elector.own(1).heartbeat;
    elector.step(elector.settings.heartbeat_idle_period);
    CHECK(elector.own(1).heartbeat == last);
    CHECK(elector.own(1).eligible == 0);
    CHECK(elector.leader() != 1);
}

TEST_CASE("The leader is the lowest eligible live id (paper 5.1)") {
    Elector elector({.self = 3, .members = {1, 2, 3}});
    elector.appear();
    CHECK(elector.leader() == 1);
    elector.wait_for_others();
    elector.own(1).eligible = 0;
    elector.read_moved(1);
    CHECK(elector.leader() == 2);
    elector.world.crash(2);
    elector.world.report_gone(2);
    elector.step(elector.settings.heartbeat_period);
    CHECK(elector.leader() == 3);
    elector.own(1).eligible = 1;
    elector.read_moved(1);
    CHECK(elector.leader() == 1);
}

TEST_CASE("A replica that has not joined is not eligible: a fresh one with the lowest id must not stall everyone") {
    Elector elector;
    elector.shared.joined = false;
    elector.appear();
    CHECK(elector.own(1).eligible == 0);
    CHECK(elector.leader() == 2);
    elector.shared.joined = true;
    elector.step(elector.settings.heartbeat_period);
    CHECK(elector.own(1).eligible == 1);
    CHECK(elector.leader() == 1);
}

TEST_CASE("A replica whose program has become able to lead gives that of a lower one the time to become so, too") {
    Elector elector({.self = 3, .members = {1, 2, 3}});
    elector.own(1).eligible = elector.own(2).eligible = 0;
    elector.shared.aside = true;
    elector.appear();
    for (int i = 0; i < 100; ++i) {
        elector.beat(2);
        elector.read_moved(1);
    }
    elector.shared.aside = false;
    elector.beat(2);
    elector.read_moved(1);
    CHECK(elector.leader() == kNobody);
    elector.wait_for_others();
    CHECK(elector.leader() == 3);
}

TEST_CASE(
    "A replica that could not step for long while its program became able to lead waits for others all the same") {
    Elector elector({.self = 3, .members = {1, 2, 3}});
    elector.own(1).eligible = elector.own(2).eligible = 0;
    elector.shared.aside = true;
    elector.appear();
    elector.shared.aside = false;
    elector.step(elector.settings.stale_limit * 2);
    CHECK(elector.leader() == kNobody);
}

TEST_CASE("A replica whose takeover found it lapped is not eligible, however long its chain, until that is mended") {
    Elector elector;
    elector.appear();
    elector.shared.lapped = true;
    elector.own(1).chain_end = 1 << 20;
    elector.read_moved(2);
    CHECK(elector.own(1).eligible == 0);
    CHECK(elector.leader() == 2);
    elector.shared.lapped = false;
    elector.read_moved(2);
    CHECK(elector.own(1).eligible == 1);
    CHECK(elector.leader() == 1);
}

TEST_CASE("A lapped replica tries again once nobody has mended it for longer than a transfer takes") {
    Elector elector;
    elector.appear();
    elector.shared.lapped = true;
    Nanoseconds const since = elector.now;
    while (elector.now - since <= elector.settings.transfer_timeout) {
        elector.shared.steps.fetch_add(1);
        elector.read_moved(2);
        CHECK(elector.own(1).eligible == (elector.now - since > elector.settings.transfer_timeout ? 1 : 0));
    }
    elector.shared.steps.fetch_add(1);
    elector.read_moved(2);
    CHECK(elector.own(1).eligible == 1);
}

TEST_CASE("A replica that stays behind what live peers have applied loses its eligibility after a while") {
    Elector elector;
    elector.appear();
    REQUIRE(elector.own(1).eligible == 1);
    store_position(elector.own(2).applied, {4096, 0x102});
    elector.read_moved(2);
    CHECK(elector.own(1).eligible == 1);  // what it publishes about itself trails: it is given time
    for (Nanoseconds waited = 0; waited <= elector.settings.stale_limit; waited += elector.settings.heartbeat_period) {
        elector.read_moved(2);
    }
    elector.read_moved(2);
    CHECK(elector.own(1).eligible == 0);
}

TEST_CASE("What a dead peer had applied makes nobody ineligible") {
    Elector elector;
    elector.appear();
    store_position(elector.own(2).applied, {4096, 0x102});
    elector.read_moved(2);
    elector.world.crash(2);
    elector.world.report_gone(2);
    for (Nanoseconds waited = 0; waited <= 3 * elector.settings.stale_limit;
         waited += elector.settings.heartbeat_period) {
        elector.step(elector.settings.heartbeat_period);
        CHECK(elector.own(1).eligible == 1);
    }
}
