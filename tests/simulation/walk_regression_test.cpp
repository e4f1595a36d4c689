// What walks and readings have found, each told alone: the shortest story that the faulty code got wrong.
#include <doctest/doctest.h>

#include "simulation/walk_parade.hpp"

namespace mu::simulation {
namespace {

constexpr std::uint64_t kRound = 5;

SimOptions manual() { return {.log_bytes = 4096, .background_bytes = sizeof(BackgroundRegion), .auto_deliver = true}; }

Settings settings_of(ReplicaId self) {
    Settings settings = quick_settings();
    settings.self = self;
    settings.members = {1, 2, 3};
    return settings;
}

BackgroundRegion& region(SimWorld& world, ReplicaId id) {
    return *reinterpret_cast<BackgroundRegion*>(world.fabric(id).background().data());
}

// Replica 3 as an acceptor, and what it answers to replica 1.
struct Acceptor {
    Acceptor() : format(settings.cluster_key, 4096, Integrity::stamp) {
        store_word(region(world, 3).own.admitted, world.incarnation(3));
        store_position(region(world, 3).own.applied, Position{});
        REQUIRE(world.fabric(3).channel(Plane::background).connect(1));
    }
    Grant answer(Request const& request) {
        store_cell(region(world, 3).peers[1].request, request);
        now += kSecond;
        permission.step(now);
        std::optional<Grant> const grant = load_cell(region(world, 1).peers[3].grant);
        REQUIRE(grant.has_value());
        return *grant;
    }

    SimWorld world{manual()};
    Settings settings = settings_of(3);
    Shared shared;
    LogFormat format;
    Permission permission{world.fabric(3), format, settings, shared, world.incarnation(3)};
    Nanoseconds now = 0;
};

// Replica 3's formation, and what it sees of the others.
struct Founder {
    Founder() : peers(world.fabric(3).channel(Plane::background)) { look(); }

    void look() {
        Channel& channel = world.fabric(3).channel(Plane::background);
        for (ReplicaId const peer : {1U, 2U}) {
            REQUIRE(channel.connect(peer));
            store_word(region(world, peer).own.incarnation, world.incarnation(peer));
            peers.refresh(peer);
        }
        std::array<Completion, 8> done;
        std::size_t const count = channel.poll(done);
        for (std::size_t i = 0; i < count; ++i)
            peers.completed(done[i]);
        formation.step();
    }
    [[nodiscard]] std::uint64_t prepared() { return region(world, 3).own.prepared; }
    // Replica 1 dies, and its next life is seen.
    void restart_one() {
        world.crash(1);
        world.restart(1);
        peers.reset(1);
        look();
    }

    SimWorld world{manual()};
    Settings settings = settings_of(3);
    Shared shared;
    PeerReader peers;
    Formation formation{world.fabric(3), peers, settings, shared, world.incarnation(3)};
};

}  // namespace

TEST_CASE("an acceptor refuses a proposal that an earlier life of the same replica was granted") {
    Acceptor acceptor;  // walk 149995: two tenures of one proposal, and one took the other's permission for its own
    Proposal const proposal = make_proposal(kRound, 1);
    CHECK(acceptor.answer({proposal, acceptor.world.incarnation(1), 1}).word == proposal);
    acceptor.world.crash(1);
    acceptor.world.restart(1);
    REQUIRE(acceptor.world.fabric(3).channel(Plane::background).connect(1));
    Grant const refusal = acceptor.answer({proposal, acceptor.world.incarnation(1), 2});
    CHECK(refusal.word > proposal);
    CHECK(refusal.key == 0);
}

TEST_CASE("a reading of a peer's earlier life does not arrive among those of its present life") {
    SimWorld world({.background_bytes = sizeof(BackgroundRegion), .auto_deliver = false});
    Channel& channel = world.fabric(1).channel(Plane::background);
    QueueId const queue = world.queue_of(1, Plane::background, 2);
    PeerReader peers(channel);
    REQUIRE(channel.connect(2));
    region(world, 2).own.chain_end = 7;
    peers.refresh(2);
    REQUIRE(world.land(queue));  // read, but not yet known to have been
    world.crash(2);
    world.restart(2);
    REQUIRE(channel.connect(2));
    peers.reset(2);
    peers.refresh(2);
    CHECK(world.queue(queue).empty());  // the place where it would arrive is still taken
    std::array<Completion, 1> done;
    REQUIRE(channel.poll(done) == 1);
    peers.completed(done[0]);
    CHECK(peers.view(2).chain_end == 0);
}

TEST_CASE("a vector is not abandoned by a member that has prepared an earlier one and may still prepare this one") {
    Founder founder;
    std::uint64_t const first = founder.prepared();
    REQUIRE(first != 0);
    region(founder.world, 2).own.prepared = first ^ 1U;
    region(founder.world, 2).own.prepared_order = 1;  // of some vector before
    founder.restart_one();
    CHECK(founder.prepared() == first);
    region(founder.world, 2).own.prepared_order = region(founder.world, 3).own.prepared_order + 1;
    founder.look();
    CHECK(founder.prepared() != first);
}

TEST_CASE("a takeover is given up if the chain that it read was overwritten meanwhile") {
    Parade parade(3, Revocation::by_refusal);  // mutant no-back-off, walk 1532: an innocent candidate stopped for good
    parade.settle();
    parade.decide(10);
    REQUIRE(parade.until([&] { return parade.all_applied(); }));
    parade.frozen = {false, false, true, true};
    parade.world.auto_deliver(false);
    for (int i = 0; i < 2; ++i)
        REQUIRE(parade.propose(1, parade.next++) == Outcome::ok);
    while (parade.world.land(parade.world.queue_of(1, Plane::replication, 3))) {
    }
    parade.crash(1);
    parade.world.lose_orphans(1);
    parade.world.auto_deliver(true);
    parade.world.report_gone(1);
    parade.frozen = {};
    // Replica 2 has to adopt what only replica 3 has. While it reads that, replica 3's log is written by somebody else.
    bool overwritten = false;
    parade.world.on_moment([&](ReplicaId id, Plane plane) {
        Replicator const& takeover = parade.replica(2).replicator();
        if (overwritten || id != 2 || plane != Plane::replication) return;
        if (takeover.follower(3).stage != Follower::Stage::reading) return;
        overwritten = true;
        auto* const chain = const_cast<OwnedBytes*>(&takeover.follower(3).chain);
        std::size_t const second = parade.format.place(takeover.follower(3).grant.end.offset - kSlotAlignment);
        std::memset(chain->data() + second - kSlotAlignment, 0, 2 * kSlotAlignment);
    });
    CHECK(parade.until([&] { return parade.leader() == 2 && parade.all_applied(); }));
    CHECK(overwritten);
}

TEST_CASE("a lapped voter gets its snapshot although the seal waits for that very voter") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        Parade parade(3, revocation);
        parade.settle();
        parade.decide(10);
        parade.frozen[3] = true;
        parade.decide(300);
        parade.crash(1);
        parade.world.report_gone(1);
        parade.frozen[3] = false;
        parade.settle();
        parade.decide(10);
        CHECK(parade.until([&] { return parade.all_applied(); }));
        CHECK(parade.same_histories());
    }
}

