// Commit and replay (paper 4.3; DESIGN "Commit"): how a follower learns what is decided, and executes that and no more.
#include <doctest/doctest.h>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

ClusterOptions silent_when_idle() {
    ClusterOptions options;
    options.settings.commit_idle_after = 0;
    return options;
}

struct Formed : Cluster {
    explicit Formed(ClusterOptions const& options = {}) : Cluster(options) { form(); }
};

}  // namespace

TEST_CASE("Commit is piggybacked: a follower's view trails by one request until the next one comes (paper 4.3)") {
    Formed cluster(silent_when_idle());
    cluster.decide("a");
    cluster.run(50);
    CHECK(cluster.history(1) == Commands{"a"});
    for (ReplicaId const id : {2U, 3U}) {
        CHECK(cluster.history(id).empty());
        CHECK(cluster.knows(id) == Commands{"a"});
    }
    cluster.decide("b");
    cluster.run(50);
    for (ReplicaId const id : {2U, 3U}) {
        CHECK(cluster.history(id) == Commands{"a"});
        CHECK(cluster.knows(id) == Commands{"a", "b"});
    }
}

TEST_CASE("A leader that is idle for a moment appends one empty slot: followers execute the last command too") {
    Formed cluster;
    cluster.decide("a");
    Offset const tail = cluster.replicator(1).tail();
    CHECK(cluster.run_until([&] { return cluster.all_have({"a"}); }));
    CHECK(cluster.replicator(1).tail() == tail + kSlotAlignment);
}

TEST_CASE("After a takeover too an idle leader lets followers execute what it adopted: that was new work") {
    Formed cluster;
    cluster.decide("a");
    cluster.run(50);
    cluster.hold();
    cluster.propose_to(1, {1, 2, 3}, "b");
    cluster.crash(1);
    cluster.let_go();
    REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
    CHECK(cluster.history(2) == Commands{"a", "b"});
    CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b"}); }));
}

TEST_CASE("Never two empty slots without new work between") {
    Formed cluster;
    for (std::string const command : {"a", "b"}) {
        cluster.decide(command);
        cluster.run(20);
        Offset const tail = cluster.replicator(1).tail();
        cluster.run(2000);
        CHECK(cluster.replicator(1).tail() == tail);
    }
}

TEST_CASE("With commit_idle_after = 0 an idle leader appends nothing, as the artifact does") {
    Formed cluster(silent_when_idle());
    cluster.decide("a");
    Offset const tail = cluster.replicator(1).tail();
    cluster.run(2000);
    CHECK(cluster.replicator(1).tail() == tail);
}

TEST_CASE("A follower executes nothing that it cannot know to be decided, though it has accepted it") {
    Formed cluster;
    cluster.hold();
    for (std::string const command : {"a", "b", "c"}) {
        REQUIRE(cluster.propose(1, command) == Outcome::ok);  // none of them decided when the next is written
    }
    cluster.land(1, 3);
    for (int i = 0; i < 20; ++i) {
        cluster.step_as_follower(3);
    }
    CHECK(cluster.knows(3) == Commands{"a", "b", "c"});
    CHECK(cluster.history(3).empty());
}

TEST_CASE("A commit offset is used only when the chain is valid up to the slot that carries it (paper 4.3)") {
    Formed cluster;
    cluster.hold();
    REQUIRE(cluster.propose(1, "a") == Outcome::ok);
    cluster.propose_to(1, {1, 2}, "b");
    cluster.propose_to(1, {1, 2}, "carries the commit of a and b");
    REQUIRE(cluster.pending(1, 3) == 3);
    // 3 gets all three, but of the second one word is damaged: the third one is there, and cannot be reached.
    Offset const damaged = cluster.chain(2)[cluster.chain(2).size() - 2].header.offset;
    cluster.land(1, 3);
    auto* const ring = const_cast<std::byte*>(cluster.world.fabric(3).log().bytes.data());
    ring[cluster.format.place(damaged)] ^= std::byte{1};
    for (int i = 0; i < 20; ++i) {
        cluster.step_as_follower(3);
    }
    CHECK(cluster.history(3).empty());
    ring[cluster.format.place(damaged)] ^= std::byte{1};
    for (int i = 0; i < 20; ++i) {
        cluster.step_as_follower(3);
    }
    CHECK(cluster.history(3) == Commands{"a", "b"});
}

TEST_CASE("A torn slot is not there yet: a follower waits at it, and goes on when the rest has landed") {
    Formed cluster;
    cluster.hold();
    cluster.propose_to(1, {1, 2, 3}, "a");
    REQUIRE(cluster.propose(1, "b") == Outcome::ok);
    while (cluster.words_left(1, 3) > 1) {
        REQUIRE(cluster.tear(1, 3, 1));
        cluster.step_as_follower(3);
        CHECK(cluster.history(3).empty());
    }
    REQUIRE(cluster.tear(1, 3, 1));
    cluster.step_as_follower(3);
    CHECK(cluster.history(3) == Commands{"a"});
}

TEST_CASE("Every replica applies every command once, in the same order, across fail-overs") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.replicas = 5, .revocation = revocation});
        Commands all;
        for (int i = 0; i < 40; ++i) {
            all.push_back(std::to_string(i));
            cluster.decide(all.back());
            if (i == 10 || i == 20) {
                cluster.crash(cluster.leader());
            }
        }
        CHECK(cluster.run_until([&] { return cluster.all_have(all); }));
    }
}

TEST_CASE("A command with a session that is proposed twice is applied once and answered alike") {
    Formed cluster;
    for (int i = 0; i < 2; ++i) {
        REQUIRE(cluster.propose(cluster.leader(), "once", {7, i == 0 ? 1 : 1 | kRetryBit}) == Outcome::ok);
        cluster.run(20);
        if (i == 0) {
            cluster.crash(1);  // the reply may have been lost with it: the client tries again at the next leader
            REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
        }
    }
    CHECK(cluster.history(2) == Commands{"once"});
    CHECK(cluster.answers.replies.size() >= 2);
    for (std::string const& reply : cluster.answers.replies) {
        CHECK(reply == "1");
    }
}
