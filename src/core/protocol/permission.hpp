// The acceptor's side of permissions (paper, section 4.2): who may write one's own log.
//
// The promise is part of the grant: the permission word only grows, and granting p to one tenure is refusing every
// lower proposal for ever. (The paper's separate min_proposal is folded into the word.) A refusal returns the word, so
// the refused leader knows what it is up against. A live writer keeps the log for a minimum time: otherwise two
// replicas that cannot hear each other would take it from one another in turn and nobody would decide anything.
//
// Both planes come here: the background plane to answer peers, the replication plane to grant its own log to itself at
// one of its step boundaries. They take turns by trying, never by waiting.
#pragma once

#include <array>
#include <atomic>
#include <optional>

#include "fabric/fabric.hpp"
#include "log.hpp"
#include "protocol/regions.hpp"
#include "protocol/settings.hpp"

namespace mu {

class Permission final : private Keeper {
public:
    Permission(Fabric& fabric, LogFormat const& format, Settings const& settings, Shared& shared,
               Incarnation incarnation) noexcept;

    // Background plane: answers the requests that peers have left.
    void step(Nanoseconds now) noexcept;

    // Replication plane: one's own request. Nothing: not now, ask again at the next step.
    [[nodiscard]] std::optional<Grant> grant_self(Request const& request, Nanoseconds now) noexcept;

    // Replication plane of a replica that has been brought up by tenure `leader`: promise what its earlier
    // incarnation may have promised, then vote. False: not now.
    [[nodiscard]] bool admit(Tenure const& leader) noexcept;

private:
    class Turn;

    [[nodiscard]] std::optional<Grant> decide(ReplicaId requester, Request const& request, Nanoseconds now) noexcept;
    [[nodiscard]] bool writer_keeps(ReplicaId requester, Nanoseconds now) const noexcept;
    [[nodiscard]] Grant refuse(Request const& request) const noexcept;
    [[nodiscard]] Grant accept(ReplicaId requester, Request const& request, Nanoseconds now) noexcept;
    void answer(ReplicaId requester, Grant const& grant) noexcept;
    [[nodiscard]] Position applied() const noexcept;

    [[nodiscard]] Range keep(std::span<std::byte const> log) noexcept override;
    [[nodiscard]] Offset verify(std::span<std::byte const> log, std::span<std::byte const> copy,
                                Range const& range) noexcept override;

    Fabric& fabric_;
    LogFormat const& format_;
    Settings const& settings_;
    Shared& shared_;
    Incarnation incarnation_;
    BackgroundRegion& region_;
    std::atomic_flag turn_;
    std::array<Request, kMaxReplicas> answered_{};
    std::array<Checked<Grant>, kMaxReplicas> outgoing_{};  // must outlive the write
    Tenure holder_;                                        // to whom the permission word was granted
    Nanoseconds granted_at_ = 0;
};

}  // namespace mu
