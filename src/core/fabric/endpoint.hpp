// One replica's end of a fabric as a running node uses it: the contract of fabric.hpp, and beside it what only threads
// and people need: a life with a beginning and an end, places to sleep, and words about what was found.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "fabric/error.hpp"
#include "fabric/fabric.hpp"

namespace mu {

// What every fabric needs to know of its replica.
struct EndpointOptions {
    std::string cluster;            // letters, digits, - and _; at most 64
    std::uint64_t cluster_key = 0;  // a hash of the cluster's secret: another key is another cluster
    ReplicaId replica = kNobody;
    std::vector<ReplicaId> members;      // all of them, oneself included, in the same order everywhere
    std::uint64_t ring_bytes = 0;        // a power of two, at least a page
    std::uint64_t background_bytes = 0;  // a multiple of 8
    std::string directory = "/dev/shm";  // where this replica's memory lives, as a file
    // Called when a peer is known to have ended, by a thread of the fabric's, before anybody is woken for it.
    std::function<void()> on_departure = {};
};
// Throws FabricError if they cannot be.
void check_options(EndpointOptions const& options);

// Not to be used in a child of fork().
class Endpoint : public Fabric {
public:
    [[nodiscard]] virtual Incarnation incarnation() const noexcept = 0;

    // Whether the medium is made of software, and so slower by orders of magnitude and less steady than what it stands
    // in for: time limits have to be longer then.
    [[nodiscard]] virtual bool is_soft() const noexcept { return false; }

    // Waiting: take a ticket, look for work, then sleep unless the doorbell was rung since the ticket. One sleeper a
    // plane; the learner's doorbell is the replication plane's. May return early.
    [[nodiscard]] virtual std::uint32_t ticket(Plane plane) noexcept = 0;
    virtual void wait(Plane plane, std::uint32_t ticket, Nanoseconds timeout) noexcept = 0;

    // The processor on which a replica's replication plane was last worked on, as it says itself; negative: unknown,
    // or not one of this machine's.
    virtual void works_on(int processor) noexcept { (void)processor; }
    [[nodiscard]] virtual int processor_of(ReplicaId peer) noexcept {
        (void)peer;
        return -1;
    }

    // For whoever measures, holding the replication plane: how long `bytes` bytes take to the first of `to`, `count` times,
    // by themselves, written at `at` of the background region. Empty where a write is nothing but a copy.
    [[nodiscard]] virtual std::vector<Nanoseconds> bare_writes(std::span<ReplicaId const> to, std::uint64_t at,
                                                               std::size_t bytes, std::size_t count,
                                                               Nanoseconds (*clock)()) {
        (void)to, (void)at, (void)bytes, (void)count, (void)clock;
        return {};
    }

    // Why this replica must go on no longer, or empty: its place was taken away, say. A system call; not for hot paths.
    [[nodiscard]] virtual std::string lost() const { return {}; }
    // Throws FabricError if a living replica here, under a member's name, is of another cluster, layout or user.
    virtual void refuse_strangers() const {}
    // What a person should know: a stale segment that was replaced; why a peer is not used. Else empty.
    [[nodiscard]] virtual std::string notice() const = 0;
    [[nodiscard]] virtual std::string peer_problem(ReplicaId peer) const = 0;

    // Takes leave of the others and removes the files. Nothing may be posted or permitted any more; what can be read
    // stays until the end of this object.
    virtual void leave() noexcept = 0;
    // Ends as a killed process would: nothing is marked, nothing removed. For tests of the others.
    virtual void abandon() noexcept = 0;
};

}  // namespace mu
