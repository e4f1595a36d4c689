// Which fabric a person has chosen, as every face of a node is told it: by names and numbers.
#pragma once

#include <optional>
#include <string>

#include "fabric/verbs.hpp"

namespace mu {

struct FabricChoice {
    std::string fabric = "shm";  // or "verbs", which all others are for
    std::string registry;        // its address: "host" or "host:port"
    std::string rdma_device;
    int rdma_port = 0;
    int rdma_gid_index = -1;
    int rdma_mtu = 0;
};

// What NodeOptions wants: none for shared memory. Throws FabricError for a fabric that there is not; what is missing of
// one that there is, opening it says.
[[nodiscard]] std::optional<VerbsOptions> verbs_if_chosen(FabricChoice const& choice);

}  // namespace mu
