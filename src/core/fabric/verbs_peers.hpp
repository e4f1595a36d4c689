// The peers of one replica on verbs: one thread makes the connections, through the registry, and finds out when one ends.
// It never waits for the registry: a clerk with a thread of his own does.
//
//     absent --makes queue pairs, tells them--> offering --the peer names them, and its own--> connected
//        ^                                                                                        |
//        |                                                        the peer says that it is connected too
//        |                                                                                        v
//        `---- something unrevoked fails (F5), the peer has begun anew, or has taken its leave --- linked
//
// Both ends name in their cards which card of the other they have seen, so both connect the same two sets of queue pairs
// or neither does: an end connects only to a card that names its own present one. And it uses the link only once the
// other one can be reached over it.
//
// How soon a death is known: a probe (one 8-byte read) is under way every kProbePeriod, and fails within the time limit of
// a queue pair (verbs_queue_pair.cpp): about 100 ms. A peer that is only cut off is reported as gone too, until it is
// linked again. Nothing waits for it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "fabric/endpoint.hpp"
#include "fabric/registry_clerk.hpp"
#include "fabric/verbs_acceptor.hpp"
#include "fabric/verbs_link.hpp"

namespace mu {

// What of a replica's memory its peers reach, and what the device calls it.
struct VerbsMemory {
    std::span<std::byte> background;
    std::uint32_t background_key = 0;
    std::span<std::byte const> ring;
    Incarnation incarnation = 0;
};

class VerbsPeers {
public:
    VerbsPeers(VerbsDevice const& device, VerbsCompletions const& completions, VerbsAcceptor& acceptor,
               VerbsMemory const& memory, EndpointOptions const& options, std::shared_ptr<Registry> registry,
               std::function<void()> ring_own_planes);
    ~VerbsPeers();
    VerbsPeers(VerbsPeers const&) = delete;
    VerbsPeers& operator=(VerbsPeers const&) = delete;

    void start();
    // Ends the threads; with `farewell` peers hear of it at once, if the registry answers.
    void stop(bool farewell) noexcept;

    // The present link; null if there is none, or the peer is no member.
    [[nodiscard]] std::shared_ptr<VerbsLink> link(ReplicaId peer) noexcept;
    [[nodiscard]] PeerState state(ReplicaId peer) const noexcept;
    [[nodiscard]] std::string problem(ReplicaId peer) const;

private:
    struct Peer {
        std::atomic<Incarnation> present = 0;
        std::atomic<bool> gone = false;
        mutable std::mutex mutex;  // guards the two below, for an instant at a time
        std::shared_ptr<VerbsLink> link;
        std::string problem;
        // The thread's own:
        std::shared_ptr<VerbsLink> offered;  // not linked yet
        VerbsCard card;                      // one's own, for this peer
        std::string told;
        bool probing = false;
    };

    void run() noexcept;
    void tick() noexcept;
    void take_in_sight(RegistryClerk::Sight const& sight) noexcept;
    void step(ReplicaId id, std::string const& text) noexcept;
    void offer(ReplicaId id) noexcept;
    void take_in(ReplicaId id, VerbsCard const& card) noexcept;
    [[nodiscard]] bool connect(ReplicaId id, VerbsCard const& card) noexcept;
    void establish(ReplicaId id) noexcept;
    void withdraw_offer(Peer& peer) noexcept;
    void retire(ReplicaId id, std::string const& why) noexcept;
    void tell_cards() noexcept;
    void probe() noexcept;
    void take_in_probes() noexcept;
    void say(Peer& peer, std::string const& problem);
    [[nodiscard]] bool all_linked() const noexcept;

    VerbsDevice const& device_;
    VerbsCompletions const& completions_;
    VerbsAcceptor& acceptor_;
    VerbsMemory memory_;
    EndpointOptions options_;
    std::shared_ptr<Registry> registry_;
    std::function<void()> ring_own_planes_;
    std::vector<ReplicaId> others_;
    RegistryClerk clerk_;             // looks up the cards of `others_` for oneself, in their order
    std::vector<std::byte> landing_;  // of probes
    Registration landing_registration_;
    std::thread thread_;
    std::mutex nap_mutex_;
    std::condition_variable nap_over_;
    bool stopping_ = false;
    std::uint64_t ticks_ = 0;
    std::array<Peer, kMaxReplicas> peers_;
};

}  // namespace mu
