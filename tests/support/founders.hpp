// Replicas that only form a cluster: one Formation each, over the sim fabric, with readings that the test orders.
#pragma once

#include <array>
#include <memory>

#include "fabric/sim.hpp"
#include "protocol/formation.hpp"
#include "support/slots.hpp"

namespace mu::test {

class Founders {
public:
    explicit Founders(std::size_t replicas)
        : world({.replicas = replicas, .log_bytes = 4096, .background_bytes = sizeof(BackgroundRegion)}) {
        for (ReplicaId id = 1; id <= replicas; ++id) {
            begin_life(id);
        }
    }

    [[nodiscard]] OwnCells& own(ReplicaId id) {
        return reinterpret_cast<BackgroundRegion*>(world.fabric(id).background().data())->own;
    }
    [[nodiscard]] Formation& formation(ReplicaId id) { return lives_[id]->formation; }
    [[nodiscard]] Shared& shared(ReplicaId id) { return lives_[id]->shared; }
    [[nodiscard]] bool joined(ReplicaId id) { return shared(id).joined; }

    // `id` reads what `peer` says of itself.
    void look(ReplicaId id, ReplicaId peer) {
        Life& life = *lives_[id];
        SimChannel& channel = world.fabric(id).sim_channel(Plane::background);
        if (channel.connected(peer) != world.fabric(id).peer(peer).incarnation) {
            life.peers.reset(peer);
        }
        if (!channel.connect(peer)) {
            return;
        }
        life.peers.refresh(peer);
        std::array<Completion, 16> done;
        std::size_t const count = channel.poll(done);
        for (std::size_t i = 0; i < count; ++i) {
            life.peers.completed(done[i]);
        }
    }
    void look(ReplicaId id) {
        for (ReplicaId peer = 1; peer <= world.replicas(); ++peer) {
            if (peer != id) {
                look(id, peer);
            }
        }
    }
    void look() {
        each([this](ReplicaId id) { look(id); });
    }
    void step(ReplicaId id) { formation(id).step(); }
    void step_all() {
        each([this](ReplicaId id) { step(id); });
    }
    void look_and_step_all() {
        look();
        step_all();
    }
    void restart(ReplicaId id) {
        lives_[id].reset();
        world.crash(id);
        world.restart(id);
        begin_life(id);
    }

    SimWorld world;

private:
    struct Life {
        Life(SimFabric& fabric, ReplicaId id, std::size_t replicas)
            : peers(fabric.channel(Plane::background)),
              formation(fabric, peers, settings, shared, fabric.incarnation()) {
            settings.self = id;
            settings.cluster_key = kKey;
            for (ReplicaId member = 1; member <= replicas; ++member) {
                settings.members.push_back(member);
            }
        }
        Settings settings;
        Shared shared;
        PeerReader peers;
        Formation formation;
    };

    void begin_life(ReplicaId id) {
        own(id).incarnation = world.incarnation(id);
        lives_[id] = std::make_unique<Life>(world.fabric(id), id, world.replicas());
    }
    template <class What>
    void each(What const& what) {
        for (ReplicaId id = 1; id <= world.replicas(); ++id) {
            if (world.alive(id)) {
                what(id);
            }
        }
    }

    std::array<std::unique_ptr<Life>, kMaxReplicas> lives_;
};

}  // namespace mu::test
