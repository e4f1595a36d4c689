// Recycling (paper 5.3; DESIGN "Recycle"): the ring is used again only up to what all confirmed followers have applied;
// nobody waits for ever for a dead or stalled one.
#include <doctest/doctest.h>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

ClusterOptions small(Revocation revocation = Revocation::by_area, Nanoseconds stall_limit = kSecond) {
    ClusterOptions options{.revocation = revocation, .log_bytes = 4096};
    options.settings.stall_limit = stall_limit;
    return options;
}

struct Formed : Cluster {
    explicit Formed(ClusterOptions const& options) : Cluster(options) { form(); }

    // Decides commands named by their number, as many as there is room for, but at most `count`.
    int fill(int count) {
        int done = 0;
        for (int waited = 0; done < count && waited < 100; ++waited) {
            if (leader() != kNobody && propose(leader(), std::to_string(all.size())) == Outcome::ok) {
                all.push_back(std::to_string(all.size()));
                ++done;
                waited = 0;
            }
            step_all();
        }
        return done;
    }
    Commands all;
};

}  // namespace

TEST_CASE("The ring is used again and again without pause or zeroing, and everybody applies everything (paper 5.3)") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation));
        CHECK(cluster.fill(1000) == 1000);
        CHECK(cluster.replicator(1).tail() > 10 * cluster.format.ring_bytes());
        CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
        CHECK(cluster.machine(2).restores == 0);
        CHECK(cluster.machine(3).restores == 0);
    }
}

TEST_CASE("Recycling is bounded by the slowest confirmed follower: what it has not applied is not overwritten") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation));
        cluster.fill(3);
        cluster.run(50);
        cluster.stop(3);
        Offset const applied = cluster.replica(3).executor().applied().offset;
        int const decided = cluster.fill(1000);
        CHECK(decided < 1000);
        CHECK(cluster.replicator(1).tail() <= applied + cluster.format.ring_bytes());
        CHECK(cluster.replicator(1).tail() > applied + cluster.format.ring_bytes() / 2);
        CHECK(cluster.propose(1, std::string(100, 'x')) == Outcome::no_room);
        cluster.resume(3);  // it has lost nothing, and all go on
        CHECK(cluster.fill(100) == 100);
        CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
        CHECK(cluster.machine(3).restores == 0);
    }
}

TEST_CASE("A takeover whose seal would overwrite what is not executed here is given up") {
    for (Revocation const revocation : revocations()) {
        Cluster cluster({.revocation = revocation, .log_bytes = 4096});
        cluster.form();
        cluster.hold();
        while (cluster.propose(1, "x") == Outcome::ok)
            cluster.land(1, 2);  // a majority has it, and nobody executes it
        std::size_t const accepted = cluster.knows(2).size();
        ReplicaId last = 3;
        int seals = 0;
        // In turn each of the two adopts all of it, and seals on its own log alone.
        for (; seals < 100 && cluster.take_over(last, {5 - last}, Stage::sealing); ++seals) {
            cluster.land(last, last);
            last = 5 - last;
        }
        CHECK(seals > 4);
        CHECK(seals < 100);
        CHECK(cluster.knows(2).size() == accepted);
    }
}

TEST_CASE("A follower that is not confirmed is not waited for") {
    Formed cluster(small());
    cluster.crash(3);
    CHECK(cluster.fill(1000) == 1000);
}

TEST_CASE("A stalled follower is dropped after the limit, and the others go on without it") {
    Formed cluster(small(Revocation::by_area, 300 * kMicrosecond));
    cluster.stop(3);
    CHECK(cluster.fill(1000) == 1000);
    CHECK(cluster.replicator(1).writers().size() == 2);
    CHECK(cluster.history(3).empty());
}

TEST_CASE("The last majority is never dropped, however long it stalls") {
    Formed cluster(small(Revocation::by_area, 300 * kMicrosecond));
    cluster.crash(3);
    cluster.run(100);
    cluster.stop(2);
    CHECK(cluster.fill(1000) < 1000);
    cluster.run(2000);
    CHECK(cluster.replicator(1).writers().size() == 2);
}

TEST_CASE("A dropped follower that still has what it needs in the leader's log rejoins by the log") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation, 300 * kMicrosecond));
        cluster.fill(3);
        cluster.part({1}, {3});
        cluster.fill(10);
        CHECK(cluster.replicator(1).writers().size() == 2);
        cluster.join({1}, {3});
        CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
        CHECK(cluster.replicator(1).writers().size() == 3);
        CHECK(cluster.machine(3).restores == 0);
    }
}

