// One replica's election, alone: its peers are memory that the test writes, read over the sim fabric.
#pragma once

#include <array>

#include "fabric/sim.hpp"
#include "protocol/election.hpp"
#include "support/slots.hpp"

namespace mu::test {

class Elector {
public:
    explicit Elector(Settings chosen = {.self = 1, .members = {1, 2, 3}})
        : world({.replicas = 3, .log_bytes = 4096, .background_bytes = sizeof(BackgroundRegion)}),
          settings(std::move(chosen)),
          peers(channel()),
          election(world.fabric(settings.self), peers, settings, shared) {
        shared.joined = true;
        shared.active_at = now;
        for (ReplicaId const member : settings.members) {
            store_position(own(member).applied, Position{});
            if (member != settings.self) {
                own(member).incarnation = world.incarnation(member);
                own(member).eligible = 1;
                own(member).heartbeat_period_ns = static_cast<std::uint64_t>(settings.heartbeat_period);
            }
        }
    }

    [[nodiscard]] SimChannel& channel() { return world.fabric(settings.self).sim_channel(Plane::background); }
    [[nodiscard]] OwnCells& own(ReplicaId replica) {
        return reinterpret_cast<BackgroundRegion*>(world.fabric(replica).background().data())->own;
    }
    [[nodiscard]] std::uint32_t score(ReplicaId peer) const { return shared.scores[peer].load(); }
    [[nodiscard]] bool alive(ReplicaId peer) const { return shared.is_alive(peer); }
    [[nodiscard]] ReplicaId leader() const { return shared.leader.load(); }

    void beat(ReplicaId peer) { ++own(peer).heartbeat; }
    // Time passes; completions are taken in; one step.
    void step(Nanoseconds later) {
        now += later;
        poll();
        election.step(now);
    }
    // The election has read every peer once, each with a heartbeat that moved.
    void appear() {
        for (ReplicaId const member : settings.members) {
            if (member != settings.self) {
                beat(member);
            }
        }
        shared.steps.fetch_add(1);
        step(0);
        poll();
        election.step(now);
    }
    // One more reading of all is judged; the heartbeat of `peer` moved since the last one, or nobody's did.
    void read_moved(ReplicaId peer) {
        beat(peer);
        read_unmoved();
    }
    // For longer than a replica that has just become able to lead waits for others; all peers beat.
    void wait_for_others() {
        for (Nanoseconds waited = 0; waited <= settings.stale_limit; waited += settings.heartbeat_period) {
            for (ReplicaId const member : settings.members) {
                if (member != settings.self) {
                    beat(member);
                }
            }
            read_unmoved();
        }
    }
    void read_unmoved() {
        step(settings.heartbeat_period);  // asks for a reading: it lands at once
        poll();
        election.step(now);  // judges it
    }

    SimWorld world;
    Settings settings;
    Shared shared;
    PeerReader peers;
    Election election;
    Nanoseconds now = kSecond;

private:
    void poll() {
        std::array<Completion, 16> done;
        std::size_t const count = channel().poll(done);
        for (std::size_t i = 0; i < count; ++i) {
            peers.completed(done[i]);
        }
    }
};

}  // namespace mu::test
