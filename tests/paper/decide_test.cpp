// A tenure at work (paper 4.1–4.3; DESIGN section 4, steps 6 and 7, Self, Commit): how a slot comes to be decided, and
// how a leader finds out that it is none any more.
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
};

}  // namespace

TEST_CASE(
    "Omit prepare: after the seal a propose is one write to each confirmed follower, and nothing else (paper 4.1)") {
    for (std::size_t const replicas : {3U, 5U}) {
        Formed cluster({.replicas = replicas});
        cluster.step_replication(1);  // looks how much room there is
        for (int round = 0; round < 10; ++round) {
            std::size_t const before = cluster.pending();
            REQUIRE(cluster.propose(1, "x") == Outcome::ok);
            CHECK(cluster.pending() == before + replicas);
            for (ReplicaId const target : cluster.ids()) {
                std::vector<Posted> const posted = cluster.posted(1, target);
                REQUIRE(posted.size() == 1);
                CHECK(posted.front().kind == Operation::write);
                CHECK(posted.front().region == Region::log);
                cluster.land(1, target);
            }
            cluster.replica(1).advance();
            CHECK(cluster.decided(1));
            CHECK(cluster.pending() == before);
        }
    }
}

TEST_CASE("A slot is decided once a majority has accepted it, the leader's own log included (paper 4.1)") {
    Formed cluster({.replicas = 5});
    REQUIRE(cluster.propose(1, "x") == Outcome::ok);
    for (ReplicaId const target : {1U, 4U}) {
        cluster.land(1, target);
        cluster.replica(1).advance();
        CHECK_FALSE(cluster.decided(1));
    }
    cluster.land(1, 2);
    cluster.replica(1).advance();
    CHECK(cluster.decided(1));
}

TEST_CASE("A majority without the leader's own log decides too: the leader is an acceptor like the others") {
    Formed cluster;
    REQUIRE(cluster.propose(1, "x") == Outcome::ok);
    cluster.land(1, 2);
    cluster.land(1, 3);
    cluster.replica(1).advance();
    CHECK(cluster.decided(1));
}

TEST_CASE("Several proposals may be outstanding; each is decided with all before it (paper 4.2)") {
    Formed cluster;
    std::vector<Offset> ends;
    for (std::string const command : {"a", "b", "c", "d"}) {
        REQUIRE(cluster.propose(1, command) == Outcome::ok);
        ends.push_back(cluster.replicator(1).tail());
    }
    cluster.land(1, 1);
    for (std::size_t i = 0; i < ends.size(); ++i) {
        cluster.land_one(1, i % 2 == 0 ? 2 : 3);
        cluster.land_one(1, i % 2 == 0 ? 3 : 2);
        cluster.replica(1).advance();
        CHECK(cluster.replicator(1).decided() == ends[i]);
    }
}

TEST_CASE("A leader executes and answers what is decided, and not a slot more") {
    Formed cluster;
    cluster.propose_to(1, {1, 2, 3}, "a");
    REQUIRE(cluster.propose(1, "b") == Outcome::ok);
    cluster.land(1, 1);
    cluster.replica(1).advance();
    cluster.replica(1).execute_decided(&cluster.answers);
    CHECK(cluster.history(1) == Commands{"a"});
    CHECK(cluster.answers.replies == Commands{"1"});
}

TEST_CASE("A leader that is deposed tells what it has executed, or others would take its log for one that lacks it") {
    Formed cluster;
    cluster.propose_to(1, {1, 2}, "a");
    cluster.replica(1).execute_decided(nullptr);
    cluster.ask(2);
    cluster.depose(1, 2);  // before it has made a step that would have told
    cluster.step_as_follower(1);
    OwnCells const& told = cluster.region(1).own;
    CHECK(load_position(told.applied)->offset == cluster.replica(1).executor().applied().offset);
    CHECK(told.chain_end >= cluster.replica(1).executor().applied().offset);
}

TEST_CASE("★ Early: an acceptor that has promised more refuses a lower request, and the leader gives up its tenure") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.ask(3);  // 3 and 2 both ask; 2 asks later, under a higher proposal
        cluster.replica(2).shared().saw(cluster.replicator(3).proposal());
        cluster.ask(2);
        REQUIRE(cluster.replicator(2).proposal() > cluster.replicator(3).proposal());
        cluster.grant(1, 2);
        cluster.grant(1, 3);
        cluster.step_replication(3);
        CHECK(cluster.replicator(3).stage() == Stage::follower);
        CHECK(cluster.replica(3).shared().highest_seen.load() >= cluster.replicator(2).proposal());
    }
}

