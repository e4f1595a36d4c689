// A cluster of verbs replicas in this process, one RDMA device each. MU_VERBS_DEVICES names the devices, in the order of
// the replicas; with fewer devices than replicas they begin again with the first.
#pragma once

#include <cstdlib>
#include <memory>
#include <sstream>

#include "fabric/memory_registry.hpp"
#include "fabric/shm_world.hpp"
#include "fabric/verbs.hpp"

namespace mu::test {

[[nodiscard]] inline std::string verbs_device(ReplicaId replica) {
    char const* const names = std::getenv("MU_VERBS_DEVICES");
    std::istringstream words(names == nullptr ? "" : names);
    std::vector<std::string> devices;
    for (std::string word; std::getline(words, word, ',');) {
        devices.push_back(word);
    }
    return devices.empty() ? "" : devices[(replica - 1) % devices.size()];
}

class VerbsWorld final : public FabricWorld {
public:
    explicit VerbsWorld(std::size_t replicas, std::shared_ptr<Registry> registry = std::make_shared<MemoryRegistry>())
        : replicas_(replicas), registry_(std::move(registry)) {
        for (ReplicaId replica = 1; replica <= replicas; ++replica) {
            restart(replica);
        }
    }

    [[nodiscard]] Endpoint& endpoint(ReplicaId replica) override { return *fabrics_.at(replica); }
    [[nodiscard]] Incarnation incarnation(ReplicaId replica) const override {
        return fabrics_.at(replica)->incarnation();
    }
    void crash(ReplicaId replica) override {
        fabrics_.at(replica)->abandon();
        fabrics_.at(replica).reset();
    }
    void restart(ReplicaId replica) override {
        VerbsOptions options;
        options.registry = registry_;
        options.device = verbs_device(replica);
        fabrics_.at(replica) = open_verbs(shm_options(directory_, replica, replicas_), options);
    }
    // News are brought by the fabrics' own threads, completions by polling: both take a moment.
    void deliver() override {
        for (auto const& fabric : fabrics_) {
            if (fabric == nullptr) continue;
            std::uint32_t const ticket = fabric->ticket(Plane::background);
            fabric->wait(Plane::background, ticket, kMoment);
            return;
        }
    }

private:
    static constexpr Nanoseconds kMoment = 200'000;  // between two looks

    PrivateDirectory directory_;
    std::size_t replicas_;
    std::shared_ptr<Registry> registry_;
    std::array<std::unique_ptr<Endpoint>, kMaxReplicas> fabrics_;
};

}  // namespace mu::test
