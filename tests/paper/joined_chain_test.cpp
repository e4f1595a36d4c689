// A chain that a takeover puts together from what several granters show (takeover.cpp, extend_down): each shows its log
// from where it has executed it, and positions that are equal have equal pasts.
#include <doctest/doctest.h>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

// 2 has nothing of what 1 leads from here on, and nothing lands by itself.
struct Behind : Cluster {
    explicit Behind(Revocation revocation) : Cluster({.replicas = 5, .revocation = revocation}) {
        form();
        hold();
    }
    void execute_as_follower(ReplicaId id) {
        step_as_follower(id, 1);
        step_as_follower(id, 1);  // and tell so
    }
    // Proposes as soon as the leader has seen that there is room.
    void propose_in_time(std::initializer_list<ReplicaId> targets, std::string const& command) {
        for (int i = 0; i < 3 && propose(1, command) != Outcome::ok; ++i) {
            for (ReplicaId const id : {2U, 3U, 4U, 5U}) {
                land(1, id, Plane::learner);
            }
        }
        for (ReplicaId const target : targets) {
            land(1, target);
        }
        step_replication(1);
    }
    Offset executed(ReplicaId id) { return load_position(region(id).own.applied)->offset; }
    Offset ring() { return format.ring_bytes(); }
    std::string large() { return std::string(options().log_bytes / 16, 'x'); }  // applied is not published for less
};

}  // namespace

TEST_CASE("A chain is put together from three granters, each of which has executed more than the next") {
    for (Revocation const revocation : revocations()) {
        Behind cluster(revocation);
        std::string const x = cluster.large();
        std::string const y = x + "y";
        cluster.propose_to(1, {1, 3, 4}, x);
        cluster.step_replication(1);
        cluster.propose_to(1, {1, 3, 4}, y);  // and tells that x is decided
        cluster.step_replication(1);
        cluster.execute_as_follower(3);
        REQUIRE(cluster.executed(1) > cluster.executed(3));
        REQUIRE(cluster.executed(3) > cluster.executed(4));
        CHECK(cluster.take_over(2, {1, 3, 4}));
        cluster.step_replication(2);
        CHECK(cluster.history(2) == Commands{x, y});
    }
}

TEST_CASE("What is put together may lie across the ring's end") {
    for (Revocation const revocation : revocations()) {
        for (int lead_in = 10; lead_in < 18; ++lead_in) {  // the ring holds some 14 of them
            Behind cluster(revocation);
            cluster.let_go();
            Commands all;
            for (int i = 0; i < lead_in; ++i) {
                all.push_back(cluster.large());
                cluster.decide(all.back());
            }
            REQUIRE(cluster.run_until([&] { return cluster.all_have(all) && cluster.decided(1); }));
            cluster.hold();
            for (int i = 0; i < 4; ++i) {
                all.push_back(cluster.large() + std::to_string(i));
                cluster.propose_in_time({1, 3, 4}, all.back());
            }
            REQUIRE(cluster.history(1) == all);
            CHECK(cluster.take_over(2, {1, 3, 4}));
            cluster.step_replication(2);
            CHECK(cluster.history(2) == all);
        }
    }
}

TEST_CASE("What lies more than a ring below the best chain's end is not put into it: there, the ring holds that end") {
    for (Revocation const revocation : revocations()) {
        Behind cluster(revocation);
        Offset const begin = cluster.executed(4);
        while (cluster.replicator(1).tail() < begin + cluster.ring() / 2) {
            cluster.propose_to(1, {1, 3, 4, 5}, cluster.large());
            cluster.step_replication(1);
        }
        cluster.propose_to(1, {1, 3, 4, 5}, "tells");
        cluster.step_replication(1);
        cluster.lose(1, 2);
        for (ReplicaId const id : {3U, 5U}) {
            cluster.execute_as_follower(id);
        }
        cluster.propose_in_time({1}, "fails at 4");
        cluster.lose(1, 4);
        cluster.step_replication(1);
        for (int i = 0; i < 40 && cluster.replicator(1).tail() <= begin + cluster.ring(); ++i) {
            cluster.propose_in_time({1}, cluster.large());  // undecided, so that 1 shows its log from its middle on
        }
        REQUIRE(cluster.replicator(1).tail() > begin + cluster.ring());
        REQUIRE(cluster.executed(4) == begin);
        cluster.ask(2);
        for (ReplicaId const id : {1U, 4U}) {
            cluster.grant(id, 2);
        }
        cluster.step_replication(2);
        cluster.land_between(2, {1, 4});
        cluster.step_replication(2);
        cluster.pass(cluster.options().settings.grant_timeout + 1);
        cluster.step_replication(2);
        CHECK(cluster.replica(2).shared().lapped);
    }
}
