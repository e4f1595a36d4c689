// Taking over (paper 4.1 and 4.2; DESIGN section 4, steps 1 to 6): permission, catch up, adopt, update, seal.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

// 1 leads a formed cluster, everything has landed, and from here on nothing lands by itself.
struct Formed : Cluster {
    explicit Formed(ClusterOptions const& options = {}) : Cluster(options) {
        form();
        hold();
    }
};

}  // namespace

TEST_CASE("A takeover goes on with a majority of grants, and not before (paper 4.2)") {
    Formed cluster({.replicas = 5});
    cluster.ask(2);
    cluster.grant(3, 2);
    cluster.step_replication(2);
    CHECK(cluster.replicator(2).stage() == Stage::requesting);  // its own and one: two of five
    cluster.grant(4, 2);
    cluster.step_replication(2);
    CHECK(cluster.replicator(2).stage() != Stage::requesting);
}

TEST_CASE("A takeover that failed is tried again only after a while") {
    Formed cluster;
    cluster.ask(2);
    cluster.pass(quick_settings().grant_timeout + 1);  // nobody answers
    cluster.step_replication(2);
    cluster.step_replication(2);
    CHECK(cluster.replicator(2).stage() == Stage::follower);
    cluster.pass(2 * quick_settings().backoff_limit);
    cluster.step_replication(2);
    CHECK(cluster.replicator(2).stage() == Stage::requesting);
}

TEST_CASE("A leader adopts the chain whose last slot has the highest proposal, not the longest (paper 4.1)") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        for (std::string const command : {"a", "b", "c"}) {
            cluster.propose_to(1, {1}, command);  // long, under the first proposal, on 1 alone
        }
        REQUIRE(cluster.take_over(2, {3}));
        cluster.propose_to(2, {2, 3}, "x");  // short, under a higher one, decided on 2 and 3
        cluster.depose(1, 2);
        REQUIRE(cluster.knows(1) == Commands{"a", "b", "c"});
        REQUIRE(cluster.take_over(1, {3}));
        CHECK(cluster.knows(1) == Commands{"x"});
        CHECK(cluster.knows(3) == Commands{"x"});
    }
}

namespace {

// 2 lacks what 1 has applied, and so shows to nobody any more; 3 holds it.
struct Ahead : Formed {
    explicit Ahead(Revocation revocation) : Formed({.revocation = revocation}) {
        propose_to(1, {1, 3}, x);
        step_replication(1);
        REQUIRE(load_position(region(1).own.applied)->offset == replicator(1).tail());
        REQUIRE(history(1) == Commands{x});
    }
    std::string const x = std::string(options().log_bytes / 16, 'x');  // applied is not published for less
};

}  // namespace

TEST_CASE("What the owner of the best chain has applied, a takeover reads from whoever still shows it") {
    for (Revocation const revocation : revocations()) {
        for (bool const undecided : {false, true}) {
            Ahead cluster(revocation);
            if (undecided) {
                cluster.propose_to(1, {1}, "y");  // so 1 has the best chain, and what comes before is on 3
            }
            cluster.ask(2);
            cluster.grant(1, 2);
            cluster.grant(3, 2);
            cluster.step_replication(2);
            CHECK(cluster.replicator(2).stage() == Stage::requesting);  // the chains are on their way
            CHECK(cluster.take_over(2, {1, 3}));
            cluster.step_replication(2);
            CHECK(cluster.history(2) == (undecided ? Commands{cluster.x, "y"} : Commands{cluster.x}));
        }
    }
}

TEST_CASE("What another granter shows belongs below the best chain only if it leads up to that") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.replicas = 5, .revocation = revocation});
        cluster.propose_to(1, {3}, "lost");
        REQUIRE(cluster.take_over(5, {1, 4}));
        std::string const x(cluster.options().log_bytes / 16, 'x');
        cluster.propose_to(5, {1, 4, 5}, x);
        cluster.step_replication(5);
        REQUIRE(cluster.history(5) == Commands{x});
        cluster.propose_to(5, {5}, "y");                // so 5 has the best chain
        REQUIRE(cluster.knows(3) == Commands{"lost"});  // it comes first, and shows something else at that place
        cluster.land(5, 2, Plane::learner);
        cluster.step_background(2);  // 2 knows of 5's proposal, to outbid it
        CHECK(cluster.take_over(2, {3, 4, 5}));
        cluster.step_replication(2);
        CHECK(cluster.history(2) == Commands{x, "y"});
    }
}

