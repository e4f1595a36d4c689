// Crashes, restarts, cuts and completions in the sim fabric: who lives, who knows it, and who is told what.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "simulation/sim_bench.hpp"

using namespace mu;
using namespace mu::sim_test;

TEST_CASE("Operations on a crashed replica fail, and peers learn of its end only from the driver") {
    Bench bench(manual());
    auto const bytes = words(1, 1);
    bench.write(1, 2, Region::background, 0, bytes);
    bench.world.crash(2);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
    CHECK_FALSE(bench.world.fabric(1).peer(2).gone);
    CHECK_FALSE(bench.channel(1).connect(2));
    bench.world.report_gone(1, 2);
    CHECK(bench.world.fabric(1).peer(2).gone);
    CHECK_FALSE(bench.world.fabric(3).peer(2).gone);
    bench.world.report_gone(2);
    CHECK(bench.world.fabric(3).peer(2).gone);
    CHECK(aborts([&] { bench.world.report_gone(3, 1); }));  // a fabric vouches for no death that has not happened
}

TEST_CASE("A restarted replica has empty memory, a larger incarnation, and nothing meant for the old one") {
    Bench bench(manual());
    bench.grant(2, 1, 1);
    auto const bytes = words(1, 2);
    bench.write(1, 2, Region::log, 0, bytes);
    bench.write(1, 2, Region::background, 0, bytes);
    bench.world.land_partly(bench.queue(1, 2), 1);
    Incarnation const old = bench.world.incarnation(2);
    bench.world.crash(2);
    SimFabric& fabric = bench.world.restart(2);
    CHECK(fabric.incarnation() > old);
    CHECK(bench.channel(1).connected(2) == old);
    CHECK(bench.channel(1).connect(2));
    CHECK(bench.channel(1).connected(2) == fabric.incarnation());
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
    CHECK_FALSE(bench.next(1).success);
    CHECK(word(fabric.background(), 0) == 0);
    CHECK(word(fabric.log().bytes, 0) == 0);
    CHECK(fabric.permission() == kNoProposal);
}

TEST_CASE("Without auto_discover a new incarnation is seen, and can be connected to, only after discover") {
    Bench bench(manual());
    bench.world.auto_discover(false);
    Incarnation const old = bench.world.incarnation(2);
    bench.world.crash(2);
    bench.world.restart(2);
    CHECK(bench.world.fabric(1).peer(2).incarnation == old);
    CHECK(bench.world.fabric(2).peer(1).incarnation == 0);
    CHECK_FALSE(bench.channel(1).connect(2));
    bench.world.report_gone(1, 2);
    CHECK(bench.world.fabric(1).peer(2).gone);
    bench.world.discover(1, 2);
    CHECK(bench.world.fabric(1).peer(2).incarnation == bench.world.incarnation(2));
    CHECK_FALSE(bench.world.fabric(1).peer(2).gone);
    CHECK(bench.channel(1).connect(2));
}

TEST_CASE("What a dead life has posted may land after its restart, as posted, and holds up nothing of the new life") {
    Bench bench(manual());
    std::vector<std::byte> into(8);
    {
        auto const bytes = words(8, 1);  // gone with its writer
        bench.write(1, 2, Region::background, 0, bytes);
        bench.channel(1).read(2, Region::background, 0, into, 1);
    }
    QueueId const old = bench.queue(1, 2);
    bench.world.crash(1);
    bench.world.restart(1);
    CHECK(bench.world.orphaned(old));
    REQUIRE(bench.channel(1).connect(2));
    auto const bytes = words(9, 1);
    bench.write(1, 2, Region::background, 8, bytes);
    REQUIRE(bench.queue(1, 2) != old);
    bench.world.land(bench.queue(1, 2));
    CHECK(word(bench.world.fabric(2).background(), 8) == 9);
    CHECK(word(bench.world.fabric(2).background(), 0) == 0);
    bench.next(1);
    bench.world.deliver_all();
    CHECK(word(bench.world.fabric(2).background(), 0) == 8);
    CHECK(word(into, 0) == 0);  // the reader's memory is not there any more
    CHECK(bench.silent(1));     // and the dead are told nothing
}

TEST_CASE("Orphans can be lost, and then their queues serve another life") {
    Bench bench(manual());
    auto const bytes = words(8, 1);
    for (int i = 0; i < 3; ++i)
        bench.write(1, 2, Region::background, 0, bytes);
    bench.write(1, 3, Region::background, 0, bytes);
    bench.write(3, 2, Region::background, 0, bytes);
    QueueId const old = bench.queue(1, 2);
    CHECK(bench.world.lose_orphans(1) == 0);
    bench.world.crash(1);
    CHECK(bench.world.lose_orphans(1) == 4);
    CHECK(bench.world.ready().size() == 1);
    bench.world.restart(1);
    CHECK(bench.queue(1, 2) == old);
    CHECK_FALSE(bench.world.orphaned(old));
}