TEST_CASE("what a new leader adopted is executed by everybody, though no command follows") {
    Parade parade(3);
    parade.settle();
    parade.decide(10);
    REQUIRE(parade.until([&] { return parade.all_applied(); }));
    REQUIRE(parade.propose(1, parade.next++) == Outcome::ok);
    parade.crash(1);  // its followers have the slot, and nobody has told them that it is decided
    parade.world.report_gone(1);
    CHECK(parade.until([&] { return parade.leader() == 2 && parade.all_applied(); }));
    CHECK(parade.same_histories());
}

TEST_CASE("a deposed leader whose undecided slots its successor replaces executes what replaced them") {
    Parade parade(3);  // walk 109: a follower waited for ever behind the end of a chain that was replaced
    parade.settle();
    parade.decide(10);
    REQUIRE(parade.until([&] { return parade.all_applied(); }));
    parade.frozen[2] = parade.frozen[3] = true;
    parade.world.auto_deliver(false);
    for (int i = 0; i < 3; ++i)
        REQUIRE(parade.propose(1, 1000 + static_cast<std::uint64_t>(i)) == Outcome::ok);
    while (parade.world.land(parade.world.queue_of(1, Plane::replication, 1))) {
    }
    for (ReplicaId const peer : {2U, 3U}) {
        while (parade.world.fail(parade.world.queue_of(1, Plane::replication, peer))) {
        }
    }
    parade.world.auto_deliver(true);
    parade.frozen = {};
    parade.frozen[1] = true;
    parade.settle();
    parade.decide(1);
    parade.frozen[1] = false;
    for (int i = 0; i < 200; ++i)
        parade.round();  // until nobody takes it from the other any more
    REQUIRE(parade.all_applied());
    parade.decide(10);
    CHECK(parade.until([&] { return parade.all_applied(); }));
    CHECK(parade.same_histories());
}

TEST_CASE("a leader with a full ring notices that the connection broke by which it learns what followers apply") {
    Parade parade(3);  // walk 10325: with nothing to write nothing failed, and it waited for ever
    parade.settle();
    parade.decide(10);
    parade.crash(3);  // of the last majority nobody is dropped for being slow
    parade.world.report_gone(3);
    parade.decide(10);
    parade.frozen[2] = true;
    while (parade.propose(1, parade.next) == Outcome::ok)
        ++parade.next;
    REQUIRE(parade.propose(1, parade.next) == Outcome::no_room);
    parade.world.disconnect(parade.world.queue_of(1, Plane::learner, 2));
    parade.frozen = {};
    parade.decide(10);
    CHECK(parade.until([&] { return parade.all_applied(); }));
    CHECK(parade.same_histories());
}

}  // namespace mu::simulation
