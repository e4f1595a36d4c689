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

// The bare cost of moving the same bytes over the same medium: what one propose puts into its followers' logs (a whole
// slot each), copied into as many rings of the same size in shared memory, and one fence. Somebody on another core
// reads the rings as followers read their logs, because memory that nobody else touches is not the same medium.
[[nodiscard]] std::vector<Nanoseconds> bench_floor(Node& node, std::size_t payload, std::size_t count);

[[nodiscard]] ThroughputResult bench_throughput(Node& node, std::size_t payload, std::size_t batch,
                                                std::size_t outstanding, std::size_t count);

}  // namespace mu
