// A cluster's life as a whole (DESIGN "First formation", "Election"): it begins once, goes on while a majority lives, and
// says so and stops when there is none.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

TEST_CASE("First formation: the vector of all incarnations is the log's first record") {
    for (std::size_t const replicas : {1U, 3U, 5U}) {
        Cluster cluster({.replicas = replicas});
        cluster.form();
        auto const slot = cluster.format.parse(cluster.world.fabric(1).log().bytes, {});
        REQUIRE(slot);
        CHECK(slot->header.kind == SlotKind::formation);
        Configuration found;
        found.take(slot->header, slot->value);
        for (ReplicaId const id : cluster.ids()) {
            CHECK(found.incarnations[id] == cluster.world.incarnation(id));
        }
        CHECK(cluster.replica(1).executor().configuration() == found);
    }
}

TEST_CASE("No majority forms a cluster alone: it waits for all members, the first time") {
    Cluster cluster;
    cluster.crash(3);
    cluster.run(1000);
    CHECK(cluster.leader() == kNobody);
    cluster.restart(3);
    cluster.form();
}

TEST_CASE("A restart at every moment of the first formation: one cluster comes to be, with one vector") {
    for (int moment = 0; moment < 40; moment += between_moments()) {
        Cluster cluster;
        cluster.run(moment);
        ReplicaId const restarted = 1 + static_cast<ReplicaId>(moment % 3);
        cluster.crash(restarted);
        cluster.restart(restarted);
        REQUIRE(cluster.run_until([&] {
            return std::ranges::all_of(cluster.ids(), [&](ReplicaId id) { return !cluster.replica(id).forming(); });
        }));
        cluster.decide("x");
        CHECK(cluster.run_until([&] { return cluster.all_have({"x"}); }));
    }
}

TEST_CASE("Whoever learns before the lowest id that the cluster is formed does not lead in its place") {
    Cluster cluster;
    for (int i = 0; i < 400 && !cluster.replicator(1).leading(); ++i) {
        cluster.step_all();
        cluster.stop(1);  // it lags: the others make five steps to one of its own
        cluster.run(4);
        cluster.resume(1);
    }
    CHECK(cluster.replicator(1).leading());
    CHECK(cluster.replicator(2).takeovers() + cluster.replicator(3).takeovers() == 0);
}

TEST_CASE("Nobody waits for ever for a lower id that lives and never becomes able to lead") {
    Cluster cluster;
    cluster.replica(1).shared().aside.store(true);
    CHECK(cluster.run_until([&] { return cluster.replicator(2).leading(); }));
}

TEST_CASE("The lowest eligible live id leads, and leads again when it comes back (paper 5.1)") {
    Cluster cluster;
    cluster.form();
    cluster.crash(1);
    CHECK(cluster.run_until([&] { return cluster.leader() == 2; }));
    cluster.decide("x");
    cluster.restart(1);
    CHECK(cluster.run_until([&] { return cluster.leader() == 1; }));
    cluster.decide("y");
    CHECK(cluster.run_until([&] { return cluster.all_have({"x", "y"}); }));
}

TEST_CASE("A paused leader is replaced; resumed, it leads again, and nothing is lost") {
    Cluster cluster;
    cluster.form();
    cluster.decide("a");
    cluster.region(1).own.control = static_cast<std::uint64_t>(Control::pause);
    REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
    CHECK(cluster.region(1).own.paused == 1);
    cluster.decide("b");
    cluster.region(1).own.control = static_cast<std::uint64_t>(Control::resume);
    REQUIRE(cluster.run_until([&] { return cluster.leader() == 1; }));
    cluster.decide("c");
    CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b", "c"}); }));
}

TEST_CASE(
    "A stopped leader that goes on later does no harm: it finds out by a failed write, and follows or leads anew") {
    for (Revocation const revocation : revocations()) {
        Cluster cluster({.revocation = revocation});
        cluster.form();
        cluster.decide("a");
        cluster.stop(1);
        REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
        cluster.decide("b");
        Offset const decided = cluster.replicator(1).decided();
        REQUIRE(cluster.propose(1, "stale") == Outcome::ok);  // its first act, before it looks around
        cluster.replica(1).advance();
        CHECK(cluster.replicator(1).decided() == decided);
        cluster.resume(1);
        REQUIRE(cluster.run_until([&] { return cluster.leader() == 1; }));
        cluster.decide("c");
        CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b", "c"}); }));
    }
}

TEST_CASE("Fate sharing: a leader whose replication plane is stuck is replaced, though its background plane runs") {
    Cluster cluster;
    cluster.form();
    cluster.decide("a");
    cluster.stop(1);
    for (int i = 0; i < 4000 && cluster.leader() != 2; ++i) {
        cluster.step_background(1);
        cluster.step_all();
    }
    CHECK(cluster.leader() == 2);
}

TEST_CASE("Two replicas of three that cannot hear each other: the third keeps a live writer, and work goes on") {
    ClusterOptions options;
    options.settings.minimum_hold = 2 * kMillisecond;
    Cluster cluster(options);
    cluster.form();
    cluster.part({1}, {2});
    for (int window = 0; window < 10; ++window) {
        std::size_t const before = cluster.history(3).size();
        for (int i = 0; i < 2000; ++i) {  // 10 ms
            for (ReplicaId const id : {1U, 2U}) {
                if (cluster.decided(id)) {
                    static_cast<void>(cluster.propose(id, "x"));
                }
            }
            cluster.step_all();
        }
        CHECK(cluster.history(3).size() > before + 100);
    }
}

