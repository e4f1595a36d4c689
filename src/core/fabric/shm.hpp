// The shm fabric: replicas on one machine that share memory.
//
// Nothing stops a stopped process from finishing its store later, so stores must land where that does no harm: every
// member has a *landing area* of its own in every log, and only one of them is *live*. permit(t) makes the area of
// t's replica live, carrying the kept part of the old one over. What a deposed writer still stores lands in an area
// that nobody looks at.
//
//     writer                                   permitter
//     store the bytes into its area            permission word := p
//     seq_cst fence                            seq_cst fence
//     load the permission word:                copy what must be kept into p's area, write an end mark
//       success only if it is its own p        live := p    (release), then the grant is published
//
// Because both fence, either the permitter's copy has the bytes or the writer finds another word.
//
// Why an area may be used again: one's area is made live again only for a tenure whose request was posted by the
// storing thread itself, after its last store of earlier tenures; or for a later incarnation of that replica, whose
// existence proves that every thread of the earlier one has left its memory: it holds the lock file that the kernel
// took from the earlier one only when its last thread had gone (segment_lock.hpp). A restarted owner has a new segment.
//
// Invariant: between two changes of `live`, only the replica that `live` names stores into the live area.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fabric/endpoint.hpp"
#include "fabric/shm_channel.hpp"

namespace mu {

// Not to be used in a child of fork(): the mappings stay with the parent.
class ShmFabric final : public Endpoint {
public:
    // Returns with its own segment in place; peers are found as they come. Throws FabricError.
    explicit ShmFabric(EndpointOptions const& options);
    ~ShmFabric() override;
    ShmFabric(ShmFabric const&) = delete;
    ShmFabric& operator=(ShmFabric const&) = delete;

    [[nodiscard]] ShmChannel& channel(Plane plane) noexcept override;

    [[nodiscard]] std::span<std::byte> background() noexcept override;
    [[nodiscard]] LogView log() noexcept override;
    [[nodiscard]] bool same_log(LogView const& view) noexcept override;
    [[nodiscard]] std::span<std::byte const> own_log() noexcept override;

    [[nodiscard]] Proposal permission() const noexcept override;
    [[nodiscard]] std::uint64_t permit(Tenure const& tenure, Keeper& keeper) noexcept override;

    [[nodiscard]] PeerState peer(ReplicaId peer) noexcept override;
    [[nodiscard]] bool is_runnable(ReplicaId peer) noexcept override;

    void works_on(int processor) noexcept override;
    [[nodiscard]] int processor_of(ReplicaId peer) noexcept override;
    [[nodiscard]] bool ordered_writes() const noexcept override { return true; }

    [[nodiscard]] Incarnation incarnation() const noexcept override;
    [[nodiscard]] std::uint32_t ticket(Plane plane) noexcept override;
    void wait(Plane plane, std::uint32_t ticket, Nanoseconds timeout) noexcept override;
    [[nodiscard]] std::string lost() const override;
    void refuse_strangers() const override;
    [[nodiscard]] std::string notice() const override;
    [[nodiscard]] std::string peer_problem(ReplicaId peer) const override;
    void leave() noexcept override;
    void abandon() noexcept override;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

// Segments and lock files of runs that have ended without taking their leave.
struct StaleSegment {
    std::string cluster;
    ReplicaId replica = kNobody;
    std::int32_t pid = 0;     // of the dead run; 0 if unknown
    std::uint64_t bytes = 0;  // that removing it frees
};
[[nodiscard]] std::vector<StaleSegment> stale_segments(std::string const& directory);
// Removes those of `cluster`, or of all clusters; says what it removed. Never touches one whose lock is held.
std::vector<StaleSegment> clean(std::string const& directory, std::optional<std::string> const& cluster);

}  // namespace mu
