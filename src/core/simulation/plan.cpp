#include "simulation/plan.hpp"

#include "simulation/dice.hpp"

namespace mu::simulation {

namespace {

// Half of the walks know all faults in their usual measure, the others some of them more, some less, some not at all.
void swarm(WalkPlan& plan, Dice& dice) {
    if (dice.one_in(2)) return;
    static constexpr std::array<std::uint64_t, 6> kFactors{0, 1, 1, 2, 3, 6};
    for (std::uint64_t& weight : plan.weights)
        weight *= dice.of(kFactors);
    // Whatever strikes must also end, or there is nothing left to strike.
    for (Trouble const mends : {Trouble::heal, Trouble::restart, Trouble::thaw, Trouble::resume})
        plan.weights[static_cast<std::size_t>(mends)] += 5;
    static constexpr std::array<std::uint64_t, 4> kTorn{0, 30, 60, 200};
    plan.torn_in_1000 = dice.of(kTorn);
    plan.unacknowledged_in_1000 = dice.of(kTorn);
    static constexpr std::array<std::uint64_t, 4> kOperations{30, 45, 54, 65};
    plan.operations_in_100 = dice.of(kOperations);
    static constexpr std::array<std::uint64_t, 4> kSlow{4, 20, 60, 600};
    plan.slow_factor = dice.of(kSlow);
    plan.orphan_factor = dice.of(kSlow);
    static constexpr std::array<std::uint64_t, 3> kBackground{2, 3, 8};
    plan.background_every = dice.of(kBackground);
}

}  // namespace

WalkPlan WalkPlan::of(std::uint64_t seed, std::uint64_t steps, std::size_t replicas) {
    Dice dice(seed ^ 0x706c616eU);
    WalkPlan plan;
    plan.seed = seed;
    static constexpr std::array<std::size_t, 8> kSizes{3, 3, 3, 3, 3, 5, 5, 7};
    static constexpr std::array<std::size_t, 4> kOddities{1, 2, 4, 6};
    plan.cluster.replicas = dice.one_in(16) ? dice.of(kOddities) : dice.of(kSizes);
    plan.cluster.log_bytes = dice.one_in(3) ? 8192 : 4096;
    plan.cluster.revocation = dice.one_in(2) ? Revocation::by_area : Revocation::by_refusal;
    plan.cluster.ordered_writes = !dice.one_in(4);
    plan.cluster.auto_deliver = false;
    plan.cluster.ballast_bytes = dice.one_in(8) ? kPieceBytes * (1 + dice.below(3)) : 0;
    plan.cluster.settings = quick_settings();
    if (dice.one_in(4)) plan.cluster.settings.commit_idle_after = 0;
    plan.keeps_majority = !dice.one_in(5);
    static constexpr std::array<Nanoseconds, 4> kTicks{40, 100, 200, 600};
    plan.tick = dice.of(kTicks);
    plan.trouble = dice.below(4);
    plan.calm_youth = !dice.one_in(5);
    plan.steps = 10'000 + dice.below(40'000);
    swarm(plan, dice);
    static constexpr std::array<std::uint64_t, 4> kStopEvery{0, 0, 100, 1'000};
    plan.stop_every = dice.of(kStopEvery);
    plan.ambushes = dice.one_in(4);
    plan.limps = dice.one_in(3);
    plan.denials = dice.one_in(3);
    plan.breaks = dice.one_in(3);
    plan.halts = dice.one_in(3);
    plan.works_long = dice.one_in(4);
    if (steps != 0) plan.steps = steps;
    if (replicas != 0) plan.cluster.replicas = replicas;
    return plan;
}

}  // namespace mu::simulation
