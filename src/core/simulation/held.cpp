#include "simulation/held.hpp"

#include <algorithm>
#include <optional>

namespace mu::simulation {

namespace {

bool among(std::vector<Position> const& chain, Position const& at) noexcept {
    return std::find(chain.begin(), chain.end(), at) != chain.end();
}

}  // namespace

bool Held::by_majority(Cluster const& cluster, Position const& applied) {
    std::size_t holders = 0;
    for (ReplicaId id = 1; id <= cluster.size(); ++id)
        holders += holds(cluster, id, applied) ? 1 : 0;
    if (holders < majority_of(cluster.size())) return false;
    executed_ = applied;
    for (std::vector<Position>& ends : remembered_)
        std::erase_if(ends, [&](Position const& at) { return at.offset <= executed_.offset; });
    return true;
}

bool Held::holds(Cluster const& cluster, ReplicaId id, Position const& applied) {
    if (among(remembered_[id], applied)) return true;
    if (!cluster.alive(id)) return false;
    read_chain(cluster, id);
    return among(chain_, applied);
}

void Held::read_chain(Cluster const& cluster, ReplicaId id) {
    chain_.clear();
    std::span<std::byte const> const ring = cluster.world.fabric(id).memory().log().bytes;
    Position at = executed_;
    while (at.offset - executed_.offset < cluster.format.ring_bytes()) {
        std::optional<Slot> const slot = cluster.format.parse(ring, at);
        if (!slot) return;
        at = slot->after();
        chain_.push_back(at);
    }
}

void Held::remember(Cluster const& cluster, ReplicaId id) {
    read_chain(cluster, id);
    for (Position const& at : chain_) {
        if (!among(remembered_[id], at)) remembered_[id].push_back(at);
    }
}

}  // namespace mu::simulation
