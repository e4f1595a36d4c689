// The peers of one replica: who is there, in which life, and where its segment is mapped.
//
// One watcher thread per peer:  absent --opens its segment--> present --the kernel or the peer says it ended--> absent
//
// Invariant: `ended` of a peer never names an incarnation that may still run; incarnations only grow.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "fabric/segment.hpp"

namespace mu {

class ShmPeers {
public:
    ShmPeers(SegmentShape const& shape, std::string const& directory, std::string const& cluster, ReplicaId self,
             std::shared_ptr<Segment> own, std::function<void()> on_departure);
    ~ShmPeers();
    ShmPeers(ShmPeers const&) = delete;
    ShmPeers& operator=(ShmPeers const&) = delete;

    // Throws FabricError if a living replica under a member's name cannot be one of this cluster: then either it or
    // this one is in the wrong place, and both would wait for ever.
    void refuse_strangers() const;
    // Begins to look for all members but oneself.
    void start();
    void stop() noexcept;

    // The segment of the present incarnation; null if the peer is absent, gone or not a member.
    [[nodiscard]] std::shared_ptr<Segment> segment(ReplicaId peer) noexcept;
    [[nodiscard]] PeerState state(ReplicaId peer) const noexcept;
    [[nodiscard]] bool is_runnable(ReplicaId peer) noexcept;
    [[nodiscard]] std::string problem(ReplicaId peer) const;

private:
    struct Peer {
        std::atomic<Incarnation> present = 0;  // the latest seen
        std::atomic<Incarnation> ended = 0;    // the latest that is known to have ended
        mutable std::mutex mutex;              // guards the two below, for an instant at a time
        std::shared_ptr<Segment> segment;
        std::string problem;
        std::thread watcher;
        ShmPeers* peers = nullptr;
        ReplicaId replica = kNobody;
    };

    void watch(Peer& peer) noexcept;
    [[nodiscard]] std::shared_ptr<Segment> look(Peer& peer) noexcept;
    [[nodiscard]] bool nap(Nanoseconds since) noexcept;
    void arrive(Peer& peer, std::shared_ptr<Segment> const& segment) noexcept;
    void meet(Peer& peer, Incarnation incarnation) noexcept;
    void depart(Peer& peer, Segment& segment) noexcept;
    void ring_own_planes() noexcept;
    [[nodiscard]] LifeLine& line_of(Segment& segment) const noexcept { return segment.header().life[self_]; }

    SegmentShape shape_;
    std::string directory_;
    std::string cluster_;
    ReplicaId self_;
    std::shared_ptr<Segment> own_;
    std::function<void()> on_departure_;
    std::atomic<bool> stopping_ = false;
    std::mutex nap_mutex_;
    std::condition_variable nap_over_;
    std::array<Peer, kMaxReplicas> peers_;
};

}  // namespace mu
