// Bring-up of a replica with empty memory (DESIGN section 4, "Bring-up"): it is not the same acceptor, and letting it vote
// before it has been brought up can lose a decided value.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

struct Formed : Cluster {
    explicit Formed(ClusterOptions const& options = {}) : Cluster(options) { form(); }

    void crash_and_restart(ReplicaId id) {
        crash(id);
        restart(id);
    }
    bool is_up(ReplicaId id) { return replica(id).shared().joined; }
    // The admit records that this replica's log has had executed or holds, by what they changed.
    Incarnation counted(ReplicaId by, ReplicaId id) { return replicator(by).configuration_at_tail().incarnations[id]; }
    // 1 leads no more, and neither it nor 2 may.
    void end_reign(std::atomic<bool> Shared::* how) {
        replica(1).shared().*how = true;
        replica(2).shared().*how = true;
        hold();
        ask(2);
        depose(1, 2);
        let_go();
        REQUIRE(run_until([&] { return replicator(2).stage() == Stage::follower; }));
    }
    // Which snapshot of `by` has come to `to` last; 0: none.
    std::uint64_t given(ReplicaId by, ReplicaId to) {
        std::optional<Piece> const piece = load_cell(region(to).peers[by].piece);
        return piece ? piece->transfer : 0;
    }
};

// Stops everything and everybody the moment that `reached` holds.
template <class Reached>
void run_to(Cluster& cluster, Reached const& reached) {
    REQUIRE(cluster.run_until(reached));
}

}  // namespace

TEST_CASE("★ A restarted replica grants nothing: with its vote two replicas could lose what the third has decided") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.hold();
        cluster.propose_to(1, {1, 2}, "x");  // decided on 1 and 2; 3 has not got it
        REQUIRE(cluster.decided(1));
        cluster.lose(1, 3);
        cluster.let_go();
        cluster.stop(1);               // 1 stops …
        cluster.crash_and_restart(2);  // … and 2 forgets x
        cluster.run(2000);
        CHECK_FALSE(cluster.replicator(2).leading());
        CHECK_FALSE(cluster.replicator(3).leading());
        CHECK(cluster.world.fabric(2).permission() == kNoProposal);
        CHECK(cluster.region(2).own.admitted == 0);
        CHECK(cluster.history(3).empty());
        cluster.resume(1);  // it comes back, and x with it
        CHECK(cluster.run_until([&] { return cluster.all_have({"x"}) && cluster.is_up(2); }));
    }
}

TEST_CASE("A restarted replica comes back: record, snapshot, promise, and only then its vote") {
    for (Revocation const revocation : revocations()) {
        for (ReplicaId const restarted : {1U, 2U, 3U}) {
            Formed cluster({.revocation = revocation});
            cluster.decide("a");
            cluster.crash(restarted);
            cluster.decide("b");
            cluster.restart(restarted);
            CHECK(cluster.run_until([&] { return cluster.is_up(restarted); }));
            cluster.decide("c");
            CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b", "c"}); }));
            ReplicaId const leader = cluster.leader();
            CHECK(cluster.counted(leader, restarted) == cluster.world.incarnation(restarted));
            CHECK(cluster.region(restarted).own.admitted == cluster.world.incarnation(restarted));
        }
    }
}

TEST_CASE("(a) What the old incarnation has acknowledged and was not counted yet is discarded") {
    Formed cluster({.replicas = 5});
    cluster.hold();
    cluster.propose_to(1, {1, 2}, "x");  // two of five
    cluster.crash_and_restart(2);
    cluster.step_replication(1);
    CHECK(cluster.replicator(1).follower(2).accepted == 0);
    cluster.land(1, 3);
    cluster.step_replication(1);
    CHECK(cluster.replicator(1).decided() < cluster.replicator(1).tail());  // 1 and 3, and no longer 2
    cluster.land(1, 4);
    cluster.step_replication(1);
    cluster.step_replication(1);
    CHECK(cluster.history(1) == Commands{"x"});
}

TEST_CASE("(b) The record is decided on a majority without the restarted replica") {
    Formed cluster;
    cluster.hold();
    cluster.crash_and_restart(3);
    Offset const before = cluster.replicator(1).tail();
    for (int i = 0; i < 10 && cluster.replicator(1).tail() == before; ++i) {
        cluster.pass(cluster.replica(1).settings().joiner_retry);
        cluster.step_replication(1);
    }
    REQUIRE(cluster.replicator(1).tail() > before);
    CHECK(cluster.counted(1, 3) == cluster.world.incarnation(3));
    CHECK(cluster.pending(1, 3) == 0);  // not a word of it goes to 3
    cluster.land(1, 1);
    cluster.step_replication(1);
    CHECK(cluster.replicator(1).decided() < cluster.replicator(1).tail());
    auto const step = [&] {
        cluster.pass(cluster.replica(1).settings().joiner_retry);
        cluster.step_replication(1);
        cluster.land(1, 3, Plane::learner);
    };
    for (int i = 0; i < 5; ++i) {
        step();
    }
    CHECK_FALSE(load_cell(cluster.region(3).peers[1].piece));  // (c) no snapshot before (b) is decided
    cluster.land(1, 2);
    for (int i = 0; i < 5; ++i) {
        step();
    }
    CHECK(load_cell(cluster.region(3).peers[1].piece));
}

