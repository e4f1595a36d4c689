// First formation: how a cluster that never was comes to be, and how one that has been is never invented again.
//
// In two phases. Each replica, once it sees every member, publishes *prepared(digest of all incarnations)*. It *forms*
// only on seeing all members prepared with the same digest; that vector is the log's first record. If a member
// restarts in between, the vector it was part of must first be declared *abandoned, unformed* by a majority of that
// vector's own incarnations: those will never form it, so whoever did form it can never reach a majority; only then
// may another vector be prepared. A replica that meets a formed one waits to be brought up instead.
#pragma once

#include "fabric/fabric.hpp"
#include "protocol/peers.hpp"
#include "protocol/settings.hpp"

namespace mu {

class Formation {
public:
    Formation(Fabric& fabric, PeerReader& peers, Settings const& settings, Shared& shared,
              Incarnation incarnation) noexcept;

    void step() noexcept;
    // Some member is formed already: this replica has to be brought up by its leader.
    [[nodiscard]] bool cluster_exists() const noexcept { return cluster_exists_; }

private:
    [[nodiscard]] bool see_everybody(Incarnations& vector) const noexcept;
    [[nodiscard]] bool prepared_by_all() const noexcept;
    [[nodiscard]] bool abandoned_by_majority() const noexcept;
    [[nodiscard]] std::uint64_t order_of(Incarnations const& vector) const noexcept;
    [[nodiscard]] std::uint64_t digest_of(Incarnations const& vector) const noexcept;
    void prepare(Incarnations const& vector) noexcept;
    void form() noexcept;

    Fabric& fabric_;
    PeerReader& peers_;
    Settings const& settings_;
    Shared& shared_;
    Incarnation incarnation_;
    OwnCells& own_;
    Incarnations prepared_vector_{};
    std::uint64_t prepared_ = 0;
    bool cluster_exists_ = false;
};

}  // namespace mu
