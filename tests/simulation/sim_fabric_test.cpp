// Landing, tearing and permission in the sim fabric: what it lets a driver do, and what no driver can make it do.
// Replica 2 is the one that is written to, unless a test says otherwise; nothing lands by itself, unless a test says so.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "simulation/sim_bench.hpp"

using namespace mu;
using namespace mu::sim_test;

TEST_CASE("A posted write shows nowhere until the driver lands it") {
    Bench bench(manual());
    auto const bytes = words(7, 2);
    bench.write(1, 2, Region::background, 16, bytes, 5);
    CHECK(bench.world.ready().size() == 1);
    CHECK(word(bench.world.fabric(2).background(), 16) == 0);
    CHECK(bench.silent(1));
    REQUIRE(bench.world.land(bench.queue(1, 2)));
    CHECK(word(bench.world.fabric(2).background(), 16) == 7);
    Completion const done = bench.next(1);
    CHECK((done.peer == 2 && done.operation == Operation::write && done.success && done.id == 5));
    CHECK(bench.world.ready().empty());
    CHECK_FALSE(bench.world.land(bench.queue(1, 2)));
}

TEST_CASE("With auto_deliver an operation has landed when the post returns") {
    SimOptions options = manual();
    options.auto_deliver = true;
    Bench bench(options);
    bench.grant(2, 1, 1);
    auto const bytes = words(7, 3);
    bench.write(1, 2, Region::log, 64, bytes, 9);
    CHECK(word(bench.log(2), 80) == 9);
    CHECK(bench.next(1).success);
}

TEST_CASE("A gather's tail begins at the next multiple of 8 bytes; a short last word spares what follows") {
    Bench bench(manual());
    std::ranges::fill(bench.world.fabric(2).background(), std::byte{0xff});
    auto const source = words(0x0807060504030201, 1);
    std::span<std::byte const> const five(source.data(), 5);
    bench.channel(1).write(2, Region::background, 0, {.head = source, .body = five, .tail = five}, 0);
    bench.world.deliver_all();
    CHECK(word(bench.world.fabric(2).background(), 0) == 0x0807060504030201);
    CHECK(word(bench.world.fabric(2).background(), 8) == 0x0000000504030201);
    CHECK(word(bench.world.fabric(2).background(), 16) == 0xffffff0504030201);
}

TEST_CASE("Operations of one pair and plane land in posting order; those of different pairs in any order") {
    Bench bench(manual());
    std::vector<std::vector<std::byte>> sources;
    for (std::uint64_t i = 0; i < 20; ++i)
        sources.push_back(words(i + 1, 1));
    for (auto const& source : sources)
        bench.write(1, 2, Region::background, 0, source);
    bench.write(3, 2, Region::background, 0, sources[19], 77);
    bench.world.land(bench.queue(3, 2));
    CHECK(bench.next(3).id == 77);
    for (std::uint64_t i = 0; i < 20; ++i) {
        bench.world.land(bench.queue(1, 2));
        CHECK(word(bench.world.fabric(2).background(), 0) == i + 1);
    }
}

TEST_CASE("A torn write lands first word first and last word last, the others in an order drawn from the seed") {
    std::vector<std::vector<std::size_t>> orders;
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
        Bench bench(manual());
        auto const bytes = words(1, 6);
        bench.write(1, 2, Region::background, 0, bytes);
        std::vector<std::size_t> order;
        while (bench.world.words_left(bench.queue(1, 2)) > 0) {
            REQUIRE(bench.world.land_partly(bench.queue(1, 2), 1, seed));
            for (std::size_t i = 0; i < 6; ++i) {
                bool const landed = word(bench.world.fabric(2).background(), i * 8) == i + 1;
                if (landed && std::ranges::find(order, i) == order.end()) order.push_back(i);
            }
        }
        REQUIRE(order.size() == 6);
        CHECK((order.front() == 0 && order.back() == 5));
        CHECK(bench.silent(1));  // all of it is visible, but nobody has been told
        CHECK(bench.world.land(bench.queue(1, 2)));
        CHECK(bench.next(1).success);
        orders.push_back(order);
    }
    CHECK(orders[0] == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
    CHECK(std::ranges::any_of(orders, [&](auto const& order) { return order != orders[0]; }));
}

TEST_CASE("In a world without ordered writes the last word may land before the first") {
    SimOptions options = manual();
    options.ordered_writes = false;
    bool last_first = false;
    for (std::uint64_t seed = 1; seed < 40; ++seed) {
        Bench bench(options);
        CHECK_FALSE(bench.world.fabric(1).ordered_writes());
        auto const bytes = words(1, 3);
        bench.write(1, 2, Region::background, 0, bytes);
        bench.world.land_partly(bench.queue(1, 2), 1, seed);
        last_first = last_first || word(bench.world.fabric(2).background(), 16) == 3;
    }
    CHECK(last_first);
}

