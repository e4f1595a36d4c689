// The whole protocol on its good days, without any chance: formation, election, decision, fail-over, bring-up.
#include <doctest/doctest.h>

#include <functional>

#include "simulation/walk_cluster.hpp"

namespace mu::walk {
namespace {

// Everybody steps in turn, and time passes evenly.
struct Parade : Cluster {
    explicit Parade(std::size_t replicas, Revocation revocation = Revocation::by_area, std::size_t ballast = 0)
        : Cluster({.replicas = replicas,
                   .revocation = revocation,
                   .ballast_bytes = ballast,
                   .settings = quick_settings()}) {}

    void round() {
        now += 5 * kMicrosecond;
        for (ReplicaId id = 1; id <= size(); ++id) {
            if (!alive(id)) continue;
            replica(id).step_background(now);
            replica(id).step_replication(now, nullptr);
        }
    }
    bool until(std::function<bool()> const& done, int rounds = 2000) {
        for (int i = 0; i < rounds; ++i) {
            if (done()) return true;
            round();
        }
        return done();
    }
    ReplicaId leader() {
        for (ReplicaId id = 1; id <= size(); ++id) {
            if (alive(id) && replica(id).replicator().leading()) return id;
        }
        return kNobody;
    }
    // Proposes the next `count` commands, each decided before the next one.
    void decide(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            REQUIRE(until([&] { return leader() != kNobody && propose(leader(), next) == Outcome::ok; }));
            ++next;
            Replica& by = replica(leader());
            Offset const end = by.replicator().tail();
            REQUIRE(until([&] { return by.replicator().decided() >= end; }));
        }
    }
    bool all_applied() {
        for (ReplicaId id = 1; id <= size(); ++id) {
            if (alive(id) && machine(id).history.size() != next - 1) return false;
        }
        return true;
    }
    bool same_histories() {
        for (ReplicaId id = 1; id <= size(); ++id) {
            for (std::uint64_t i = 0; alive(id) && i + 1 < next; ++i) {
                if (machine(id).history[i] != i + 1) return false;
            }
        }
        return true;
    }

    Nanoseconds now = kSecond;
    std::uint64_t next = 1;
};

void form_and_decide(std::size_t replicas, Revocation revocation) {
    Parade parade(replicas, revocation);
    REQUIRE(parade.until([&] { return parade.leader() == 1; }));
    parade.decide(300);  // the ring laps several times
    CHECK(parade.until([&] { return parade.all_applied(); }));
    CHECK(parade.same_histories());
}

void fail_over_and_bring_up(std::size_t replicas, Revocation revocation, std::size_t ballast) {
    Parade parade(replicas, revocation, ballast);
    parade.decide(50);
    parade.crash(1);
    parade.world.report_gone(1);
    REQUIRE(parade.until([&] { return parade.leader() == 2; }));
    parade.decide(200);
    parade.restart(1);
    REQUIRE(parade.until([&] { return parade.replica(1).shared().joined.load(); }));
    REQUIRE(parade.until([&] { return parade.leader() == 1; }));
    parade.decide(200);
    CHECK(parade.until([&] { return parade.all_applied(); }));
    CHECK(parade.same_histories());
}

}  // namespace

TEST_CASE("clusters of one, three, five and seven form, elect, decide and apply alike") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        for (std::size_t const replicas : {1U, 3U, 5U, 7U}) {
            CAPTURE(replicas);
            form_and_decide(replicas, revocation);
        }
    }
}

TEST_CASE("commands go on after the leader's crash, and it comes back with empty memory to an equal history") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        for (std::size_t const replicas : {3U, 5U, 7U}) {
            CAPTURE(replicas);
            fail_over_and_bring_up(replicas, revocation, 0);
        }
    }
}

TEST_CASE("a snapshot of several pieces brings a restarted replica up") {
    fail_over_and_bring_up(3, Revocation::by_area, 3 * kPieceBytes);
}

}  // namespace mu::walk