TEST_CASE("A takeover that lacks what one granter has applied waits for the others, until its time is over") {
    for (Revocation const revocation : revocations()) {
        for (bool const answers : {false, true}) {
            Ahead cluster(revocation);
            cluster.ask(2);
            cluster.grant(1, 2);
            cluster.step_replication(2);
            CHECK(cluster.replicator(2).stage() == Stage::requesting);
            CHECK_FALSE(cluster.replica(2).shared().lapped);
            if (answers) {
                CHECK(cluster.take_over(2, {3}));
                continue;
            }
            cluster.pass(quick_settings().grant_timeout / 2);
            cluster.step_replication(2);
            CHECK(cluster.replicator(2).stage() == Stage::follower);
            CHECK(cluster.replica(2).shared().lapped);
            CHECK(cluster.take_over(2, {1, 3}));  // they answer after all
            CHECK_FALSE(cluster.replica(2).shared().lapped);
        }
    }
}

TEST_CASE("What has come in time is used, though the takeover looks at it only when its time is over") {
    for (Revocation const revocation : revocations()) {
        Ahead cluster(revocation);
        cluster.ask(2);
        cluster.grant(1, 2);
        cluster.grant(3, 2);
        cluster.step_replication(2);  // 3's chain is on its way
        cluster.land_between(2, {1, 3});
        cluster.pass(quick_settings().grant_timeout + 1);
        cluster.step_replication(2);
        CHECK(cluster.replicator(2).stage() != Stage::follower);
        CHECK_FALSE(cluster.replica(2).shared().lapped);
    }
}

TEST_CASE("Among chains whose last slot has the same proposal a leader adopts the longest (paper 4.1)") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.propose_to(1, {1, 2}, "a");
        cluster.propose_to(1, {1, 2}, "b");
        REQUIRE(cluster.knows(3).empty());
        REQUIRE(cluster.take_over(3, {2}));
        CHECK(cluster.knows(3) == Commands{"a", "b"});
        CHECK(cluster.knows(2) == Commands{"a", "b"});
    }
}

TEST_CASE("★ Adopted slots are copied byte for byte, keeping the proposals under which they were made") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.propose_to(1, {1, 2}, "a");
        cluster.propose_to(1, {1, 2}, "b");
        std::vector<FoundSlot> const before = cluster.chain(2);
        REQUIRE(cluster.take_over(3, {2}));
        std::vector<FoundSlot> const after = cluster.chain(2);
        REQUIRE(before.size() >= 2);
        REQUIRE(after.size() > before.size());
        auto const& on_leader = cluster.world.fabric(3).log().bytes;
        for (std::size_t i = 0; i < before.size(); ++i) {
            CHECK(after[i].bytes == before[i].bytes);
            CHECK(after[i].header.proposal < cluster.replicator(3).proposal());
            std::byte const* const copy = on_leader.data() + cluster.format.place(before[i].header.offset);
            CHECK(std::equal(before[i].bytes.begin(), before[i].bytes.end(), copy));
        }
        CHECK(after[before.size()].header.kind == SlotKind::empty);
        CHECK(after[before.size()].header.proposal == cluster.replicator(3).proposal());
    }
}

TEST_CASE("★ A slot that matches already is never written again: all a takeover of equal logs writes is the seal") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        for (std::string const command : {"a", "b", "c"}) {
            cluster.propose_to(1, {1, 2, 3}, command);
        }
        cluster.ask(2);
        cluster.grant(3, 2);
        cluster.step_replication(2);
        REQUIRE(cluster.replicator(2).stage() == Stage::sealing);
        // Were a decided slot written again, a crash in mid-copy would leave fewer than a majority that hold it.
        for (ReplicaId const target : {2U, 3U}) {
            std::vector<Posted> const posted = cluster.posted(2, target);
            REQUIRE(posted.size() == 1);
            CHECK(posted.front().at == cluster.format.place(cluster.replicator(2).tail() - kSlotAlignment));
            cluster.land(2, target);
            cluster.step_replication(2);
        }
    }
}

