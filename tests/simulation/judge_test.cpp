// The judge, by itself: what it must object to.
#include "simulation/judge.hpp"

#include <doctest/doctest.h>

namespace mu::simulation {
namespace {

constexpr Proposal kLow = make_proposal(3, 1);
constexpr Proposal kHigh = make_proposal(4, 2);

}  // namespace

TEST_CASE("a log that accepts writes of ever higher tenures has one writer at a time") {
    Judge judge(3);
    judge.accepted(1, {1, 1, kLow});
    judge.accepted(1, {1, 1, kLow});
    judge.accepted(1, {2, 1, kHigh});
    judge.accepted(2, {1, 1, kLow});
    CHECK(judge.content());
}

TEST_CASE("a log that accepts a write of an earlier tenure again has two writers") {
    Judge judge(3);
    judge.accepted(1, {2, 1, kHigh});
    judge.accepted(1, {1, 1, kLow});
    CHECK(judge.failure().find("two writers") != std::string::npos);
}

TEST_CASE("two lives under one proposal are two writers") {
    Judge judge(3);
    judge.accepted(1, {1, 1, kLow});
    judge.accepted(1, {1, 2, kLow});
    CHECK_FALSE(judge.content());
}

TEST_CASE("a new life of a log knows nothing of its writers before") {
    Judge judge(3);
    judge.accepted(1, {2, 1, kHigh});
    judge.new_life(1);
    judge.accepted(1, {1, 1, kLow});
    CHECK(judge.content());
}

}  // namespace mu::simulation