TEST_CASE("A queue that has torn some writes lands later ones whole") {
    Bench bench(manual());
    for (std::uint64_t i = 1; i <= 20; ++i) {
        auto const bytes = words(i, 3);
        bench.write(1, 2, Region::background, 0, bytes);
        if (i % 3 == 0) bench.world.land_partly(bench.queue(1, 2), 2, i);
        bench.world.land(bench.queue(1, 2));
        for (std::size_t k = 0; k < 3; ++k)
            CHECK(word(bench.world.fabric(2).background(), k * 8) == i + k);
    }
}

TEST_CASE("A torn write may stay torn: failing it leaves the words that have landed") {
    Bench bench(manual());
    auto const bytes = words(1, 3);
    bench.write(1, 2, Region::background, 0, bytes);
    bench.world.land_partly(bench.queue(1, 2), 2);
    bench.world.fail(bench.queue(1, 2));
    CHECK_FALSE(bench.next(1).success);
    CHECK(word(bench.world.fabric(2).background(), 8) == 2);
    CHECK(word(bench.world.fabric(2).background(), 16) == 0);
}

TEST_CASE("A log write of nobody's tenure, or with a key that was not granted, fails without effect") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        Bench bench(manual(revocation));
        auto const bytes = words(1, 1);
        bench.write(1, 2, Region::log, 0, bytes);
        bench.world.deliver_all();
        CHECK_FALSE(bench.next(1).success);
        Tenure const tenure = bench.grant(2, 1, 1);
        bench.channel(1).begin_tenure(2, tenure, 999);
        bench.write(1, 2, Region::log, 0, bytes);
        bench.world.deliver_all();
        CHECK_FALSE(bench.next(1).success);
        CHECK(word(bench.log(2), 0) == 0);
    }
}

TEST_CASE("F1: a log write whose words all landed before the permission moved, but which is judged after, fails") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        Bench bench(manual(revocation));
        bench.grant(2, 1, 1);
        auto const bytes = words(1, 3);
        bench.write(1, 2, Region::log, 0, bytes);
        bench.world.land_partly(bench.queue(1, 2), 3);
        CHECK(word(bench.log(2), 16) == 3);
        bench.grant(2, 3, 2);
        bench.world.land(bench.queue(1, 2));
        CHECK_FALSE(bench.next(1).success);
    }
}

TEST_CASE("F2: after permit no late write of another replica's tenure changes the log, whole or torn") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        Bench bench(manual(revocation));
        bench.grant(2, 1, 1);
        auto const bytes = words(1, 4);
        bench.write(1, 2, Region::log, 0, bytes);
        bench.write(1, 2, Region::log, 64, bytes);
        bench.world.land_partly(bench.queue(1, 2), 2);
        bench.grant(2, 3, 2);
        auto const before = std::vector(bench.log(2).begin(), bench.log(2).end());
        bench.world.deliver_all();
        CHECK(std::ranges::equal(before, bench.log(2)));
        CHECK_FALSE(bench.next(1).success);
        CHECK_FALSE(bench.next(1).success);
    }
}

TEST_CASE("By area a late write lands in its own area, where its tenure can read it; by refusal nowhere") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        Bench bench(manual(revocation));
        bench.grant(2, 1, 1);
        auto const bytes = words(41, 1);
        bench.write(1, 2, Region::log, 0, bytes);
        bench.grant(2, 3, 2);
        std::vector<std::byte> back(8);
        bench.channel(1).read(2, Region::log, 0, back, 0);
        bench.world.deliver_all();
        CHECK_FALSE(bench.next(1).success);
        CHECK(bench.next(1).success);
        CHECK(word(back, 0) == (revocation == Revocation::by_area ? 41 : 0));
    }
}

TEST_CASE("F2: nor does a late write of an earlier tenure of the same replica") {
    for (Revocation const revocation : {Revocation::by_area, Revocation::by_refusal}) {
        Bench bench(manual(revocation));
        bench.grant(2, 1, 1);
        auto const bytes = words(1, 4);
        bench.write(1, 2, Region::log, 0, bytes, 1);
        bench.world.land_partly(bench.queue(1, 2), 1);
        bench.grant(2, 1, 2);
        auto const before = std::vector(bench.log(2).begin(), bench.log(2).end());
        bench.world.land(bench.queue(1, 2));
        CHECK(std::ranges::equal(before, bench.log(2)));
        CHECK_FALSE(bench.next(1).success);
        bench.write(1, 2, Region::log, 64, bytes,
                    2);  // the new tenure is not harmed by the old one's failure
        bench.world.land(bench.queue(1, 2));
        CHECK(bench.next(1).success);
    }
}

