// Runs the walk (walk.hpp): fixed seeds and a few fresh ones. What seeds have found is told alone in
// walk_regression_test.cpp: a seed is another walk as soon as anything draws once more.
#include <doctest/doctest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "simulation/walk.hpp"

namespace mu::simulation {
namespace {

Walk* walking = nullptr;

// A broken invariant of a replica ends the process: say first which walk led there.
void on_abort(int) {
    if (walking != nullptr) {
        std::fprintf(stderr, "%s%sa replica lost an invariant; again: %s\n", walking->transcript().c_str(),
                     walking->state().c_str(), walking->reproduction().c_str());
    }
    std::signal(SIGABRT, SIG_DFL);
    std::raise(SIGABRT);
}

std::uint64_t number_from(char const* name, std::uint64_t otherwise) {
    char const* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

bool walks(WalkPlan const& plan, bool trace = false) {
    Walk walk(plan);
    walk.trace(trace);
    walking = &walk;
    auto* const before = std::signal(SIGABRT, on_abort);
    bool const sound = walk.run();
    std::signal(SIGABRT, before);
    walking = nullptr;
    if (std::getenv("MU_WALK_STATISTICS") != nullptr) {
        std::printf("seed %llu: %s\n", static_cast<unsigned long long>(plan.seed), walk.statistics().c_str());
    }
    if (!sound) {
        MESSAGE(walk.transcript());
        MESSAGE(walk.state());
        MESSAGE("after " << walk.steps() << " steps: " << walk.failure() << "\nagain: " << walk.reproduction());
    }
    return sound;
}

}  // namespace

TEST_CASE("whatever a random walk does, replicas agree, lose nothing acknowledged, and decide again once healed") {
    if (std::uint64_t const seed = number_from("MU_WALK_SEED", 0); seed != 0) {
        CHECK(walks(WalkPlan::of(seed), std::getenv("MU_WALK_TRACE") != nullptr));
        return;
    }
    std::uint64_t const first = number_from("MU_WALK_FROM", 1);
    std::uint64_t const count = number_from("MU_WALK_COUNT", 600);
    std::uint64_t failed = 0;
    for (std::uint64_t seed = first; seed < first + count && failed == 0; ++seed) {
        failed += walks(WalkPlan::of(seed)) ? 0 : 1;
    }
    CHECK(failed == 0);
}

TEST_CASE("fresh random walks find nothing either") {
    std::uint64_t const first = std::random_device{}() + (std::uint64_t{1} << 32U);
    std::uint64_t const count = number_from("MU_WALK_FRESH", 60);
    MESSAGE("fresh seeds " << first << " to " << first + count - 1);
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        REQUIRE(walks(WalkPlan::of(seed)));
    }
}

}  // namespace mu::simulation
