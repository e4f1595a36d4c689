// The fabric contract, F1 to F6, as one suite that every fabric passes. What only one fabric can promise or suffer is
// tested beside it (shm_*_test.cpp and so on).
//
// Whoever includes this names the worlds first: MU_FABRIC_WORLDS, all; MU_AREA_WORLDS, if any, those that carry the kept
// part of a log over into another area; MU_OPEN_WORLDS, those where somebody could come who is no member. (The sim's world has
// members only: to name another is its driver's fault.)
#include "fabric/world.hpp"

namespace mu::test {

namespace {

TEST_CASE_TEMPLATE("F1: a log write that completes with success is in the target's log", World, MU_FABRIC_WORLDS) {
    World world(3);
    Driver leader(world, 1);
    for (ReplicaId peer = 1; peer <= 3; ++peer) {
        leader.lead(peer, 1);
        std::vector<std::byte> const bytes = filled(128, static_cast<unsigned char>(peer));
        REQUIRE(leader.write(peer, Region::log, 256, {bytes}));
        LogView const view = world.endpoint(peer).log();
        CHECK(view.proposal == leader.tenure(1).proposal);
        CHECK(shows(view.bytes, 256, bytes));
        CHECK(world.endpoint(peer).same_log(view));
    }
}

TEST_CASE_TEMPLATE("F1: a log write without a tenure fails and stores nothing", World, MU_FABRIC_WORLDS) {
    World world(2);
    Driver writer(world, 1);
    REQUIRE(writer.connect(2));
    CHECK_FALSE(writer.write(2, Region::log, 0, {filled(64, 7)}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(kRingBytes, 0)));
}

TEST_CASE_TEMPLATE("F1: one's own log is written like that of any peer", World, MU_FABRIC_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    leader.lead(1, 1);
    REQUIRE(leader.write(1, Region::log, 0, {filled(64, 9)}));
    CHECK(shows(world.endpoint(1).own_log(), 0, filled(64, 9)));
    Driver other(world, 2);
    other.lead(1, 2);
    CHECK_FALSE(leader.write(1, Region::log, 64, {filled(64, 9)}));
}

TEST_CASE_TEMPLATE("F2: after a permit the log shows what was kept and nothing that the earlier tenure writes", World,
                   MU_FABRIC_WORLDS) {
    World world(3);
    Driver first(world, 1);
    Driver second(world, 3);
    first.lead(2, 1);
    REQUIRE(first.write(2, Region::log, 0, {filled(64, 1)}));
    LogView const before = world.endpoint(2).log();
    second.lead(2, 2);
    CHECK_FALSE(world.endpoint(2).same_log(before));
    CHECK_FALSE(first.write(2, Region::log, 64, {filled(64, 2)}));
    LogView const view = world.endpoint(2).log();
    CHECK(view.proposal == second.tenure(2).proposal);
    CHECK(shows(view.bytes, 0, filled(64, 1)));
    CHECK(shows(view.bytes, 64, filled(64, 0)));
}

#ifdef MU_AREA_WORLDS
TEST_CASE_TEMPLATE("F2: what a later tenure finds is a log of its own proposal with the floor that was kept", World,
                   MU_AREA_WORLDS) {
    World world(3);
    Driver first(world, 1);
    Driver second(world, 3);
    first.lead(2, 1);
    REQUIRE(first.write(2, Region::log, kRingBytes - 64, {filled(64, 1)}));
    REQUIRE(first.write(2, Region::log, 0, {filled(128, 2)}));
    KeepRange keeper(kRingBytes - 64, kRingBytes + 128, kRingBytes + 64);  // wraps; its last slot is not sound
    second.lead(2, 2, keeper);
    LogView const view = world.endpoint(2).log();
    CHECK(view.floor == kRingBytes - 64);
    CHECK(shows(view.bytes, kRingBytes - 64, filled(64, 1)));
    CHECK(shows(view.bytes, 0, filled(64, 2)));
    CHECK(shows(view.bytes, 64, filled(8, 0)));  // the end mark
}
#endif

TEST_CASE_TEMPLATE("F2: no earlier tenure of the same replica has permission either", World, MU_FABRIC_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    REQUIRE(leader.write(2, Region::log, 0, {filled(64, 1)}));
    KeepAll keeper;
    (void)world.endpoint(2).permit(leader.tenure(2), keeper);
    CHECK_FALSE(leader.write(2, Region::log, 64, {filled(64, 2)}));
    leader.lead(2, 3);
    CHECK(leader.write(2, Region::log, 64, {filled(64, 3)}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(64, 1)));
}

TEST_CASE_TEMPLATE("F1: a write that is open when the next tenure begins is judged by its own", World,
                   MU_FABRIC_WORLDS) {
    World world(3);
    Driver leader(world, 1);
    leader.lead(2, 1);
    Driver(world, 3).lead(2, 2);
    std::vector<std::byte> const bytes = filled(64, 1);
    leader.channel().write(2, Region::log, 0, {bytes}, 77);
    leader.lead(2, 3);
    CHECK_FALSE(leader.wait_for(77));
    CHECK(leader.write(2, Region::log, 0, {bytes}));
}

#ifdef MU_AREA_WORLDS
TEST_CASE_TEMPLATE("F2: an area that is used again does not bring its old bytes back", World, MU_AREA_WORLDS) {
    World world(3);
    Driver first(world, 1);
    Driver second(world, 3);
    first.lead(2, 1);
    REQUIRE(first.write(2, Region::log, 0, {filled(256, 1)}));
    KeepRange half(0, 128, 128);
    second.lead(2, 2, half);
    first.lead(2, 3, half);
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(128, 1)));
    CHECK(shows(world.endpoint(2).log().bytes, 128, filled(8, 0)));
}
#endif