TEST_CASE("A dropped follower whose chain reaches far enough is still not written over what it has not executed") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation, 300 * kMicrosecond));
        cluster.hold();
        Offset const unexecuted = cluster.replica(3).executor().applied().offset;
        while (cluster.propose(1, "x") == Outcome::ok)
            cluster.land_between(1, {2, 3});
        Commands const held = cluster.knows(3);
        for (int i = 0; i < 20 && cluster.replicator(1).writers().size() == 3; ++i) {
            cluster.step_as_follower(2, 1);
            cluster.step_replication(1);
            cluster.land_between(1, {2});
            cluster.pass(100 * kMicrosecond);
        }
        while (cluster.replicator(1).tail() <= unexecuted + cluster.format.ring_bytes())
            REQUIRE(cluster.propose(1, "y") == Outcome::ok);  // on its way to 2: nothing of it is decided
        auto const& follower = cluster.replicator(1).follower(3);
        for (int i = 0; i < 20 && follower.stage != Follower::Stage::behind; ++i) {
            cluster.pass(100 * kMicrosecond);
            cluster.grant(3, 1);
            cluster.step_replication(1);
            cluster.land_between(1, {3});
        }
        CHECK(follower.stage == Follower::Stage::behind);
        CHECK(cluster.knows(3) == held);
    }
}

TEST_CASE("A stalled follower that was lapped notices, and rejoins by a snapshot") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation, 300 * kMicrosecond));
        cluster.fill(3);
        cluster.stop(3);
        REQUIRE(cluster.fill(500) == 500);
        cluster.resume(3);
        CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
        CHECK(cluster.machine(3).restores >= 1);
        CHECK(cluster.run_until([&] { return cluster.replicator(1).writers().size() == 3; }));
        CHECK(cluster.fill(100) == 100);
        CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
    }
}

TEST_CASE("A joiner enters the bound before it is taught: the ring does not move on under a snapshot on its way") {
    ClusterOptions options = small();
    options.settings.transfer_timeout = kSecond;
    Formed cluster(options);
    cluster.crash(3);
    REQUIRE(cluster.fill(200) == 200);
    cluster.restart(3);
    cluster.stop(3);  // it takes no piece
    cluster.run(100);
    Offset const held = cluster.replicator(1).tail();
    CHECK(cluster.fill(1000) < 1000);
    CHECK(cluster.replicator(1).tail() <= held + cluster.format.ring_bytes());
    cluster.resume(3);
    CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
    CHECK(cluster.run_until([&] { return cluster.replicator(1).writers().size() == 3; }));
}

TEST_CASE("A joiner gets in under constant load: it is neither kept waiting nor sent snapshots for ever") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation));
        cluster.crash(3);
        REQUIRE(cluster.fill(200) == 200);
        cluster.restart(3);
        for (int i = 0; i < 500 && cluster.replicator(1).writers().size() < 3; ++i) {
            for (int burst = 0; burst < 20; ++burst) {
                static_cast<void>(cluster.propose(1, "more"));
            }
            cluster.step_all();
        }
        CHECK(cluster.replicator(1).writers().size() == 3);
        CHECK(cluster.machine(3).restores <= 2);
    }
}

TEST_CASE("A joiner that stalls is not waited for for ever either") {
    ClusterOptions options = small(Revocation::by_area, 300 * kMicrosecond);
    options.settings.transfer_timeout = kSecond;  // by then nobody would wait any more
    Formed cluster(options);
    cluster.crash(3);
    REQUIRE(cluster.fill(200) == 200);
    cluster.restart(3);
    cluster.stop(3);
    cluster.run(100);
    CHECK(cluster.fill(1000) == 1000);
}

TEST_CASE("A replica that cannot connect to the others' logs does not lead, though its id is the lowest") {
    for (Revocation const revocation : revocations()) {
        Formed cluster(small(revocation, 300 * kMicrosecond));
        cluster.stop(1);
        REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
        REQUIRE(cluster.fill(500) == 500);
        cluster.resume(1);
        Commands const before = cluster.all;
        REQUIRE(cluster.run_until([&] { return cluster.history(1).size() >= before.size(); }));
        CHECK(cluster.machine(1).restores >= 1);
        CHECK(cluster.run_until([&] { return cluster.leader() == 1; }));
        cluster.decide("by 1 again");
        cluster.all.push_back("by 1 again");
        CHECK(cluster.run_until([&] { return cluster.all_have(cluster.all); }));
    }
}
