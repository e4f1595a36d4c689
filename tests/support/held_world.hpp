// What a Cluster stands on: the replicas' ends of one fabric, and a hand on everything that they post. The paper's
// claims are written over this, and hold on the sim fabric and, in the virtual machine, on verbs.
//
//     sim      memory of this process; the SimWorld itself holds what is posted
//     verbs    an endpoint of the real fabric for each replica, on RDMA devices; what is posted is held back before it
//              reaches the endpoint's channel, and landing hands it on and waits until it has completed
//
// Invariant: nothing reaches a replica's memory but by land*(), or as it is posted while auto_deliver is on.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "fabric/fabric.hpp"
#include "fabric/sim_memory.hpp"

namespace mu::test {

// Whose operations, on whose memory, posted on which plane: each such way is first in, first out.
struct Way {
    ReplicaId writer = kNobody;
    ReplicaId target = kNobody;
    Plane plane = Plane::replication;
};

struct Posted {
    Operation kind = Operation::write;
    Region region = Region::log;
    std::uint64_t at = 0;
};

struct HeldOptions {
    std::size_t replicas = 3;
    std::size_t log_bytes = 0;
    Revocation revocation = Revocation::by_area;  // on sim: verbs has its own way
};

class HeldWorld {
public:
    virtual ~HeldWorld() = default;

    // The present life of a replica; not to be used between crash and restart.
    [[nodiscard]] virtual Fabric& fabric(ReplicaId replica) = 0;
    [[nodiscard]] virtual bool alive(ReplicaId replica) const = 0;
    [[nodiscard]] virtual Incarnation incarnation(ReplicaId replica) const = 0;
    // A crash is as that of a killed process, and returns when everybody else alive has been told. What it had posted
    // is lost with it on verbs, and stays pending on sim. A restart returns when everybody else alive can be reached,
    // and reaches the new life.
    virtual void crash(ReplicaId replica) = 0;
    virtual void restart(ReplicaId replica) = 0;
    virtual void cut(ReplicaId from, ReplicaId to) = 0;  // one direction: who posts → whose memory
    virtual void heal(ReplicaId from, ReplicaId to) = 0;
    [[nodiscard]] virtual bool is_cut(ReplicaId from, ReplicaId to) const = 0;

    virtual void auto_deliver(bool on) = 0;
    // What is pending, front first.
    [[nodiscard]] virtual std::vector<Posted> posted(Way const& way) const = 0;
    [[nodiscard]] virtual std::size_t words_left(Way const& way) const = 0;  // of the front
    // What may happen to the front; each answers whether it could: not if there is none, and nothing lands of somebody
    // who is cut off, nor a part of what has no parts (a confirmation).
    virtual bool land(Way const& way) = 0;
    virtual bool land_partly(Way const& way, std::size_t words) = 0;
    virtual bool fail(Way const& way) = 0;
    virtual bool fail_after_effect(Way const& way) = 0;  // it lands, but its writer is told that it failed
    // It lands; its completion is what lands next. Never on verbs.
    virtual bool land_unacknowledged(Way const& way) = 0;
};

// MU_PAPER_FABRIC names the fabric: "verbs", and "sim" if it is not set.
[[nodiscard]] bool on_verbs();
// How far apart the moments are at which a test that tries "every moment" strikes: on verbs, where each costs most of a
// second in an emulated guest, every fourth (a step without divisors 3 and 5, so that all replicas have their turns).
[[nodiscard]] int between_moments();
[[nodiscard]] std::unique_ptr<HeldWorld> make_held_world(HeldOptions const& options);
[[nodiscard]] std::unique_ptr<HeldWorld> make_held_sim(HeldOptions const& options);
[[nodiscard]] std::unique_ptr<HeldWorld> make_held_verbs(HeldOptions const& options);

// The ways in which a log is taken from its writer that the fabric has.
[[nodiscard]] std::span<Revocation const> revocations();

}  // namespace mu::test
