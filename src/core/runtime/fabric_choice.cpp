#include "runtime/fabric_choice.hpp"

#include <memory>

namespace mu {

std::optional<VerbsOptions> verbs_if_chosen(FabricChoice const& choice) {
    if (choice.fabric == "shm") {
        return std::nullopt;
    }
    if (choice.fabric != "verbs") {
        throw FabricError(FabricError::Code::bad_name, "there is no fabric \"" + choice.fabric +
                                                           "\". Nothing was changed. Use \"shm\" or \"verbs\"");
    }
    VerbsOptions verbs{nullptr, choice.rdma_device, choice.rdma_port, choice.rdma_gid_index, choice.rdma_mtu};
    if (!choice.registry.empty()) {
        verbs.registry = std::make_shared<MemcachedRegistry>(choice.registry);
    }
    return verbs;
}

}  // namespace mu