TEST_CASE_TEMPLATE("Permitting the same tenure twice changes nothing and answers with a key that works", World,
                   MU_FABRIC_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    REQUIRE(leader.write(2, Region::log, 0, {filled(64, 1)}));
    LogView const view = world.endpoint(2).log();
    leader.lead(2, 1);
    CHECK(world.endpoint(2).same_log(view));
    CHECK(world.endpoint(2).permission() == leader.tenure(1).proposal);
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(64, 1)));
    CHECK(leader.write(2, Region::log, 64, {filled(64, 2)}));
}

TEST_CASE_TEMPLATE("F3: writes of one channel to one peer land in posting order", World, MU_FABRIC_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    std::vector<std::vector<std::byte>> writes;
    for (unsigned char i = 0; i < 100; ++i) {
        writes.push_back(filled(64, i));
    }
    for (std::size_t i = 0; i < writes.size(); ++i) {
        leader.channel().write(2, Region::log, i % 3 * 64, {writes[i]}, 1000 + i);
    }
    REQUIRE(leader.wait_for(1099));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(64, 99)));
    CHECK(shows(world.endpoint(2).log().bytes, 64, filled(64, 97)));
    CHECK(shows(world.endpoint(2).log().bytes, 128, filled(64, 98)));
}

TEST_CASE_TEMPLATE("F3: after one log write has failed all fail until the next tenure", World, MU_FABRIC_WORLDS) {
    World world(3);
    Driver first(world, 1);
    first.lead(2, 1);
    Driver(world, 3).lead(2, 2);
    CHECK_FALSE(first.write(2, Region::log, 0, {filled(64, 1)}));
    CHECK_FALSE(first.write(2, Region::log, 64, {filled(64, 2)}));
    CHECK_FALSE(first.confirm(2));
    first.lead(2, 3);
    CHECK(first.write(2, Region::log, 128, {filled(64, 3)}));
    CHECK(first.confirm(2));
}

TEST_CASE_TEMPLATE("A lost permission does not touch the background region", World, MU_FABRIC_WORLDS) {
    World world(3);
    Driver first(world, 1, Plane::background);
    REQUIRE(first.connect(2));
    Driver(world, 3).lead(2, 2);
    CHECK_FALSE(first.write(2, Region::log, 0, {filled(64, 1)}));
    REQUIRE(first.write(2, Region::background, 64, {filled(24, 5)}));
    CHECK(shows(world.endpoint(2).background(), 64, filled(24, 5)));
    std::vector<std::byte> into(24);
    REQUIRE(first.read(2, Region::background, 64, into));
    CHECK(into == filled(24, 5));
}

