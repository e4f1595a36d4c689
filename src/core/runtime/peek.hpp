// Looking at a replica from outside: what it publishes, and asking it to be silent. For people, on the same machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/types.hpp"

namespace mu {

struct Glimpse {
    ReplicaId replica = kNobody;
    Incarnation incarnation = 0;
    std::int32_t pid = 0;
    bool alive = false;
    std::uint64_t heartbeat = 0;
    bool admitted = false;
    bool eligible = false;
    ReplicaId leader = kNobody;
    bool leading = false;
    Offset applied = 0;
    Offset fuo = 0;
    Offset chain_end = 0;
    bool paused = false;
    std::uint64_t propose_p50_ns = 0;  // of recent proposals, when it led; 0: none was timed
    std::uint64_t propose_p99_ns = 0;
    std::vector<ReplicaId> members;
};

// Nothing if there is no such segment, or one that this version cannot read.
[[nodiscard]] std::optional<Glimpse> peek(std::string const& directory, std::string const& cluster, ReplicaId replica);
// False if there is no such replica alive.
[[nodiscard]] bool ask_pause(std::string const& directory, std::string const& cluster, ReplicaId replica, bool paused);

}  // namespace mu
