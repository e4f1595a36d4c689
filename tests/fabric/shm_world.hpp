// A cluster of shm replicas in this process, in a directory of its own that goes with it.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>

#include "fabric/shm.hpp"
#include "world.hpp"

namespace mu::test {

class PrivateDirectory {
public:
    PrivateDirectory() {
        std::string name = "/dev/shm/mu-test-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no directory for the test's segments");
        path_ = name;
    }
    ~PrivateDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    PrivateDirectory(PrivateDirectory const&) = delete;
    PrivateDirectory& operator=(PrivateDirectory const&) = delete;

    [[nodiscard]] std::string const& path() const { return path_; }
    [[nodiscard]] bool empty() const { return std::filesystem::is_empty(path_); }
    [[nodiscard]] std::string segment(ReplicaId replica) const { return path_ + "/mu.test." + std::to_string(replica); }

private:
    std::string path_;
};

// Options of replica `replica` of `replicas`, named 1, 2, …
[[nodiscard]] inline EndpointOptions shm_options(PrivateDirectory const& directory, ReplicaId replica,
                                                 std::size_t replicas = 3) {
    EndpointOptions options;
    options.cluster = "test";
    options.cluster_key = 42;
    options.replica = replica;
    options.members.resize(replicas);
    std::iota(options.members.begin(), options.members.end(), 1U);
    options.ring_bytes = kRingBytes;
    options.background_bytes = kBackgroundBytes;
    options.directory = directory.path();
    return options;
}

class ShmWorld final : public FabricWorld {
public:
    explicit ShmWorld(std::size_t replicas) : replicas_(replicas) {
        for (ReplicaId replica = 1; replica <= replicas; ++replica) {
            restart(replica);
        }
    }

    [[nodiscard]] ShmFabric& endpoint(ReplicaId replica) override { return *fabrics_.at(replica); }
    [[nodiscard]] Incarnation incarnation(ReplicaId replica) const override {
        return fabrics_.at(replica)->incarnation();
    }
    void crash(ReplicaId replica) override {
        fabrics_.at(replica)->abandon();
        fabrics_.at(replica).reset();
    }
    void restart(ReplicaId replica) override {
        fabrics_.at(replica) = std::make_unique<ShmFabric>(shm_options(directory_, replica, replicas_));
    }
    // News are brought by the fabrics' own threads; operations need nothing.
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
    std::array<std::unique_ptr<ShmFabric>, kMaxReplicas> fabrics_;
};

}  // namespace mu::test
