#include "runtime/latencies.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace mu;

namespace {

Nanoseconds always_seven() noexcept { return 7; }

TEST_CASE("The first proposals are timed one by one, later ones now and then") {
    Latencies latencies;
    for (std::uint64_t i = 0; i < Latencies::kFirst; ++i) {
        REQUIRE(latencies.begin(always_seven) == 7);
        latencies.note(1);
    }
    std::uint64_t timed = 0;
    for (std::uint64_t i = 0; i < 10 * Latencies::kEvery; ++i) {
        timed += latencies.begin(always_seven) == Latencies::kUntimed ? 0 : 1;
    }
    CHECK(timed == 10);
}

TEST_CASE("Quantiles are of the latest samples, by nearest rank") {
    Latencies latencies;
    CHECK(latencies.quantiles().p50 == 0);
    CHECK(latencies.quantiles().p99 == 0);
    latencies.note(5);
    CHECK(latencies.quantiles().p50 == 5);
    CHECK(latencies.quantiles().p99 == 5);
    for (std::size_t i = 0; i < Latencies::kKept; ++i) {
        latencies.note(1'000'000);  // forgotten again
    }
    for (std::size_t i = 0; i < Latencies::kKept; ++i) {
        latencies.note(static_cast<Nanoseconds>(Latencies::kKept - i));
    }
    CHECK(latencies.quantiles().p50 == Latencies::kKept / 2);
    CHECK(latencies.quantiles().p99 == (Latencies::kKept * 99 + 99) / 100);
}

TEST_CASE("A time that fits no sample is the longest that does, and none is zero") {
    Latencies latencies;
    latencies.note(0);
    CHECK(latencies.quantiles().p50 == 1);
    latencies.note(std::numeric_limits<Nanoseconds>::max());
    CHECK(latencies.quantiles().p99 == std::numeric_limits<std::uint32_t>::max());
}

}  // namespace