TEST_CASE("(b) Without a majority of the others the record is not decided, and the replica stays without a vote") {
    Formed cluster;
    cluster.crash_and_restart(3);
    cluster.crash(2);
    cluster.run(2000);
    CHECK_FALSE(cluster.is_up(3));
    CHECK(cluster.world.fabric(3).permission() == kNoProposal);
    CHECK(cluster.replicator(1).writers().size() <= 1);  // none, when it has given up leading
    CHECK(cluster.propose(1, "x") != Outcome::ok);
}

TEST_CASE("(c) The snapshot stands for at least the record, and so for all that the old one may have helped decide") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.decide("a");
        cluster.decide("b");
        cluster.crash_and_restart(3);
        Incarnation const present = cluster.world.incarnation(3);
        run_to(cluster, [&] { return cluster.machine(3).restores == 1; });
        CHECK(cluster.replica(3).executor().configuration().incarnations[3] == present);
        CHECK(cluster.history(3) == Commands{"a", "b"});
    }
}

TEST_CASE(
    "(d) With the snapshot comes the promise: its word is the leader's proposal before it calls itself admitted") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.crash_and_restart(3);
        for (int i = 0; i < 2000 && cluster.region(3).own.admitted == 0; ++i) {
            CHECK(cluster.world.fabric(3).permission() == kNoProposal);
            cluster.step_all();
        }
        CHECK(cluster.region(3).own.admitted == cluster.world.incarnation(3));
        CHECK(cluster.world.fabric(3).permission() == cluster.replicator(1).proposal());
    }
}

TEST_CASE("Another start in between begins anew, with another incarnation and another record") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.decide("a");
        cluster.crash_and_restart(3);
        Incarnation const first = cluster.world.incarnation(3);
        run_to(cluster, [&] { return cluster.counted(1, 3) == first; });
        cluster.crash_and_restart(3);  // before its snapshot has arrived
        Incarnation const second = cluster.world.incarnation(3);
        REQUIRE_FALSE(cluster.is_up(3));
        CHECK(cluster.run_until([&] { return cluster.is_up(3); }));
        CHECK(cluster.counted(1, 3) == second);
        cluster.decide("b");
        CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b"}); }));
    }
}

TEST_CASE("Restarts at every moment of a bring-up: it never votes unadmitted, and comes up in the end") {
    for (int moment = 0; moment < 60; moment += between_moments()) {
        Formed cluster;
        cluster.decide("a");
        cluster.crash_and_restart(2);
        cluster.run(moment);
        cluster.crash_and_restart(2);
        for (int i = 0; i < 2000 && !cluster.is_up(2); ++i) {
            CHECK(cluster.world.fabric(2).permission() == kNoProposal);
            cluster.step_all();
        }
        REQUIRE(cluster.is_up(2));
        cluster.decide("b");
        CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b"}); }));
    }
}

TEST_CASE(
    "The leader dies at every moment of a bring-up: a new one finishes it, repeating the transfer, not the record") {
    for (int moment = 0; moment < 60; moment += between_moments()) {
        Formed cluster({.replicas = 5});
        cluster.decide("a");
        cluster.crash_and_restart(5);
        Incarnation const present = cluster.world.incarnation(5);
        cluster.run(moment);
        bool const recorded = cluster.leader() == 1 && cluster.counted(1, 5) == present && cluster.decided(1);
        cluster.crash(1);
        REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }));
        if (recorded) {
            CHECK(cluster.counted(2, 5) == present);  // it is in the adopted chain, so nobody appends it again
        }
        CHECK(cluster.run_until([&] { return cluster.is_up(5); }));
        cluster.decide("b");
        CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b"}); }));
    }
}