TEST_CASE("A takeover that gets no majority of grants aborts, is tried again, each time later, and then gives way") {
    Cluster cluster;
    cluster.form();
    cluster.stop(1);
    cluster.stop(3);  // its log stays as it was: nobody answers there
    std::vector<Nanoseconds> aborted_at;
    std::uint64_t aborts = cluster.replicator(2).aborts();
    for (int i = 0; i < 4000 && aborted_at.size() < 4; ++i) {
        cluster.step_all();
        CHECK_FALSE(cluster.replicator(2).leading());
        if (cluster.replicator(2).aborts() > aborts) {
            aborts = cluster.replicator(2).aborts();
            aborted_at.push_back(cluster.now);
        }
    }
    REQUIRE(aborted_at.size() == 4);
    for (std::size_t i = 2; i < aborted_at.size(); ++i) {
        CHECK(aborted_at[i] - aborted_at[i - 1] > aborted_at[i - 1] - aborted_at[i - 2]);
    }
    CHECK(aborted_at[3] - aborted_at[2] > 10 * quick_settings().grant_timeout);  // it was not eligible meanwhile
    cluster.resume(3);
    CHECK(cluster.run_until([&] { return cluster.leader() == 2; }));
}

TEST_CASE("A leader that is cut off from its followers finds out by itself, and leads no longer") {
    Cluster cluster;
    cluster.form();
    cluster.decide("a");
    cluster.part({1}, {2, 3});
    REQUIRE(cluster.run_until([&] { return cluster.replicator(2).leading(); }));
    CHECK(cluster.run_until([&] { return !cluster.replicator(1).leading(); }));
    cluster.join({1}, {2, 3});
    cluster.decide("b");
    CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b"}); }));
}

TEST_CASE("A leader whose heartbeat others still read, but which cannot reach them, lets somebody else lead") {
    Cluster cluster;
    cluster.form();
    cluster.decide("a");
    cluster.world.cut(1, 2);  // one way: 2 and 3 go on reading the memory of 1
    cluster.world.cut(1, 3);
    CHECK(cluster.run_until([&] { return cluster.replicator(2).leading(); }, 20'000));
    cluster.decide("b");
    cluster.join({1}, {2, 3});
    CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b"}); }, 20'000));
}

TEST_CASE("Without a majority nothing is decided, and no new, empty cluster is invented") {
    Cluster cluster({.replicas = 5});
    cluster.form();
    cluster.decide("a");
    for (ReplicaId const id : {3U, 4U, 5U}) {
        cluster.crash(id);
    }
    cluster.run(500);
    Offset const decided = cluster.replicator(1).decided();
    CHECK(cluster.propose(1, "b") != Outcome::ok);
    CHECK(cluster.replicator(1).decided() == decided);
    for (ReplicaId const id : {3U, 4U, 5U}) {
        cluster.restart(id);  // with empty memory: they are not the acceptors that were lost
    }
    cluster.run(2000);
    CHECK(cluster.replicator(1).decided() == decided);
    for (ReplicaId const id : {3U, 4U, 5U}) {
        CHECK(cluster.replica(id).forming());
        CHECK(cluster.replica(id).cluster_exists());
        CHECK(cluster.region(id).own.prepared == 0);
        CHECK_FALSE(cluster.replicator(id).leading());
    }
    CHECK(cluster.history(1) == Commands{"a"});
}

TEST_CASE("A minority that is cut off decides nothing; the majority goes on; together again they agree") {
    for (Revocation const revocation : revocations()) {
        Cluster cluster({.replicas = 5, .revocation = revocation});
        cluster.form();
        cluster.decide("a");
        cluster.part({1, 2}, {3, 4, 5});
        Offset const decided = cluster.replicator(1).decided();
        static_cast<void>(cluster.propose(1, "lost or not"));
        REQUIRE(cluster.run_until([&] { return cluster.leader() == 3; }));
        cluster.decide("b");
        CHECK(cluster.replicator(1).decided() == decided);
        CHECK(cluster.history(1) == Commands{"a"});
        cluster.join({1, 2}, {3, 4, 5});
        REQUIRE(cluster.run_until([&] { return cluster.leader() == 1; }));
        cluster.decide("c");
        CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b", "c"}); }));
    }
}

TEST_CASE("A leader that a returning replica has deposed waits before it asks again: a death that is over is no news") {
    Cluster cluster;
    cluster.form();
    cluster.crash(1);
    REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
    cluster.restart(1);
    REQUIRE(cluster.run_until([&] { return cluster.leader() == 1 && !cluster.replicator(2).leading(); }));
    cluster.replica(2).shared().leader = 2;  // it has not heard yet that 1 may lead again
    cluster.step_replication(2);
    CHECK(cluster.replicator(2).stage() == Stage::follower);
    cluster.run(500);
    CHECK(cluster.leader() == 1);
}

TEST_CASE("A leader whose successor has died meanwhile asks again at once: that death is news to it") {
    Cluster cluster;
    cluster.form();
    cluster.hold();
    cluster.ask(2);
    cluster.land(2, 1, Plane::learner);
    cluster.step_background(1);  // grants its log to 2 …
    cluster.crash(2);
    cluster.replica(1).shared().leader = 1;
    cluster.step_replication(1);  // … and finds out only now
    REQUIRE(cluster.replicator(1).stage() == Stage::follower);
    cluster.step_replication(1);
    CHECK(cluster.replicator(1).stage() == Stage::requesting);
}