TEST_CASE("★ A takeover that dies at any moment, in mid-write too, takes no decided value from anybody who holds it") {
    for (Revocation const revocation : revocations()) {
        for (int moment = 0; moment < 8; ++moment) {
            Formed cluster({.revocation = revocation});
            cluster.propose_to(1, {1, 3}, "x");  // decided on 1 and 3; 2 has not got it
            REQUIRE(cluster.decided(1));
            cluster.ask(2);
            cluster.grant(3, 2);
            int landed = 0;
            for (int i = 0; i < 10 && landed < moment; ++i) {
                cluster.step_replication(2);
                for (ReplicaId const target : {2U, 3U}) {
                    while (landed < moment && cluster.pending(2, target) > 0) {
                        cluster.land_one(2, target);
                        ++landed;
                    }
                }
            }
            cluster.step_replication(2);
            for (ReplicaId const target : {2U, 3U}) {  // whatever comes next is torn after its first word
                static_cast<void>(cluster.tear(2, target, 1));
            }
            CHECK(cluster.knows(3) == Commands{"x"});
            cluster.depose(1, 2);
            cluster.crash(2);
            REQUIRE(cluster.take_over(1, {3}));
            CHECK(cluster.history(1) == Commands{"x"});
        }
    }
}

TEST_CASE("★ A follower is written from the first slot that differs, and not before") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.propose_to(1, {1, 2, 3}, "same");
        Offset const differs = cluster.replicator(1).tail();
        cluster.propose_to(1, {1, 2}, "missing at 3");
        cluster.ask(2);
        cluster.grant(3, 2);
        cluster.step_replication(2);
        cluster.land(2, 3);  // the read of its chain, if there was one
        cluster.step_replication(2);
        cluster.land(2, 2);
        cluster.step_replication(2);
        std::vector<Posted> const posted = cluster.posted_slots(2, 3);
        REQUIRE(posted.size() == 2);  // the one that is missing, and the seal
        CHECK(posted.at(0).at == cluster.format.place(differs));
        CHECK(posted.at(1).at == cluster.format.place(cluster.replicator(2).tail() - kSlotAlignment));
    }
}

TEST_CASE("★ A leader's own log too is written only from the first slot that differs") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.propose_to(1, {1, 2, 3}, "same");
        Offset const differs = cluster.replicator(1).tail();
        cluster.propose_to(1, {1, 2}, "missing at 3");
        cluster.ask(3);
        cluster.grant(2, 3);
        cluster.step_replication(3);
        cluster.land(3, 2);  // the read of its chain
        cluster.step_replication(3);
        std::vector<Posted> const posted = cluster.posted_slots(3, 3);
        REQUIRE(posted.size() == 1);
        CHECK(posted.front().at == cluster.format.place(differs));
    }
}

TEST_CASE("★ There are no terminators: what a follower holds beyond the adopted chain stays until it is overwritten") {
    Formed cluster({.revocation = Revocation::by_refusal});
    for (std::string const command : {"a", "b", "c"}) {
        cluster.propose_to(1, {1}, command);
    }
    std::vector<FoundSlot> const longer = cluster.chain(1);
    REQUIRE(longer.size() == 3);
    REQUIRE(cluster.take_over(2, {3}));
    cluster.teach(2, 1);
    Offset const tail = cluster.replicator(2).tail();
    CHECK(cluster.chain(1).back().header.offset + kSlotAlignment == tail);
    auto const& ring = cluster.world.fabric(1).log().bytes;
    for (FoundSlot const& slot : longer) {
        if (slot.header.offset >= tail) {
            std::byte const* const there = ring.data() + cluster.format.place(slot.header.offset);
            CHECK(std::equal(slot.bytes.begin(), slot.bytes.end(), there));
        }
    }
    CHECK(longer.back().header.offset >= tail);
    CHECK(cluster.knows(1).empty());  // and they do not link behind what was written before them
}

