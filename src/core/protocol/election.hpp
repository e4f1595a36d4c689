// Leader election by pulled heartbeats (paper, section 5.1).
//
// Every replica counts in its own memory; the others read the count. A score per peer rises when the count moved
// since the last reading and falls when it did not, within 0…15; a peer is dead below 2 and alive again from 6. A slow
// network delays a reading but never fakes a death. The leader is the lowest eligible live id: no message is needed to
// agree, and two replicas may disagree for a while, because permissions, not elections, make leadership safe.
#pragma once

#include <array>

#include "fabric/fabric.hpp"
#include "protocol/peers.hpp"
#include "protocol/settings.hpp"

namespace mu {

class Election {
public:
    static constexpr std::uint32_t kMaxScore = 15;
    static constexpr std::uint32_t kDeadBelow = 2;
    static constexpr std::uint32_t kAliveFrom = 6;

    Election(Fabric& fabric, PeerReader& peers, Settings const& settings, Shared& shared) noexcept;

    void step(Nanoseconds now) noexcept;
    // When the next beat or reading is due.
    [[nodiscard]] Nanoseconds due() const noexcept { return beat_at_; }
    [[nodiscard]] Nanoseconds period(Nanoseconds now) const noexcept;

private:
    struct Pulse {
        Incarnation incarnation = 0;
        std::uint64_t heartbeat = 0;
        std::uint64_t answers = 0;
        std::uint32_t score = 0;
        bool alive = false;
        Nanoseconds moved_at = 0;
        Nanoseconds read_at = 0;
    };

    void beat(Nanoseconds now) noexcept;
    void observe(ReplicaId peer, Nanoseconds now) noexcept;
    void judge(ReplicaId peer, Nanoseconds now) noexcept;
    [[nodiscard]] bool is_stale(ReplicaId peer, Nanoseconds silence) noexcept;
    void set_alive(ReplicaId peer, bool alive) noexcept;
    void consider_eligibility(Nanoseconds now) noexcept;
    [[nodiscard]] bool hears_one_to_wait_for() const noexcept;
    [[nodiscard]] Offset most_applied() const noexcept;
    [[nodiscard]] ReplicaId lowest_candidate() const noexcept;
    [[nodiscard]] bool may_lead() const noexcept;

    Fabric& fabric_;
    PeerReader& peers_;
    Settings const& settings_;
    Shared& shared_;
    OwnCells& own_;
    std::array<Pulse, kMaxReplicas> pulses_{};
    Nanoseconds beat_at_ = 0;
    std::uint64_t steps_seen_ = 0;
    Nanoseconds stepped_at_ = 0;
    bool stuck_ = false;     // so the heartbeat is silent
    Offset must_reach_ = 0;  // what others had applied when this replica was last measured against them
    Nanoseconds must_reach_by_ = 0;
    Nanoseconds lapped_since_ = 0;
    Nanoseconds led_at_ = 0;  // when this replica last saw somebody who may lead
    bool was_able_ = false;   // at the last step: joined, and not set aside
    Nanoseconds able_since_ = 0;
};

}  // namespace mu