TEST_CASE("F3: after one log write has failed all later ones fail until the next tenure; other operations do not") {
    Bench bench(manual());
    Tenure const tenure = bench.grant(2, 1, 1);
    auto const bytes = words(1, 1);
    for (std::uint64_t i = 0; i < 3; ++i)
        bench.write(1, 2, Region::log, i * 64, bytes, i);
    bench.world.fail(bench.queue(1, 2));
    bench.write(1, 2, Region::background, 0, bytes, 3);
    bench.world.deliver_all();
    bench.write(1, 2, Region::log, 192, bytes, 4);
    bench.world.deliver_all();
    for (std::uint64_t i = 0; i < 5; ++i)
        CHECK(bench.next(1).success == (i == 3));
    CHECK(word(bench.log(2), 64) == 0);
    bench.channel(1).begin_tenure(2, tenure, bench.world.fabric(2).permit(tenure, bench.keeper));
    bench.write(1, 2, Region::log, 0, bytes);
    bench.world.deliver_all();
    CHECK(bench.next(1).success);
}

TEST_CASE("A write that fails after its effect is in memory, is reported as failed, and ends the tenure there") {
    Bench bench(manual());
    bench.grant(2, 1, 1);
    auto const bytes = words(1, 1);
    bench.write(1, 2, Region::log, 0, bytes);
    bench.write(1, 2, Region::log, 64, bytes);
    CHECK(bench.world.fail_after_effect(bench.queue(1, 2)));
    bench.world.deliver_all();
    CHECK(word(bench.log(2), 0) == 1);
    CHECK(word(bench.log(2), 64) == 0);
    CHECK_FALSE(bench.next(1).success);
    CHECK_FALSE(bench.next(1).success);
}

TEST_CASE("A write whose writer hears of it late was judged when it landed, whoever has the permission meanwhile") {
    Bench bench(manual());
    bench.grant(2, 1, 1);
    auto const bytes = words(7, 2);
    bench.write(1, 2, Region::log, 0, bytes, 5);
    REQUIRE(bench.world.land_unacknowledged(bench.queue(1, 2)));
    CHECK(word(bench.log(2), 0) == 7);
    CHECK(bench.silent(1));
    bench.grant(2, 3, 2);
    REQUIRE(bench.world.land(bench.queue(1, 2)));
    CHECK(bench.next(1).success);
}

TEST_CASE("A connection that breaks fails what is pending and what is posted, until the channel connects anew") {
    Bench bench(manual());
    Tenure const tenure = bench.grant(2, 1, 1);
    auto const bytes = words(1, 1);
    bench.write(1, 2, Region::log, 0, bytes);
    bench.world.disconnect(bench.queue(1, 2));
    CHECK(bench.channel(1).connected(2) == 0);
    bench.write(1, 2, Region::background, 0, bytes);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
    CHECK_FALSE(bench.next(1).success);
    REQUIRE(bench.channel(1).connect(2));
    bench.channel(1).begin_tenure(2, tenure, bench.world.fabric(2).permit(tenure, bench.keeper));
    bench.write(1, 2, Region::log, 0, bytes);
    bench.world.deliver_all();
    CHECK(bench.next(1).success);
    CHECK(word(bench.log(2), 0) == 1);
}

TEST_CASE("Permit carries the kept range over, also around the end of the ring, and marks its end") {
    Bench bench(manual());
    bench.grant(2, 1, 1);
    auto const all = words(1, kLogBytes / 8);
    bench.write(1, 2, Region::log, 0, all);
    bench.world.deliver_all();
    bench.grant(2, 3, 2);  // keeps nothing
    auto const other = words(1001, kLogBytes / 8);
    bench.write(3, 2, Region::log, 0, other);
    bench.world.deliver_all();
    bench.keeper.range = {kLogBytes - 64, kLogBytes + 128};
    bench.keeper.verified = kLogBytes + 64;
    Tenure const tenure = bench.grant(2, 1, 3);
    LogView const view = bench.world.fabric(2).log();
    CHECK(view.proposal == tenure.proposal);
    CHECK(view.floor == kLogBytes - 64);
    CHECK(word(view.bytes, kLogBytes - 8) == 1000 + kLogBytes / 8);
    CHECK(word(view.bytes, 56) == 1008);
    CHECK(word(view.bytes, 64) == 0);  // the end mark, where verify() drew the line
    CHECK(bench.world.fabric(2).same_log(view));
    CHECK(bench.world.fabric(2).permission() == tenure.proposal);
    bench.grant(2, 1, 4);  // the same ring
    CHECK_FALSE(bench.world.fabric(2).same_log(view));
}

