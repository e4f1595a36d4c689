// The hot path of the shm fabric: stores into the peers' landing areas, and the one fence that makes them count.
//
// A log write is stored at once. poll() fences once for all peers and loads each peer's permission word: the write has
// succeeded only if the word still names this channel's tenure. The permitter stores the word, fences and then copies
// the log; so either it finds the bytes, or the writer finds another word.
//
// Invariant: after one failed log write nothing more is stored into that peer's log before the next begin_tenure().
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "fabric/fabric.hpp"
#include "fabric/segment.hpp"

namespace mu {

class ShmPeers;

class ShmChannel final : public Channel {
public:
    ShmChannel(ShmPeers& peers, SegmentShape const& shape, ReplicaId self);

    bool connect(ReplicaId peer) noexcept override;
    [[nodiscard]] Incarnation connected(ReplicaId peer) const noexcept override;
    void begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept override;
    void write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes, std::uint64_t id) noexcept override;
    void read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
              std::uint64_t id) noexcept override;
    void confirm(ReplicaId to, std::uint64_t id) noexcept override;
    std::size_t poll(std::span<Completion> completions) noexcept override;
    void ring(ReplicaId peer, Plane plane) noexcept override;
    [[nodiscard]] std::uint32_t write_at_once(std::span<ReplicaId const> to, std::uint64_t at,
                                              Gather const& bytes) noexcept override;

private:
    // What a pending operation's success depends on.
    enum class Verdict : std::uint8_t { by_permission, by_life, failed, succeeded };

    struct Pending {
        std::uint64_t id;
        ReplicaId peer;
        Operation operation;
        Verdict verdict;
    };
    static_assert(sizeof(Pending) == 16);

    struct alignas(kCacheLine) Link {
        std::byte* log = nullptr;         // one's own landing area there; null without a tenure
        Proposal proposal = kNoProposal;  // of the tenure
        bool writable = false;            // the tenure has lost no write yet
        std::byte* background = nullptr;  // null unless connected
        Proposal* permission = nullptr;
        std::shared_ptr<Segment> segment;
    };

    [[nodiscard]] Link& link(ReplicaId peer) noexcept;
    void push(Operation operation, ReplicaId peer, std::uint64_t id, Verdict verdict) noexcept;
    void make_room() noexcept;
    void settle() noexcept;
    [[nodiscard]] bool judge_permission(Link& link) noexcept;
    [[nodiscard]] bool judge(Pending const& pending) noexcept;

    std::array<Link, kMaxReplicas> links_;
    std::vector<Pending> pending_;  // [delivered_, settled_) judged, [settled_, posted_) open, the rest is room
    std::size_t delivered_ = 0;
    std::size_t settled_ = 0;
    std::size_t posted_ = 0;
    ShmPeers& peers_;
    SegmentShape shape_;
    std::size_t own_area_;
};

}  // namespace mu
