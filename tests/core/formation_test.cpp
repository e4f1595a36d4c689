// First formation: a cluster that never was comes to be exactly once; one that has been is never invented again.
// Every replica has a formation of its own over the sim fabric; the test says who looks, and who steps.
#include "protocol/formation.hpp"

#include <doctest/doctest.h>

#include "support/founders.hpp"

using namespace mu;
using namespace mu::test;

TEST_CASE("Formation has two phases: a replica forms only on seeing all members prepared with its own vector") {
    Founders founders(3);
    founders.look();  // everybody sees every incarnation …
    for (ReplicaId const id : {1U, 2U, 3U}) {
        founders.step(id);
        CHECK(founders.own(id).prepared != 0);
        CHECK_FALSE(founders.joined(id));  // … but nobody has seen the others prepared yet
    }
    CHECK(founders.own(1).prepared == founders.own(2).prepared);
    CHECK(founders.own(1).prepared == founders.own(3).prepared);
    founders.look();
    founders.step(1);
    CHECK(founders.joined(1));
    CHECK(founders.own(1).formed == founders.own(1).prepared);
    CHECK(founders.own(1).admitted == founders.world.incarnation(1));
}

TEST_CASE("A replica that misses one member prepares nothing") {
    Founders founders(3);
    founders.look();  // it was there once
    founders.world.crash(3);
    founders.world.report_gone(3);
    for (int i = 0; i < 5; ++i) {
        founders.look_and_step_all();
    }
    CHECK(founders.own(1).prepared == 0);
    CHECK(founders.own(2).prepared == 0);
}

TEST_CASE("One that has seen only two of three prepared does not form") {
    Founders founders(3);
    founders.look();
    founders.step(1);
    founders.step(2);
    founders.look();
    founders.step(1);
    founders.step(2);
    CHECK_FALSE(founders.joined(1));
    CHECK_FALSE(founders.joined(2));
}

TEST_CASE("All members form with the same vector, which is that of all incarnations") {
    Founders founders(5);
    for (int i = 0; i < 4; ++i) {
        founders.look_and_step_all();
    }
    for (ReplicaId id = 1; id <= 5; ++id) {
        REQUIRE(founders.joined(id));
        for (ReplicaId member = 1; member <= 5; ++member) {
            CHECK(founders.shared(id).formation[member] == founders.world.incarnation(member));
        }
        CHECK(founders.own(id).formed == founders.own(1).formed);
    }
}

TEST_CASE("A replica forms by a peer that has formed with its own vector: that one saw everybody prepared") {
    Founders founders(3);
    founders.look();
    founders.step_all();
    founders.look();
    founders.step(1);
    REQUIRE(founders.joined(1));
    founders.world.crash(3);  // 2 will never see 3 prepared
    founders.look();
    founders.step(2);
    CHECK(founders.joined(2));
    CHECK(founders.own(2).formed == founders.own(1).formed);
}

TEST_CASE("A restart between the phases: the old vector is abandoned by a majority of it, then another one forms") {
    Founders founders(3);
    founders.look();
    founders.step_all();
    std::uint64_t const old = founders.own(1).prepared;
    founders.restart(3);
    founders.look();
    founders.step(1);
    CHECK(founders.own(1).abandoned == old);  // declared …
    CHECK(founders.own(1).prepared == old);   // … but not yet by a majority of its incarnations
    founders.look();
    founders.step(2);
    CHECK(founders.own(2).abandoned == old);
    CHECK(founders.own(2).prepared != old);  // 1 and 2 are two of the three
    for (int i = 0; i < 4; ++i) {
        founders.look_and_step_all();
    }
    for (ReplicaId id = 1; id <= 3; ++id) {
        CHECK(founders.joined(id));
        CHECK(founders.own(id).formed == founders.own(1).formed);
        CHECK(founders.own(id).formed != old);
        CHECK(founders.shared(id).formation[3] == founders.world.incarnation(3));
    }
}

TEST_CASE("A new incarnation cannot speak for the one that prepared: its word does not abandon the old vector") {
    Founders founders(3);
    founders.look();
    founders.step_all();
    std::uint64_t const old = founders.own(1).prepared;
    founders.restart(2);
    founders.restart(3);
    for (int i = 0; i < 6; ++i) {
        founders.look_and_step_all();
        founders.own(2).abandoned = old;
        founders.own(3).abandoned = old;
    }
    CHECK(founders.own(1).abandoned == old);
    CHECK(founders.own(1).prepared == old);
    CHECK_FALSE(founders.joined(1));
    CHECK_FALSE(founders.joined(2));
    CHECK_FALSE(founders.joined(3));
}

TEST_CASE("Who has prepared an earlier vector may yet prepare a later one: that one is not abandoned by him") {
    Founders founders(3);
    founders.look();
    founders.step_all();
    founders.restart(3);
    founders.look();
    founders.step(2);  // 2 declares the first vector abandoned, and is slow from here on
    founders.step(1);
    founders.look(1);
    founders.step(1);  // 1 has gone on to the second one
    std::uint64_t const second = founders.own(1).prepared;
    REQUIRE(second != founders.own(2).prepared);
    founders.look(3);
    founders.step(3);
    founders.look(2);  // 2 has seen all that it needs to form the second one …
    founders.world.auto_discover(false);
    founders.restart(3);
    founders.world.discover(1, 3);  // … and does not know of this restart
    founders.look(1);
    founders.step(1);
    CHECK(founders.own(1).abandoned == second);
    CHECK(founders.own(1).prepared == second);  // … so 1 must not go on to a third
    founders.step(2);
    CHECK(founders.joined(2));
    CHECK(founders.own(2).formed == second);
}

TEST_CASE(
    "Whoever has declared a vector abandoned never forms it, even if it sees all prepared with it, or one formed") {
    Founders founders(3);
    founders.look();
    founders.step(1);
    founders.step(2);
    founders.look(2);  // 2 has read 1 and 3; what 3 will say of itself it does not see yet
    founders.step(3);
    founders.look(1);
    founders.step(1);
    REQUIRE(founders.joined(1));  // 1 formed the first vector
    founders.restart(3);
    founders.look(2, 3);  // 2 sees the restart before it sees that 1 has formed
    founders.step(2);
    std::uint64_t const old = founders.own(1).formed;
    REQUIRE(founders.own(2).abandoned == old);
    founders.look(2);
    founders.step(2);
    CHECK_FALSE(founders.joined(2));
    CHECK(founders.formation(2).cluster_exists());
}

TEST_CASE(
    "A replica that meets a formed one prepares nothing: it waits to be brought up, and never forms a second cluster") {
    Founders founders(3);
    for (int i = 0; i < 4; ++i) {
        founders.look_and_step_all();
    }
    REQUIRE(founders.joined(1));
    founders.restart(2);
    founders.restart(3);
    for (int i = 0; i < 10; ++i) {
        founders.look_and_step_all();
    }
    for (ReplicaId const id : {2U, 3U}) {
        CHECK(founders.formation(id).cluster_exists());
        CHECK(founders.own(id).prepared == 0);
        CHECK_FALSE(founders.joined(id));
    }
}

TEST_CASE("An admitted replica counts as a sign of a cluster like a formed one") {
    Founders founders(3);
    founders.own(1).admitted = founders.world.incarnation(1);
    founders.look();
    founders.step(2);
    CHECK(founders.formation(2).cluster_exists());
    CHECK(founders.own(2).prepared == 0);
}