TEST_CASE("Permit answers the same tenure with the same key, and does nothing else") {
    Bench bench(manual());
    Tenure const tenure = bench.grant(2, 1, 1);
    std::uint64_t const key = bench.world.fabric(2).permit(tenure, bench.keeper);
    auto const bytes = words(1, 1);
    bench.write(1, 2, Region::log, 0, bytes);
    bench.world.deliver_all();
    CHECK(bench.world.fabric(2).permit(tenure, bench.keeper) == key);
    CHECK(word(bench.log(2), 0) == 1);
}

TEST_CASE("Permit of a proposal below the promise is an invariant broken") {
    Bench bench(manual());
    bench.grant(2, 1, 5);
    CHECK(aborts([&] { bench.grant(2, 3, 4); }));
}

TEST_CASE("A late write that lands inside permit is seen by verify, not in the new log, and does not succeed") {
    Bench bench(manual());
    bench.grant(2, 1, 1);
    auto const first = words(1, 8);
    auto const second = words(101, 8);
    bench.write(1, 2, Region::log, 0, first);
    bench.world.deliver_all();
    CHECK(bench.next(1).success);
    bench.write(1, 2, Region::log, 0, second);
    bench.keeper.range = {0, 64};
    bench.world.on_permit([&](ReplicaId, PermitStage stage) {
        if (stage == PermitStage::copied) bench.world.land(bench.queue(1, 2));
    });
    bench.grant(2, 3, 2);
    CHECK(word(bench.keeper.old_ring, 0) == 101);
    CHECK(word(bench.keeper.new_ring, 0) == 1);
    CHECK(word(bench.log(2), 0) == 1);
    CHECK_FALSE(bench.next(1).success);
}

TEST_CASE("By refusal the log survives a change of writer whole, in place") {
    Bench bench(manual(Revocation::by_refusal));
    bench.grant(2, 1, 1);
    auto const bytes = words(1, 8);
    bench.write(1, 2, Region::log, 0, bytes);
    bench.world.deliver_all();
    bench.grant(2, 3, 2);
    CHECK(word(bench.log(2), 56) == 8);
    CHECK(bench.world.fabric(2).log().floor == 0);
}

TEST_CASE("A confirm succeeds only while its tenure holds the permission, at the moment it lands") {
    Bench bench(manual());
    bench.channel(1).confirm(2, 1);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
    bench.grant(2, 1, 1);
    bench.channel(1).confirm(2, 2);
    bench.world.deliver_all();
    CHECK(bench.next(1).success);
    Tenure const tenure{1, bench.world.incarnation(1), make_proposal(1, 1)};
    bench.channel(1).begin_tenure(2, tenure, 999);  // not the key of its grant
    bench.channel(1).confirm(2, 3);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
    bench.channel(1).begin_tenure(2, tenure, bench.world.fabric(2).permit(tenure, bench.keeper));
    bench.channel(1).confirm(2, 4);
    bench.grant(2, 3, 2);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
}

TEST_CASE("A replica's own store counts only if its own permission still names its tenure") {
    Bench bench(manual());
    bench.grant(1, 1, 1);
    auto const bytes = words(1, 1);
    bench.write(1, 1, Region::log, 0, bytes);
    bench.world.deliver_all();
    CHECK(bench.next(1).success);
    CHECK(word(bench.world.fabric(1).own_log(), 0) == 1);
    bench.write(1, 1, Region::log, 64, bytes);
    bench.grant(1, 3, 2);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(1).success);
}

TEST_CASE("A torn read mixes what was there before with what is there after, in whole words") {
    Bench bench(manual());
    auto const bytes = words(1, 4);
    std::vector<std::byte> into(32);
    bench.channel(3).read(2, Region::background, 0, into, 1);
    bench.world.land_partly(bench.queue(3, 2), 2);
    bench.write(1, 2, Region::background, 0, bytes);
    bench.world.land(bench.queue(1, 2));
    bench.world.land(bench.queue(3, 2));
    CHECK(bench.next(3).success);
    CHECK((word(into, 0) == 0 && word(into, 8) == 0 && word(into, 16) == 3 && word(into, 24) == 4));
}

TEST_CASE("A log read without a tenure sees the live ring, and fails if another becomes live while it copies") {
    Bench bench(manual());
    bench.grant(2, 1, 1);
    auto const bytes = words(1, 4);
    bench.write(1, 2, Region::log, 0, bytes);
    bench.world.deliver_all();
    std::vector<std::byte> into(32);
    bench.channel(3).read(2, Region::log, 0, into, 1);
    bench.world.deliver_all();
    CHECK(bench.next(3).success);
    CHECK(word(into, 24) == 4);
    bench.channel(3).read(2, Region::log, 0, into, 2);
    bench.world.land_partly(bench.queue(3, 2), 2);
    Tenure const other{1, bench.world.incarnation(1), make_proposal(2, 1)};
    (void)bench.world.fabric(2).permit(other, bench.keeper);
    bench.world.deliver_all();
    CHECK_FALSE(bench.next(3).success);
}