TEST_CASE_TEMPLATE("A leader reads the log that its grant names, with what was kept in it", World, MU_FABRIC_WORLDS) {
    World world(3);
    Driver first(world, 1);
    Driver second(world, 3);
    first.lead(2, 1);
    REQUIRE(first.write(2, Region::log, 512, {filled(64, 4)}));
    second.lead(2, 2);
    std::vector<std::byte> into(64);
    REQUIRE(second.read(2, Region::log, 512, into));
    CHECK(into == filled(64, 4));
}

TEST_CASE_TEMPLATE("F4: the tail of a write begins at the next multiple of eight after its body", World,
                   MU_FABRIC_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    std::vector<std::byte> const head = filled(48, 1);
    std::vector<std::byte> const tail = filled(8, 3);
    for (std::size_t length = 1; length <= 40; ++length) {
        std::vector<std::byte> const body = filled(length, 2);
        REQUIRE(leader.write(2, Region::log, 0, {head, body, tail}));
        LogView const view = world.endpoint(2).log();
        CHECK(shows(view.bytes, 0, head));
        CHECK(shows(view.bytes, 48, body));
        CHECK(shows(view.bytes, align_up(48 + length, 8), tail));
    }
}

TEST_CASE_TEMPLATE("F5: operations on a dead peer end with an error, and its end is known", World, MU_FABRIC_WORLDS) {
    World world(3);
    Driver leader(world, 1);
    leader.lead(2, 1);
    Incarnation const before = world.incarnation(2);
    world.crash(2);
    REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).gone; }));
    CHECK(world.endpoint(1).peer(2).incarnation == before);
    std::vector<std::byte> into(8);
    CHECK_FALSE(leader.write(2, Region::log, 0, {filled(64, 1)}));
    CHECK_FALSE(leader.write(2, Region::background, 0, {filled(8, 1)}));
    CHECK_FALSE(leader.read(2, Region::background, 0, into));
    CHECK_FALSE(leader.confirm(2));
    CHECK_FALSE(leader.channel().connect(2));
}

TEST_CASE_TEMPLATE("F5: a restarted peer has a later incarnation, an empty log, and permits anew", World,
                   MU_FABRIC_WORLDS) {
    World world(3);
    Driver leader(world, 1);
    leader.lead(2, 1);
    REQUIRE(leader.write(2, Region::log, 0, {filled(64, 1)}));
    Incarnation const before = world.incarnation(2);
    world.crash(2);
    world.restart(2);
    REQUIRE(world.incarnation(2) > before);
    REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).incarnation == world.incarnation(2); }));
    CHECK_FALSE(world.endpoint(1).peer(2).gone);
    REQUIRE(leader.connect(2));
    CHECK(leader.channel().connected(2) == world.incarnation(2));
    CHECK_FALSE(leader.write(2, Region::log, 0, {filled(64, 2)}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(kRingBytes, 0)));
    leader.lead(2, 2);
    CHECK(leader.write(2, Region::log, 0, {filled(64, 3)}));
}

TEST_CASE_TEMPLATE("F5: a write that was open when its peer restarted does not complete with success", World,
                   MU_FABRIC_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    std::vector<std::byte> const bytes = filled(64, 1);
    world.crash(2);
    REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).gone; }));
    std::uint64_t const id = 77;
    SUBCASE("to the log") { leader.channel().write(2, Region::log, 0, {bytes}, id); }
    SUBCASE("to the background region") { leader.channel().write(2, Region::background, 0, {bytes}, id); }
    world.restart(2);
    REQUIRE(leader.connect(2));
    CHECK_FALSE(leader.wait_for(id));
}

TEST_CASE_TEMPLATE("F6: a replica that is not a member cannot be reached", World, MU_OPEN_WORLDS) {
    World world(2);
    Driver leader(world, 1);
    CHECK_FALSE(leader.channel().connect(3));
    CHECK(leader.channel().connected(3) == 0);
    CHECK(world.endpoint(1).peer(3).incarnation == 0);
}

}  // namespace

}  // namespace mu::test
