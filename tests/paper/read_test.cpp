// Linearizable reads at the leader (DESIGN "Reads"): note what is decided, confirm the tenure on a majority, wait until
// that much is executed.
#include <doctest/doctest.h>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

struct Formed : Cluster {
    explicit Formed(ClusterOptions const& options = {}) : Cluster(options) {
        form();
        hold();
    }
    std::optional<Outcome> poll_read(ReplicaId id) { return replica(id).poll_read(nullptr); }
};

}  // namespace

TEST_CASE("A read is confirmed on a majority, the leader included, and not before") {
    Formed cluster({.replicas = 5});
    cluster.replica(1).begin_read();
    for (ReplicaId const id : {1U, 3U}) {
        cluster.land(1, id);
        CHECK(cluster.poll_read(1) == std::nullopt);
    }
    cluster.land(1, 5);
    CHECK(cluster.poll_read(1) == Outcome::ok);
}

TEST_CASE("A read posts one confirmation to each confirmed follower and writes no slot") {
    Formed cluster;
    Offset const tail = cluster.replicator(1).tail();
    cluster.replica(1).begin_read();
    for (ReplicaId const id : cluster.ids()) {
        std::vector<Posted> const posted = cluster.posted(1, id);
        REQUIRE(posted.size() == 1);
        CHECK(posted.front().kind == Operation::confirm);
    }
    CHECK(cluster.replicator(1).tail() == tail);
}

TEST_CASE("After ok, whatever was decided when the read began is executed") {
    Formed cluster;
    cluster.propose_to(1, {1, 2, 3}, "a");
    CHECK(cluster.history(1).empty());
    cluster.replica(1).begin_read();
    cluster.land_between(1, {2, 3});
    CHECK(cluster.poll_read(1) == Outcome::ok);
    CHECK(cluster.history(1) == Commands{"a"});
}

TEST_CASE("A read does not wait for what was proposed but not decided when it began") {
    Formed cluster;
    REQUIRE(cluster.propose(1, "a") == Outcome::ok);
    cluster.replica(1).begin_read();
    cluster.land(1, 1);
    cluster.lose_one(1, 2);  // the write, not the confirmation
    CHECK(cluster.poll_read(1) == std::nullopt);
    cluster.land(1, 2);
    CHECK(cluster.poll_read(1) == Outcome::ok);
    CHECK(cluster.history(1).empty());
}

TEST_CASE("A read waits until what was decided when it began is executed here, wherever it was decided") {
    Formed cluster;
    cluster.propose_to(1, {2, 3}, "a");  // decided, while the leader's own store is still on its way
    REQUIRE(cluster.decided(1));
    cluster.replica(1).begin_read();
    cluster.land(1, 2);
    cluster.land(1, 3);
    CHECK(cluster.poll_read(1) == std::nullopt);
    cluster.land(1, 1);
    CHECK(cluster.poll_read(1) == Outcome::ok);
    CHECK(cluster.history(1) == Commands{"a"});
}

TEST_CASE("A deposed leader's read is never answered, though it still believes to lead: its state may be old") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.take_over(2, {3}));
        cluster.propose_to(2, {2, 3}, "new");
        REQUIRE(cluster.replicator(1).leading());
        cluster.replica(1).begin_read();
        for (ReplicaId const id : cluster.ids()) {
            cluster.land(1, id);
            CHECK(cluster.poll_read(1) != Outcome::ok);
        }
    }
}

TEST_CASE("A read at a leader that has lost its own log ends with not_leader") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.take_over(3, {1}));
        cluster.replica(1).begin_read();
        cluster.land(1, 1);
        CHECK(cluster.poll_read(1) == Outcome::not_leader);
    }
}

TEST_CASE("Confirmations of an earlier read do not confirm a later one") {
    for (bool const polled : {false, true}) {
        Formed cluster;
        cluster.replica(1).begin_read();
        cluster.land(1, 2);
        cluster.land(1, 3);
        if (polled) {
            CHECK(cluster.poll_read(1) == Outcome::ok);
        }
        REQUIRE(cluster.take_over(2, {3}));  // after they were given, before the next read begins
        cluster.replica(1).begin_read();
        CHECK(cluster.poll_read(1) == std::nullopt);
        cluster.land(1, 1);
        CHECK(cluster.poll_read(1) == std::nullopt);
        cluster.land(1, 2);
        cluster.land(1, 3);
        CHECK(cluster.poll_read(1) != Outcome::ok);
    }
}

TEST_CASE("A read belongs to the tenure in which it began: a later one of the same replica does not answer it") {
    Formed cluster;
    cluster.replica(1).begin_read();
    for (ReplicaId const id : cluster.ids()) {
        cluster.land(1, id);
    }
    REQUIRE(cluster.take_over(2, {3}));
    cluster.propose_to(2, {2, 3}, "between");
    cluster.depose(1, 2);
    REQUIRE(cluster.take_over(1, {3}));
    CHECK(cluster.poll_read(1) == Outcome::not_leader);
}

TEST_CASE("A follower answers no reads") {
    Formed cluster;
    cluster.replica(2).begin_read();
    CHECK(cluster.poll_read(2) == Outcome::not_leader);
}
