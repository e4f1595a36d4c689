// Bring-up that takes long, or that somebody does not take part in.
#include <doctest/doctest.h>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

struct Formed : Cluster {
    explicit Formed(std::size_t log_bytes = 65536) : Cluster({.log_bytes = log_bytes}) { form(); }

    // Decides so much that a snapshot has more than two pieces, or that the ring has gone round.
    void decide_much() {
        for (std::size_t i = 0; i < 2 * kPieceBytes / 1000 + 1; ++i) {
            decide(std::string(1000, 'x'));
        }
    }
    void lap_the_third() {
        stop(3);
        decide_much();
    }
    // What the others do while a replica is inside its state machine, its own background with them.
    void pass_inside(ReplicaId id, int steps) {
        for (int i = 0; i < steps; ++i) {
            stop(id);
            step_all();
            step_background(id);
        }
        resume(id);
    }
};

// So many steps of a cluster take longer than a learner is given for one piece.
int steps_beyond_one_piece() { return static_cast<int>(3 * quick_settings().transfer_timeout / (5 * kMicrosecond)); }

}  // namespace

TEST_CASE("(c) The time that a snapshot takes to be made is not the learner's: it arrives, and is made once") {
    Formed cluster;
    cluster.decide_much();
    cluster.machine(1).on_snapshot = [&] { cluster.pass(3 * quick_settings().transfer_timeout); };
    cluster.crash(3);
    cluster.restart(3);
    REQUIRE(cluster.run_until([&] { return cluster.replica(3).shared().joined.load(); }));
    CHECK(cluster.history(3) == cluster.history(1));
    CHECK(cluster.machine(1).snapshots == 1);
}

TEST_CASE("(c) A learner may restore for as long as it takes: it beats meanwhile, and is given the snapshot once") {
    Formed cluster;
    cluster.decide_much();
    cluster.crash(3);
    cluster.restart(3);
    cluster.machine(3).on_restore = [&] { cluster.pass_inside(3, steps_beyond_one_piece()); };
    REQUIRE(cluster.run_until([&] { return cluster.replica(3).shared().joined.load(); }));
    REQUIRE(cluster.run_until([&] { return cluster.replicator(1).writers().size() == 3; }));
    CHECK(cluster.machine(1).snapshots == 1);
}

TEST_CASE(
    "(c) A lapped voter that a majority needs is brought up, though that takes longer than a leader stays alone") {
    Formed cluster;
    cluster.lap_the_third();
    Commands const told = cluster.history(1);
    cluster.crash(1);
    cluster.resume(3);
    int const slowly = static_cast<int>(2 * quick_settings().grant_timeout / (5 * kMicrosecond));
    for (int i = 0; i < 10 && cluster.leader() != 2; ++i) {
        cluster.pass_inside(3, slowly);  // each of several pieces takes it so long
        cluster.step_all();
    }
    REQUIRE(cluster.leader() == 2);
    REQUIRE(cluster.run_until([&] { return cluster.all_have(told); }));
    CHECK(cluster.machine(2).snapshots == 1);
}

TEST_CASE("(c) A fail-over does not wait for the snapshot of a lapped voter without which there is a majority") {
    Formed cluster;
    cluster.lap_the_third();
    cluster.replica(2).shared().alive.fetch_or(1U << 3U);  // it steps again
    cluster.hold();
    REQUIRE(cluster.take_over(2, {1, 3}, Stage::sealing));
    auto const step = [&] {
        cluster.pass(2 * quick_settings().joiner_retry);
        cluster.step_replication(2);
    };
    cluster.land(2, 3);
    step();
    REQUIRE(cluster.replicator(2).follower(3).stage == Follower::Stage::behind);
    step();
    REQUIRE(cluster.replicator(2).stage() == Stage::sealing);
    CHECK(cluster.machine(2).snapshots == 0);
    cluster.land_between(2, {1});  // the other one is taught …
    step();
    cluster.land_between(2, {1});  // … and accepts the seal
    step();
    REQUIRE(cluster.replicator(2).leading());
    step();
    CHECK(cluster.machine(2).snapshots == 1);
}

TEST_CASE("A leader without a majority gives way, though it goes on trying to bring up one who takes nothing") {
    Formed cluster;
    cluster.lap_the_third();
    cluster.crash(1);
    cluster.resume(3);
    REQUIRE(cluster.run_until([&] { return cluster.machine(2).snapshots == 1; }));
    cluster.replica(3).shared().halted = true;
    std::uint64_t const aborted = cluster.replicator(2).aborts();
    CHECK(cluster.run_until([&] { return cluster.replicator(2).aborts() > aborted; }));
}

TEST_CASE("Nobody is kept waiting for a replica that has stopped by itself, while its fabric still answers") {
    Formed cluster;
    cluster.replica(3).shared().halted = true;
    cluster.decide_much();
    cluster.run(10 * steps_beyond_one_piece());
    CHECK(cluster.machine(1).snapshots == 0);
}

TEST_CASE("A paused replica is brought up if there is no majority without it") {
    Formed cluster;
    cluster.lap_the_third();
    Commands const told = cluster.history(1);
    cluster.replica(3).shared().paused = true;
    cluster.crash(2);
    cluster.resume(3);
    CHECK(cluster.run_until([&] { return cluster.all_have(told); }));
}

TEST_CASE("A joiner that was outrun is waited for longer the next time: it gets in, however fast commands come") {
    Formed cluster(16384);  // a snapshot grows less while one piece is taken
    cluster.decide_much();
    cluster.crash(3);
    cluster.restart(3);
    int const slowly = static_cast<int>(quick_settings().stall_limit / (5 * kMicrosecond));
    bool up = false;
    for (int i = 0; i < 100 && !up; ++i) {
        while (cluster.replicator(1).leading() && cluster.propose(1, std::string(1000, 'y')) == Outcome::ok) {
        }
        cluster.pass_inside(3, slowly);
        cluster.step_all();
        up = cluster.replicator(1).writers().size() == 3 && cluster.replica(3).shared().joined.load();
    }
    CHECK(up);
    CHECK(cluster.machine(1).snapshots > 1);
}