TEST_CASE("★ Late: a request that was delayed past a higher grant is refused; granted, it would lose a decided value") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.ask(3);  // its requests stay on their way …
        cluster.replica(2).shared().saw(cluster.replicator(3).proposal());
        REQUIRE(cluster.take_over(2, {1}));
        cluster.propose_to(2, {1, 2}, "x");  // … while x is decided on 1 and 2, not on 3
        REQUIRE(cluster.decided(2));
        cluster.grant(1, 3);  // the request arrives at last
        cluster.step_replication(3);
        CHECK(cluster.replicator(3).stage() == Stage::follower);
        CHECK(cluster.world.fabric(1).permission() == cluster.replicator(2).proposal());
        cluster.propose_to(2, {1, 2}, "y");
        CHECK(cluster.decided(2));
        CHECK(cluster.knows(1) == Commands{"x", "y"});
    }
}

TEST_CASE(
    "A leader that lost a follower's permission finds out by a failed write; that changes nothing there (paper 4.2)") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.take_over(3, {2}));
        cluster.propose_to(3, {2, 3}, "new");
        REQUIRE(cluster.propose(1, "old") == Outcome::ok);  // 1 does not know yet
        cluster.land(1, 1);
        cluster.land(1, 2);
        cluster.land(1, 3);
        cluster.replica(1).advance();
        CHECK_FALSE(cluster.decided(1));
        CHECK(cluster.replicator(1).follower(2).stage != Follower::Stage::confirmed);
        CHECK(cluster.replicator(1).follower(3).stage != Follower::Stage::confirmed);
        CHECK(cluster.propose(1, "again") != Outcome::ok);
        CHECK(cluster.knows(2) == Commands{"new"});
        CHECK(cluster.knows(3) == Commands{"new"});
    }
}

TEST_CASE("A deposed leader that asks again at its old proposal is refused, and aborts") {
    Formed cluster;
    REQUIRE(cluster.take_over(3, {2}));
    REQUIRE(cluster.propose(1, "old") == Outcome::ok);
    cluster.land(1, 2);
    cluster.land(1, 1);
    cluster.step_replication(1);
    cluster.pass(cluster.replica(1).settings().joiner_retry);
    cluster.step_replication(1);
    cluster.grant(2, 1);
    cluster.replica(1).shared().leader = kNobody;
    cluster.step_replication(1);
    CHECK(cluster.replicator(1).stage() == Stage::follower);
    CHECK(cluster.propose(1, "again") == Outcome::not_leader);
}

TEST_CASE("★ The leader's own store counts only if its own permission still is its own afterwards") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.propose(1, "x") == Outcome::ok);
        cluster.land(1, 2);                                  // one of three; with its own store x would be decided
        REQUIRE(cluster.take_over(3, {1}, Stage::sealing));  // 1 has granted its log to 3 in between: 3 does not see x
        cluster.land(1, 1);
        cluster.replica(1).advance();
        CHECK_FALSE(cluster.replicator(1).leading());
        cluster.replica(1).execute_decided(&cluster.answers);
        CHECK(cluster.answers.replies.empty());
        cluster.land_between(3, {1});
        cluster.step_replication(3);
        cluster.land_between(3, {1});
        cluster.step_replication(3);
        CHECK(cluster.decided(3));
        CHECK(cluster.knows(1).empty());
        CHECK(cluster.knows(3).empty());
    }
}

TEST_CASE("★ A store of one's own that is torn when the log is granted away shows nothing to the new leader") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.propose(1, "x") == Outcome::ok);
        REQUIRE(cluster.tear(1, 1, 5));
        REQUIRE(cluster.take_over(3, {1}, Stage::sealing));
        cluster.land_one(1, 1);  // the rest of the store, late
        cluster.replica(1).advance();
        CHECK(cluster.replicator(1).stage() == Stage::follower);
        cluster.land_between(3, {1});
        cluster.step_replication(3);
        cluster.land_between(3, {1});
        CHECK(cluster.knows(1).empty());
        CHECK(cluster.chain(1).back().header.proposal == cluster.replicator(3).proposal());
    }
}

TEST_CASE("A failed write removes that follower from the tenure; a majority goes on without it") {
    Formed cluster;
    REQUIRE(cluster.propose(1, "a") == Outcome::ok);
    cluster.lose(1, 3);
    cluster.land(1, 1);
    cluster.land(1, 2);
    cluster.replica(1).advance();
    CHECK(cluster.decided(1));
    CHECK(cluster.replicator(1).writers().size() == 2);
    REQUIRE(cluster.propose(1, "b") == Outcome::ok);
    CHECK(cluster.pending(1, 3) == 0);
    cluster.land(1, 1);
    cluster.land(1, 2);
    cluster.replica(1).advance();
    CHECK(cluster.decided(1));
}

TEST_CASE(
    "A write that landed but was reported as failed counts for nothing, and its slot is decided by others alone") {
    Formed cluster;
    REQUIRE(cluster.propose(1, "a") == Outcome::ok);
    cluster.land(1, 1);
    cluster.land_and_deny(1, 3);
    cluster.replica(1).advance();
    CHECK(cluster.knows(3) == Commands{"a"});
    CHECK_FALSE(cluster.decided(1));
    cluster.land(1, 2);
    cluster.replica(1).advance();
    CHECK(cluster.decided(1));
}

