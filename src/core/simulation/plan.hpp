// What a seed decides before the first step: the cluster, its faults and how often they strike.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "simulation/cluster.hpp"

namespace mu::simulation {

enum class Trouble : std::uint8_t { cut, heal, crash, restart, freeze, thaw, pause, resume, jump };
inline constexpr std::size_t kTroubles = 9;

struct WalkPlan {
    std::uint64_t seed = 1;
    std::uint64_t steps = 20'000;
    ClusterOptions cluster;
    bool keeps_majority = true;  // never more amnesiacs than the protocol bears: then it must be live in the end
    Nanoseconds tick = 200;      // a step takes up to this long
    bool calm_youth = true;      // trouble begins when something has been decided
    std::uint64_t trouble = 2;   // 0: calm … 3: storm; also changes on the way

    // Every walk has faults of its own: what always happens together hides what happens alone.
    std::array<std::uint64_t, kTroubles> weights{20, 16, 14, 16, 6, 14, 4, 5, 5};
    std::uint64_t torn_in_1000 = 60;            // of the operations that move, how many land in part
    std::uint64_t unacknowledged_in_1000 = 20;  // and how many land long before their writer hears of it
    std::uint64_t operations_in_100 = 54;       // of the steps, how many move an operation
    std::uint64_t slow_factor = 60;             // how much less often an operation on a slow link moves
    std::uint64_t orphan_factor = 40;           // and one of a life that has ended
    std::uint64_t background_every = 3;         // of the steps of planes
    std::uint64_t stop_every = 0;  // of the moments inside steps, one in so many stops its replica there; 0: none
    bool ambushes = false;         // faults lie in wait for the moments that chance seldom meets (ambush.cpp)
    bool limps = false;            // in the end, a minority fails once more
    bool breaks = false;           // connections break, too
    bool halts = false;            // replicas stop by themselves, while their background plane goes on
    bool works_long = false;       // snapshots and restores take longer than anybody is given for one piece
    bool denials = false;          // on some links, for a while, whatever is written lands and is never acknowledged

    // Everything from the seed; steps and replicas as asked for, if they are.
    [[nodiscard]] static WalkPlan of(std::uint64_t seed, std::uint64_t steps = 0, std::size_t replicas = 0);
};

}  // namespace mu::simulation
