// Which batches count, what is fed to the local redis, and when that is not to be trusted any more.
#include "attach/redis_ledger.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

namespace mu::redis {
namespace {

constexpr std::uint64_t kOurs = 11;
constexpr std::uint64_t kTheirs = 22;

OwnedBytes record(RecordHead const& head, std::string const& text = "") {
    OwnedBytes bytes(sizeof head + text.size());
    std::memcpy(bytes.data(), &head, sizeof head);
    std::memcpy(bytes.data() + sizeof head, text.data(), text.size());
    return bytes;
}

bool begin(Ledger& ledger, std::uint64_t reign) {
    return ledger.apply(record({RecordKind::reign, reign == kOurs ? 1U : 2U, reign, 0, 0}));
}

bool batch(Ledger& ledger, std::uint64_t reign, std::uint64_t number, std::string const& text = "x") {
    return ledger.apply(record({RecordKind::last_part, 0, reign, number, 0}, text));
}

std::string fed(Ledger const& ledger, std::uint64_t after) {
    OwnedBytes out;
    static_cast<void>(ledger.take(after, 1U << 20U, out));
    return {reinterpret_cast<char const*>(out.data()), out.size()};
}

OwnedBytes snapshot_of(Ledger& ledger) {
    OwnedBytes out;
    ledger.snapshot(out);
    return out;
}

TEST_CASE("ledger: a batch of a reign that is over is void, and so is one that is not the next") {
    Ledger ledger(1);
    CHECK(begin(ledger, kTheirs));
    CHECK(batch(ledger, kTheirs, 1, "a"));
    CHECK_FALSE(batch(ledger, kTheirs, 3, "c"));
    CHECK(begin(ledger, 33));
    CHECK_FALSE(batch(ledger, kTheirs, 2, "b"));
    CHECK(batch(ledger, 33, 1, "d"));
    CHECK(ledger.view().batches == 2);
    CHECK(fed(ledger, 0) == "ad");
}

TEST_CASE("ledger: the parts of a batch count together, or not at all") {
    Ledger ledger(1);
    CHECK(begin(ledger, kTheirs));
    CHECK(ledger.apply(record({RecordKind::part, 0, kTheirs, 1, 0}, "a")));
    CHECK(ledger.view().batches == 0);
    CHECK_FALSE(ledger.apply(record({RecordKind::last_part, 0, kTheirs, 1, 2}, "c")));
    CHECK(ledger.apply(record({RecordKind::last_part, 0, kTheirs, 1, 1}, "b")));
    CHECK(fed(ledger, 0) == "ab");
    CHECK(ledger.apply(record({RecordKind::part, 0, kTheirs, 2, 0}, "lost")));
    CHECK(begin(ledger, 33));
    CHECK(batch(ledger, 33, 1, "c"));
    CHECK(fed(ledger, 0) == "abc");
}

TEST_CASE("ledger: what the local redis did itself is not fed to it") {
    Ledger ledger(1);
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK_FALSE(ledger.ready_to_write());
    CHECK(begin(ledger, kOurs));
    CHECK(ledger.ready_to_write());
    CHECK(batch(ledger, kOurs, 1, "own"));
    CHECK_FALSE(ledger.ready_to_write());
    CHECK(ledger.view().executed == 1);
    CHECK(begin(ledger, kTheirs));
    CHECK(batch(ledger, kTheirs, 1, "foreign"));
    CHECK(fed(ledger, 1) == "foreign");
}

TEST_CASE("ledger: it is ready to write only when all before it is executed") {
    Ledger ledger(1);
    CHECK(begin(ledger, kTheirs));
    CHECK(batch(ledger, kTheirs, 1));
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK(begin(ledger, kOurs));
    CHECK(ledger.awaits_writer());
    CHECK_FALSE(ledger.ready_to_write());
    ledger.executed(1);
    CHECK(ledger.ready_to_write());
}

TEST_CASE("ledger: a batch in doubt is decided when it comes, and lost when another reign begins before it") {
    Ledger ledger(1);
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK(begin(ledger, kOurs));
    CHECK(batch(ledger, kOurs, 1));
    CHECK(ledger.verdict(2) == Verdict::pending);
    SUBCASE("it comes") {
        CHECK(batch(ledger, kOurs, 2));
        CHECK(begin(ledger, kTheirs));
        CHECK(ledger.verdict(2) == Verdict::decided);
    }
    SUBCASE("another reign begins") {
        CHECK(begin(ledger, kTheirs));
        CHECK(ledger.verdict(1) == Verdict::decided);
        CHECK(ledger.verdict(2) == Verdict::lost);
    }
    SUBCASE("a snapshot takes its place") {
        CHECK(ledger.restore(snapshot_of(ledger)));
        CHECK(ledger.verdict(2) == Verdict::lost);
    }
}

TEST_CASE("ledger: a snapshot helps who lacks only a few batches, and makes redis join if it lacks more") {
    Ledger leader(2);
    CHECK(begin(leader, kTheirs));
    for (std::uint64_t number = 1; number <= 5'000; ++number) {
        CHECK(batch(leader, kTheirs, number, std::to_string(number) + ";"));
    }
    Ledger near(1);
    CHECK(begin(near, kTheirs));
    for (std::uint64_t number = 1; number <= 4'990; ++number) {
        CHECK(batch(near, kTheirs, number, "-"));
    }
    near.executed(4'990);
    CHECK(near.restore(snapshot_of(leader)));
    CHECK(fed(near, 4'990) == "4991;4992;4993;4994;4995;4996;4997;4998;4999;5000;");
    CHECK(batch(near, kTheirs, 5'001));

    Ledger far(3);
    CHECK_FALSE(far.restore(snapshot_of(leader)));
    CHECK_FALSE(far.view().trusted);
    CHECK(fed(far, 0).empty());
    CHECK(batch(far, kTheirs, 5'001, "next"));
    CHECK_FALSE(far.trust(4'999));  // it would lack batch 5,000
    CHECK_FALSE(far.trust(5'002));  // ahead of what is known to be decided here
    CHECK(far.trust(5'000));
    CHECK(fed(far, 5'000) == "next");
}

TEST_CASE("ledger: a snapshot may come between two parts of a batch") {
    Ledger leader(1);
    REQUIRE(leader.begin_reign(kOurs));
    CHECK(begin(leader, kOurs));
    CHECK(leader.apply(record({RecordKind::part, 1, kOurs, 1, 0}, "a")));
    Ledger other(2);
    CHECK(other.restore(snapshot_of(leader)));
    CHECK(other.apply(record({RecordKind::last_part, 1, kOurs, 1, 1}, "b")));
    CHECK(fed(other, 0) == "ab");
}

TEST_CASE("ledger: what the local redis did itself is fed to the data that it takes in place of its own") {
    Ledger ledger(1);
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK(begin(ledger, kOurs));
    CHECK(batch(ledger, kOurs, 1, "a"));
    ledger.distrust();  // its second batch is under way, and it does not wait for its fate
    CHECK(batch(ledger, kOurs, 2, "b"));
    CHECK(begin(ledger, kTheirs));
    CHECK(batch(ledger, kTheirs, 1, "c"));
    CHECK(ledger.trust(1));  // as somebody else's data are who has not executed more
    CHECK(fed(ledger, 1) == "bc");
}

TEST_CASE("ledger: a redis that writes keeps its reign, and so does one whose reign waits for it") {
    Ledger ledger(1);
    CHECK(ledger.start_writing() == 0);
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK(ledger.begin_reign(kOurs + 1));  // nothing has come of the one before
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK(begin(ledger, kOurs));
    CHECK_FALSE(ledger.begin_reign(kOurs + 1));
    CHECK(ledger.start_writing() == kOurs);
    CHECK(batch(ledger, kOurs, 1));
    CHECK_FALSE(ledger.begin_reign(kOurs + 1));
    ledger.stop_writing();
    CHECK(ledger.begin_reign(kOurs + 1));
}

TEST_CASE("ledger: a reign of which a part of the first batch counts, and no more, is followed by another") {
    Ledger ledger(1);
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK(begin(ledger, kOurs));
    CHECK(ledger.awaits_writer());
    CHECK(ledger.apply(record({RecordKind::part, 0, kOurs, 1, 0}, "a")));
    CHECK_FALSE(ledger.awaits_writer());
    CHECK_FALSE(ledger.ready_to_write());
    CHECK(ledger.begin_reign(kOurs + 1));
}

TEST_CASE("ledger: a redis that was brought to all that counts, and no more, is redeemed by a reign of its own") {
    Ledger ledger(1);
    CHECK(begin(ledger, kTheirs));
    CHECK(batch(ledger, kTheirs, 1));
    ledger.distrust();
    REQUIRE(ledger.begin_reign(kOurs));
    CHECK_FALSE(ledger.redeem(1));  // that reign is not in force
    CHECK(begin(ledger, kOurs));
    CHECK_FALSE(ledger.redeem(0));  // somebody has decided more since
    CHECK(ledger.redeem(1));
    CHECK(ledger.view().trusted);
    CHECK(ledger.view().executed == 1);
    CHECK(ledger.ready_to_write());
}

TEST_CASE("ledger: one batch, however large, costs no redis its trust; as much in many batches does") {
    constexpr std::uint64_t kParts = 17;  // of 16 MiB: more than a redis may lag behind by
    std::string const part(16U << 20U, 'x');
    Ledger ledger(1);
    REQUIRE(begin(ledger, kTheirs));
    REQUIRE(batch(ledger, kTheirs, 1));
    for (std::uint64_t number = 0; number < kParts; ++number) {
        RecordKind const kind = number + 1 < kParts ? RecordKind::part : RecordKind::last_part;
        REQUIRE(ledger.apply(record({kind, 0, kTheirs, 2, number}, part)));
    }
    REQUIRE(batch(ledger, kTheirs, 3));
    CHECK(ledger.view().trusted);
    for (std::uint64_t number = 4; number < 4 + kParts; ++number) {
        REQUIRE(batch(ledger, kTheirs, number, part));
    }
    CHECK_FALSE(ledger.view().trusted);
}

TEST_CASE("ledger: a redis that is not trusted is fed nothing") {
    Ledger ledger(1);
    CHECK(begin(ledger, kTheirs));
    CHECK(batch(ledger, kTheirs, 1));
    ledger.distrust();
    CHECK(fed(ledger, 0).empty());
    ledger.executed(1);
    CHECK(ledger.view().executed == 0);
}

}  // namespace
}  // namespace mu::redis
