// Whether a majority's logs have held what a replica executes: the truth that none may execute beyond.
//
// It is read from the logs themselves. What leaders count is no help here: it is their claim that is to be judged, and
// they forget it when their tenure ends. A log loses a chain with its life, or in a grant what its replica has executed
// meanwhile, or because it was never chosen. So it is enough to look when somebody executes what nobody had executed
// before, and at whoever is about to die or to grant.
//
// It errs on the side of the replicas: slots that a later tenure has copied count like those that were accepted under
// their own proposal, and what a replica has held counts beside what it holds.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "simulation/cluster.hpp"

namespace mu::simulation {

class Held {
public:
    // Up to here everything has been executed by somebody, who was right to do so.
    [[nodiscard]] Offset executed() const noexcept { return executed_.offset; }
    // Somebody has executed up to `applied`, beyond executed(): whether a majority has held the chain that ends there.
    [[nodiscard]] bool by_majority(Cluster const& cluster, Position const& applied);
    // The log of `id` is about to change hands, or to go.
    void remember(Cluster const& cluster, ReplicaId id);

private:
    [[nodiscard]] bool holds(Cluster const& cluster, ReplicaId id, Position const& applied);
    // The ends of the slots that the log of `id` holds from executed_ on; in chain_.
    void read_chain(Cluster const& cluster, ReplicaId id);

    Position executed_;
    std::array<std::vector<Position>, kMaxReplicas> remembered_;  // of chains beyond executed_
    std::vector<Position> chain_;                                 // reused
};

}  // namespace mu::simulation