TEST_CASE("A snapshot of several pieces arrives whole, though its leader stops between any two of them") {
    std::string const large(900, 'x');
    for (int moment = 0; moment < 30; moment += 3) {
        ClusterOptions options{.log_bytes = 65536};
        Formed cluster(options);
        Commands all;
        for (int i = 0; i < 200; ++i) {  // some 180 KB of history
            all.push_back(std::to_string(i) + large);
            cluster.decide(all.back());
        }
        cluster.crash_and_restart(3);
        cluster.run(moment);
        if (cluster.is_up(3)) {
            cluster.crash(1);  // it is brought up: it may help to elect 2
        } else {
            cluster.stop(1);  // without it there is no majority: it goes on later
            cluster.run(100);
            cluster.resume(1);
        }
        CHECK(cluster.run_until([&] { return cluster.is_up(3) && cluster.leader() != kNobody; }));
        cluster.decide("last");
        all.push_back("last");
        CHECK(cluster.run_until([&] { return cluster.all_have(all); }));
    }
}

TEST_CASE("(c) A state machine that gives no snapshot costs its replica nothing: it leads on, and asks again later") {
    Formed cluster;
    cluster.decide("a");
    cluster.machine(1).gives = false;
    cluster.crash_and_restart(3);
    REQUIRE(cluster.run_until([&] { return cluster.machine(1).snapshots == 1; }));
    cluster.decide("b");
    CHECK(cluster.leader() == 1);
    CHECK_FALSE(cluster.is_up(3));
    CHECK(cluster.machine(1).snapshots == 1);
    cluster.machine(1).gives = true;
    CHECK(cluster.run_until([&] { return cluster.is_up(3) && cluster.all_have({"a", "b"}); }));
    CHECK(cluster.machine(1).snapshots == 2);
}

TEST_CASE("Grants name the grantor's incarnation: one that an earlier life has left is no grant of this one's") {
    Formed cluster;
    cluster.hold();
    cluster.ask(2);
    cluster.grant(3, 2);  // 2 holds a grant of 3's first life
    cluster.crash_and_restart(3);
    cluster.step_replication(2);
    // Its own grant and that of the dead: whatever it writes to 3 fails, and it never leads.
    for (int i = 0; i < 20; ++i) {
        cluster.land(2, 2);
        cluster.land(2, 3);
        cluster.step_replication(2);
        CHECK_FALSE(cluster.replicator(2).leading());
    }
}

TEST_CASE("★ A takeover is void if a grant's incarnation differs from the one that its adopted chain names") {
    for (Revocation const revocation : revocations()) {
        ClusterOptions options{.replicas = 5, .revocation = revocation};
        options.settings.grant_timeout = kSecond;
        Formed cluster(options);
        cluster.decide("a");
        cluster.run(100);
        cluster.hold();
        cluster.ask(3);
        cluster.grant(2, 3);  // a grant of 2's first life, and 3 reads its chain
        cluster.step_replication(3);
        cluster.land(3, 2);
        cluster.step_replication(3);
        REQUIRE(cluster.replicator(3).stage() == Stage::requesting);
        // 2 restarts; 1 decides the admission of its second life, and x, on 1, 4 and 5.
        cluster.crash_and_restart(2);
        for (int i = 0; i < 10 && cluster.counted(1, 2) != cluster.world.incarnation(2); ++i) {
            cluster.pass(cluster.replica(1).settings().joiner_retry);
            cluster.step_replication(1);
        }
        REQUIRE(cluster.counted(1, 2) == cluster.world.incarnation(2));
        cluster.propose_to(1, {1, 4, 5}, "x");
        REQUIRE(cluster.decided(1));
        // 4 grants too: with 3's own that makes three of five, but one of them is void, and so is the takeover.
        cluster.grant(4, 3);
        cluster.replica(3).shared().leader = kNobody;
        cluster.step_replication(3);
        cluster.land(3, 4);
        cluster.step_replication(3);
        CHECK(cluster.replicator(3).stage() == Stage::follower);
        cluster.land(3, 3);
        cluster.step_replication(3);
        CHECK(cluster.pending(3, 4) == 0);  // it has taught nobody
        CHECK(cluster.pending(3, 2) == 0);
        CHECK_FALSE(cluster.replicator(3).leading());
    }
}

namespace {

// Nobody leads: 1 and 2 have executed x, and may not; 3 may, but lacks it, and their logs show it to nobody any more.
struct Leaderless : Formed {
    Leaderless(Revocation revocation, std::atomic<bool> Shared::* how) : Formed({.revocation = revocation}) {
        part({1, 2}, {3});
        decide(x);
        run_to(*this, [&] { return history(2) == Commands{x}; });
        for (ReplicaId const id : {1U, 2U}) {
            replica(id).shared().*how = true;
        }
        hold();
        join({1, 2}, {3});
        ask(3);
        for (ReplicaId const id : {1U, 2U}) {
            grant(id, 3);
        }
        step_replication(3);
        land_between(3, {1, 2});
        step_replication(3);
        pass(options().settings.grant_timeout + 1);
        step_replication(3);
        step_replication(1);
        let_go();
        REQUIRE(replicator(1).stage() == Stage::follower);  // deposed
        REQUIRE(replica(3).shared().lapped);
        REQUIRE(history(3).empty());
    }
    std::string const x = std::string(options().log_bytes / 16, 'x');  // applied is not published for less
};

}  // namespace