TEST_CASE("While cut off, operations of that direction cannot land but can fail; healing lets them land") {
    Bench bench(manual());
    auto const bytes = words(5, 1);
    bench.world.cut(1, 2);
    bench.write(1, 2, Region::background, 0, bytes);
    bench.write(1, 2, Region::background, 8, bytes);
    bench.write(2, 1, Region::background, 0, bytes);
    CHECK(bench.world.deliver_all() == 1);
    CHECK(word(bench.world.fabric(1).background(), 0) == 5);
    CHECK_FALSE(bench.world.land(bench.queue(1, 2)));
    CHECK_FALSE(bench.world.land_partly(bench.queue(1, 2), 1));
    CHECK_FALSE(bench.world.fail_after_effect(bench.queue(1, 2)));
    CHECK_FALSE(bench.channel(1).connect(2));
    CHECK(bench.world.fail(bench.queue(1, 2)));
    CHECK_FALSE(bench.next(1).success);
    bench.world.heal(1, 2);
    CHECK(bench.world.deliver_all() == 1);
    CHECK(bench.next(1).success);
    CHECK(word(bench.world.fabric(2).background(), 0) == 0);
    CHECK(word(bench.world.fabric(2).background(), 8) == 5);
}

TEST_CASE("Coalescing forgets the successes of writes for which a later success to the same peer stands") {
    Bench bench(manual());
    auto const bytes = words(5, 1);
    std::vector<std::byte> into(8);
    bench.write(1, 2, Region::background, 0, bytes, 1);
    bench.world.fail(bench.queue(1, 2));
    bench.write(1, 2, Region::background, 0, bytes, 2);
    bench.channel(1).read(2, Region::background, 0, into, 3);
    bench.write(1, 3, Region::background, 0, bytes, 4);
    bench.write(1, 2, Region::background, 0, bytes, 5);
    bench.world.deliver_all();
    bench.world.coalesce_completions(1, kRep);
    std::array<Completion, 8> done;
    REQUIRE(bench.channel(1).poll(done) == 4);
    std::vector<std::uint64_t> ids;
    for (std::size_t i = 0; i < 4; ++i)
        ids.push_back(done[i].id);
    std::ranges::sort(ids);
    CHECK(ids == std::vector<std::uint64_t>{1, 3, 4, 5});
}

TEST_CASE("Dropped completions are never polled, and those after them are") {
    Bench bench(manual());
    auto const bytes = words(5, 1);
    bench.write(1, 2, Region::background, 0, bytes, 1);
    bench.world.deliver_all();
    bench.world.drop_completions(1, kRep);
    bench.write(1, 2, Region::background, 0, bytes, 2);
    bench.world.deliver_all();
    CHECK(bench.next(1).id == 2);
    CHECK(bench.silent(1));
}

TEST_CASE("A ring sets a flag of one plane of one replica, and taking it clears it") {
    Bench bench(manual());
    bench.channel(1).ring(2, Plane::background);
    CHECK_FALSE(bench.world.take_ring(2, kRep));
    CHECK_FALSE(bench.world.take_ring(3, Plane::background));
    CHECK(bench.world.take_ring(2, Plane::background));
    CHECK_FALSE(bench.world.take_ring(2, Plane::background));
}

TEST_CASE("A live writer that changes the bytes of a pending write, and a dead one that posts, break an invariant") {
    SimOptions options = manual();
    options.check_sources = true;
    Bench bench(options);
    auto bytes = words(5, 2);
    bench.write(1, 2, Region::background, 0, bytes);
    bytes[9] = std::byte{1};
    CHECK(aborts([&] { bench.world.deliver_all(); }));
    bytes[9] = std::byte{0};
    CHECK_FALSE(aborts([&] { bench.world.deliver_all(); }));
    bench.world.crash(3);
    CHECK(aborts([&] { bench.write(3, 2, Region::background, 0, bytes); }));
}

TEST_CASE("Each pending operation has a line that says who, to whom, what, where and how far it is") {
    Bench bench(manual());
    bench.grant(2, 1, 7);
    auto const bytes = words(1, 6);
    bench.write(1, 2, Region::log, 64, bytes, 3);
    bench.channel(1).confirm(2, 4);
    bench.world.land_partly(bench.queue(1, 2), 2);
    std::vector<std::string> const lines = bench.world.describe_pending();
    REQUIRE(lines.size() == 2);
    CHECK(lines[0] == "1#1 replication -> 2#2: write log at 64, 48 bytes, tenure 7.1, id 3, 2 of 6 words landed");
    CHECK(lines[1] == "1#1 replication -> 2#2: confirm, tenure 7.1, id 4");
    CHECK(bench.world.describe(bench.queue(1, 2)) == lines[0]);
}