TEST_CASE("★ A stale slot does not link again behind a foreign predecessor of the same size") {
    Formed cluster({.revocation = Revocation::by_refusal});
    cluster.propose_to(1, {1}, "old 1");
    cluster.propose_to(1, {1}, "old 2");
    Offset const old_2 = cluster.chain(1).back().header.offset;
    REQUIRE(cluster.take_over(2, {3}));
    cluster.propose_to(2, {2, 3}, "");  // so that 2's tail is where "old 2" begins
    REQUIRE(cluster.replicator(2).tail() == old_2);
    cluster.teach(2, 1);
    REQUIRE(cluster.replicator(2).tail() == old_2);
    CHECK(cluster.chain(1).back().header.offset < old_2);
    CHECK(cluster.knows(1) == Commands{""});
}

TEST_CASE("★ The seal: nothing is decided, reported, executed or read in a tenure before a slot of its own is") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.propose_to(1, {1, 3}, "a");  // on a majority, though nobody has been told
        cluster.answers.replies.clear();
        REQUIRE(cluster.take_over(2, {3}, Stage::sealing));
        cluster.land(2, 2);  // its own seal: one of three
        cluster.step_replication(2);
        CHECK(cluster.replicator(2).stage() == Stage::sealing);
        CHECK(cluster.replicator(2).decided() < cluster.replicator(2).tail());
        CHECK(cluster.propose(2, "b") == Outcome::not_leader);
        CHECK(cluster.history(2).empty());
        CHECK(cluster.region(2).own.leading == 0);
        cluster.replica(2).begin_read();
        CHECK(cluster.replica(2).poll_read(nullptr) == Outcome::not_leader);
        cluster.land(2, 3);
        cluster.step_replication(2);
        CHECK(cluster.replicator(2).leading());
        CHECK(cluster.replicator(2).decided() == cluster.replicator(2).tail());
        CHECK(cluster.history(2) == Commands{"a"});
        CHECK(cluster.propose(2, "b") == Outcome::ok);
    }
}

TEST_CASE("★ Without the seal this would lose a decided value: an adopted slot on a majority is not decided yet") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.propose_to(1, {1}, "a");                     // a, first proposal, on 1 alone
        REQUIRE(cluster.take_over(2, {3}, Stage::sealing));  // 2's seal, second proposal …
        cluster.land(2, 2);                                  // … on 2 alone
        cluster.depose(1, 2);
        REQUIRE(cluster.take_over(1, {3}, Stage::sealing));  // 1 again: adopts a, and copies it to 3
        cluster.land(1, 1);
        cluster.step_replication(1);
        cluster.land_slot(1, 3);
        cluster.step_replication(1);
        REQUIRE(cluster.knows(3) == Commands{"a"});    // a is on 1 and 3, a majority
        CHECK_FALSE(cluster.replicator(1).leading());  // but not decided:
        CHECK(cluster.answers.replies.empty());
        cluster.depose(2, 1);
        REQUIRE(cluster.take_over(2, {3}));  // 2's chain ends with a higher proposal
        CHECK(cluster.knows(3).empty());     // a is gone, as it may be
        cluster.land(1, 3);
        cluster.step_as_follower(1);
        CHECK(cluster.history(1).empty());
        CHECK(cluster.answers.replies.empty());
    }
}

TEST_CASE("A value proposed in a tenure that ended may be adopted later: that is what Indeterminate means") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        REQUIRE(cluster.propose(1, "maybe") == Outcome::ok);
        cluster.land(1, 3);
        REQUIRE(cluster.take_over(2, {1}));  // does not see it
        cluster.land(1, 1);
        cluster.step_as_follower(1);
        CHECK_FALSE(cluster.replicator(1).leading());
        CHECK(cluster.knows(2).empty());
        Formed other({.revocation = revocation});
        REQUIRE(other.propose(1, "maybe") == Outcome::ok);
        other.land(1, 3);
        REQUIRE(other.take_over(2, {3}));  // does see it
        CHECK(other.history(2) == Commands{"maybe"});
    }
}