TEST_CASE("(c) From those who may not lead the only one who may, and was lapped, gets a snapshot, and then leads") {
    for (Revocation const revocation : revocations()) {
        for (auto const how : {&Shared::paused, &Shared::aside}) {
            Leaderless cluster(revocation, how);
            CHECK(cluster.run_until([&] { return cluster.leader() == 3; }));
            CHECK(cluster.history(3) == Commands{cluster.x});
            CHECK(cluster.machine(3).restores == 1);
            cluster.decide("y");
            CHECK(cluster.run_until([&] { return cluster.all_have({cluster.x, "y"}); }));
            CHECK(cluster.given(1, 3) <= 1);  // and not again, because of what they had read of it before
            CHECK(cluster.given(2, 3) <= 1);
        }
    }
}

TEST_CASE("(c) While nobody leads, a restarted replica is brought up by nobody: there is no promise to give it") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.machine(1).gives = false;
        cluster.crash_and_restart(3);  // its record is decided, and no snapshot arrives
        for (ReplicaId const id : {1U, 2U}) {
            Incarnations const& executed = cluster.replica(id).executor().configuration().incarnations;
            run_to(cluster, [&] { return executed[3] == cluster.world.incarnation(3); });
        }
        cluster.end_reign(&Shared::paused);
        cluster.machine(1).gives = true;
        for (int i = 0; i < 1000; ++i) {
            cluster.replica(3).shared().lapped = true;  // were it to take itself for that
            cluster.step_all();
        }
        CHECK(cluster.leader() == kNobody);
        CHECK(cluster.machine(3).restores == 0);
        CHECK_FALSE(cluster.is_up(3));
    }
}

TEST_CASE("(c) Who knows already that he is behind tries to lead when nobody else can, and so gets what he lacks") {
    for (auto const how : {&Shared::paused, &Shared::aside}) {
        Formed cluster;
        cluster.stop(3);
        Commands all;
        for (int i = 0; i < 40; ++i) {
            all.push_back(std::string(cluster.options().log_bytes / 16, 'x') + std::to_string(i));
            cluster.decide(all.back());
        }
        cluster.part({1}, {3});  // so 1 teaches it nothing
        cluster.resume(3);
        run_to(cluster, [&] { return !cluster.replica(3).shared().eligible; });
        cluster.replica(2).shared().*how = true;
        cluster.crash(1);
        CHECK(cluster.run_until([&] { return cluster.leader() == 3; }));
        CHECK(cluster.history(3) == all);
    }
}

TEST_CASE("(c) What was read of others while nobody led makes no later leader give a snapshot that nobody needs") {
    for (Revocation const revocation : revocations()) {
        Formed cluster({.revocation = revocation});
        cluster.decide("a");
        cluster.run(100);
        cluster.crash_and_restart(3);
        cluster.end_reign(&Shared::aside);
        cluster.run(300);  // 2 sees that 3 is not admitted
        cluster.replica(1).shared().aside = false;
        run_to(cluster, [&] { return cluster.leader() == 1 && cluster.is_up(3); });
        cluster.replica(2).shared().aside = false;
        cluster.decide("b");
        cluster.run(300);
        cluster.crash(1);
        run_to(cluster, [&] { return cluster.leader() == 2; });
        cluster.decide("c");
        CHECK(cluster.run_until([&] { return cluster.all_have({"a", "b", "c"}); }));
        CHECK(cluster.given(2, 3) == 0);
    }
}

TEST_CASE("A piece counts as taken only if it was this giver's: another life of it has used the same numbers") {
    for (bool const another_life : {false, true}) {
        Formed cluster({.log_bytes = 65536});
        for (int i = 0; i < 100; ++i) {
            cluster.decide(std::to_string(i) + std::string(900, 'x'));  // so a snapshot has two pieces
        }
        cluster.crash_and_restart(3);
        cluster.stop(3);
        run_to(cluster, [&] { return cluster.given(1, 3) == 1; });
        PieceTaken taken{cluster.world.incarnation(3), cluster.world.incarnation(1), 1, 1};
        taken.giver += another_life ? 1 : 0;
        store_cell(cluster.region(1).peers[3].taken, taken);
        cluster.run(10);
        CHECK(load_cell(cluster.region(3).peers[1].piece)->number == (another_life ? 1 : 2));
    }
}
