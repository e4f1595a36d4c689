// Measuring from inside the leader. All results in nanoseconds.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/node.hpp"

namespace mu {

struct ThroughputResult {
    Nanoseconds elapsed = 0;
    std::vector<Nanoseconds> group_latencies;  // from offering `outstanding` slots to the decision of the last
    Outcome outcome = Outcome::ok;
};

// Each propose of a loop, from its call to its decision, `outstanding` of them in flight. Shorter than `count` if the
// leadership is lost on the way.
[[nodiscard]] std::vector<Nanoseconds> bench_latency(Node& node, std::size_t payload, std::size_t outstanding,
                                                     std::size_t count);

// The bare cost of moving the same bytes over the same medium: as many copies as there are followers, into shared
// memory of the same size as their logs, at the same stride, and one fence.
[[nodiscard]] std::vector<Nanoseconds> bench_floor(Node& node, std::size_t payload, std::size_t count);

[[nodiscard]] ThroughputResult bench_throughput(Node& node, std::size_t payload, std::size_t batch,
                                                std::size_t outstanding, std::size_t count);

}  // namespace mu
