// A cluster of verbs replicas in this process, one RDMA device each. MU_VERBS_DEVICES names the devices, in the order of
// the replicas; with fewer devices than replicas they begin again with the first.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>

#include "fabric/shm_world.hpp"
#include "fabric/verbs.hpp"

namespace mu::test {

class MemoryRegistry final : public Registry {
public:
    [[nodiscard]] bool set(std::string const& name, std::string const& text) override {
        std::lock_guard const guard(mutex_);
        texts_[name] = text;
        return true;
    }
    [[nodiscard]] bool get(std::vector<std::string> const& names, std::vector<std::string>& texts) override {
        std::lock_guard const guard(mutex_);
        texts.clear();
        for (std::string const& name : names) {
            texts.push_back(texts_[name]);
        }
        return true;
    }
    [[nodiscard]] std::string describe() const override { return "this process"; }

private:
    std::mutex mutex_;
    std::map<std::string, std::string> texts_;
};

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
    explicit VerbsWorld(std::size_t replicas) : replicas_(replicas), registry_(std::make_shared<MemoryRegistry>()) {
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
    std::shared_ptr<MemoryRegistry> registry_;
    std::array<std::unique_ptr<Endpoint>, kMaxReplicas> fabrics_;
};

}  // namespace mu::test
