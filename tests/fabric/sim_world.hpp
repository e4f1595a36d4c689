// The sim fabric in the contract suite: every operation lands when deliver() is called.
#pragma once

#include <cstddef>

#include "fabric/sim.hpp"
#include "world.hpp"

namespace mu::test {

class SimContractWorld final : public FabricWorld {
public:
    explicit SimContractWorld(std::size_t replicas) : world_(options(replicas)) {}

    [[nodiscard]] Fabric& endpoint(ReplicaId replica) override { return world_.fabric(replica); }
    [[nodiscard]] Incarnation incarnation(ReplicaId replica) const override { return world_.incarnation(replica); }
    void crash(ReplicaId replica) override {
        world_.crash(replica);
        world_.report_gone(replica);
    }
    void restart(ReplicaId replica) override { world_.restart(replica); }
    void deliver() override { world_.deliver_all(); }

private:
    static SimOptions options(std::size_t replicas) {
        SimOptions it;
        it.replicas = replicas;
        it.log_bytes = kRingBytes;
        it.background_bytes = kBackgroundBytes;
        it.auto_deliver = false;
        return it;
    }

    SimWorld world_;
};

}  // namespace mu::test