TEST_CASE("With too few confirmed followers nothing is proposed, and what was is not decided") {
    Formed cluster;
    REQUIRE(cluster.propose(1, "a") == Outcome::ok);
    cluster.lose(1, 2);
    cluster.lose(1, 3);
    cluster.land(1, 1);
    cluster.replica(1).advance();
    CHECK_FALSE(cluster.decided(1));
    CHECK(cluster.propose(1, "b") == Outcome::no_majority);
    CHECK(cluster.knows(1) == Commands{"a"});
}

TEST_CASE(
    "Late joiner: a follower that was dropped is granted at the same proposal, compared, and written from the gap") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        Proposal const proposal = cluster.replicator(1).proposal();
        cluster.propose_to(1, {1, 2, 3}, "a");
        REQUIRE(cluster.propose(1, "b") == Outcome::ok);
        cluster.lose(1, 3);
        cluster.land(1, 1);
        cluster.land(1, 2);
        cluster.step_replication(1);
        cluster.propose_to(1, {1, 2}, "c");
        cluster.pass(cluster.replica(1).settings().joiner_retry);
        cluster.step_replication(1);
        cluster.teach(1, 3);
        CHECK(cluster.replicator(1).proposal() == proposal);
        CHECK(cluster.world.fabric(3).permission() == proposal);
        CHECK(cluster.knows(3) == Commands{"a", "b", "c"});
        REQUIRE(cluster.propose(1, "d") == Outcome::ok);
        CHECK(cluster.pending(1, 3) == 1);
    }
}

TEST_CASE("A follower whose acknowledgements are lost is asked again, and what its log holds of the tenure counts") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.propose(1, "a") == Outcome::ok);
        cluster.land(1, 1);
        cluster.lose(1, 2);
        cluster.land_and_deny(1, 3);
        cluster.replica(1).advance();
        REQUIRE_FALSE(cluster.decided(1));
        Offset const tail = cluster.replicator(1).tail();
        cluster.pass(cluster.replica(1).settings().joiner_retry);
        cluster.step_replication(1);
        cluster.teach(1, 3);
        cluster.step_replication(1);
        CHECK(cluster.decided(1));
        CHECK(cluster.replicator(1).tail() ==
              tail);  // no slot is spent on it: a ring full of such ones would stay full
        CHECK(cluster.history(1) == Commands{"a"});
    }
}

TEST_CASE("What is heard late of an earlier tenure counts for nothing in the present one") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.replicas = 5, .revocation = revocation});
        REQUIRE(cluster.propose(1, std::string(400, 'x')) == Outcome::ok);  // longer than the seals below
        cluster.land(1, 1);
        cluster.land_unacknowledged(1, 2);
        REQUIRE(cluster.take_over(3, {4, 5}));  // its chain is shorter, and better
        cluster.depose(1, 3);
        cluster.ask(1);
        cluster.grant(2, 1);
        cluster.grant(3, 1);
        for (int i = 0; i < 20 && cluster.replicator(1).stage() != Stage::sealing; ++i) {
            cluster.step_replication(1);
            for (ReplicaId const target : {1U, 2U, 3U})
                if (cluster.replicator(1).stage() != Stage::sealing) cluster.land(1, target);
        }
        REQUIRE(cluster.replicator(1).stage() == Stage::sealing);
        auto const holds_seal = [&] {
            return cluster.replicator(1).follower(3).accepted == cluster.replicator(1).tail();
        };
        for (int i = 0; i < 20 && !holds_seal(); ++i) {
            cluster.land(1, 1);
            cluster.land(1, 3);
            cluster.step_replication(1);
        }
        REQUIRE(holds_seal());
        CHECK(cluster.replicator(1).stage() == Stage::sealing);  // it is on two of five
        for (int i = 0; i < 20 && cluster.replicator(1).stage() == Stage::sealing; ++i) {
            cluster.land(1, 2);
            cluster.step_replication(1);
        }
        CHECK(cluster.replicator(1).stage() == Stage::leading);
    }
}

TEST_CASE("The confirmed followers grow: one that granted late counts towards the majority like the others") {
    Formed cluster({.replicas = 5});
    REQUIRE(cluster.take_over(2, {3, 4}));
    cluster.teach(2, 5);
    CHECK(cluster.replicator(2).writers().size() == 4);
    REQUIRE(cluster.propose(2, "x") == Outcome::ok);
    cluster.lose(2, 3);
    cluster.lose(2, 4);
    cluster.land(2, 2);
    cluster.land(2, 5);
    cluster.replica(2).advance();
    CHECK_FALSE(cluster.decided(2));  // two of five
    cluster.pass(cluster.replica(2).settings().joiner_retry);
    cluster.step_replication(2);
    cluster.teach(2, 3);
    cluster.step_replication(2);
    cluster.land_between(2, {3, 5});
    cluster.step_replication(2);
    CHECK(cluster.replicator(2).decided() > 0);
    CHECK(cluster.history(2) == Commands{"x"});
}
