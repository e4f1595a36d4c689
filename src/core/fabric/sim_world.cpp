// Who lives, who sees whom, who is cut off from whom; and what is pending, in words.
#include <string>
#include <utility>

#include "common/assert.hpp"
#include "fabric/sim.hpp"

namespace mu {

namespace {

char const* name_of(Plane plane) noexcept {
    switch (plane) {
        case Plane::replication:
            return "replication";
        case Plane::background:
            return "background";
        case Plane::learner:
            return "learner";
    }
    return "?";
}

char const* name_of(Operation operation) noexcept {
    switch (operation) {
        case Operation::write:
            return "write";
        case Operation::read:
            return "read";
        case Operation::confirm:
            return "confirm";
    }
    return "?";
}

}  // namespace

std::string describe(SimRoute const& route, SimOperation const& operation) {
    std::string line = std::to_string(route.writer) + "#" + std::to_string(route.writer_incarnation);
    line.append(" ").append(name_of(route.plane)).append(" -> ").append(std::to_string(route.target));
    line.append("#").append(std::to_string(operation.target_incarnation));
    line.append(": ").append(name_of(operation.kind));
    if (operation.kind != Operation::confirm) {
        line.append(operation.region == Region::log ? " log" : " background");
        line.append(" at ").append(std::to_string(operation.at));
        line.append(", ").append(std::to_string(operation.length)).append(" bytes");
    }
    if (operation.tenure.proposal != kNoProposal) {
        line.append(", tenure ").append(std::to_string(round_of(operation.tenure.proposal)));
        line.append(".").append(std::to_string(proposer_of(operation.tenure.proposal)));
    }
    line.append(", id ").append(std::to_string(operation.id));
    if (operation.landed > 0) {
        line.append(", ").append(std::to_string(operation.landed)).append(" of ");
        line.append(std::to_string(operation.words())).append(" words landed");
    }
    return line;
}

SimWorld::SimWorld(SimOptions const& options) : options_(options) {
    MU_ASSERT(options_.replicas >= 1 && options_.replicas <= kMaxReplicaId);
    for (ReplicaId replica = 1; replica <= options_.replicas; ++replica)
        begin_life(replica);
}

void SimWorld::begin_life(ReplicaId replica) {
    Incarnation const incarnation = ++last_incarnation_;  // no two lives share one, whosever they are
    QueueId const first = new_queues(replica, incarnation);
    fabrics_[replica] = std::make_unique<SimFabric>(*this, replica, incarnation, first);
    if (!options_.auto_discover) return;
    for (ReplicaId other = 1; other <= options_.replicas; ++other) {
        if (other == replica || fabrics_[other] == nullptr) continue;  // the world is just being made
        discover(other, replica);
        discover(replica, other);
    }
}

QueueId SimWorld::new_queues(ReplicaId writer, Incarnation incarnation) {
    auto first = static_cast<QueueId>(queues_.size());
    for (QueueId& retired : retired_) {
        if (!all_empty(retired)) continue;
        first = retired;
        retired = retired_.back();
        retired_.pop_back();
        break;
    }
    if (first == queues_.size()) queues_.resize(queues_.size() + queues_per_life());
    for (std::size_t i = 0; i < queues_per_life(); ++i) {
        auto const plane = static_cast<Plane>(i / (options_.replicas + 1));
        auto const target = static_cast<ReplicaId>(i % (options_.replicas + 1));
        queues_[first + i].begin({writer, incarnation, plane, target});
    }
    return first;
}

bool SimWorld::all_empty(QueueId first) const noexcept {
    for (std::size_t i = 0; i < queues_per_life(); ++i) {
        if (!queues_[first + i].empty()) return false;
    }
    return true;
}

SimFabric& SimWorld::fabric(ReplicaId replica) noexcept {
    MU_ASSERT(replica != kNobody && replica <= options_.replicas);
    return *fabrics_[replica];
}

SimFabric const& SimWorld::fabric(ReplicaId replica) const noexcept {
    MU_ASSERT(replica != kNobody && replica <= options_.replicas);
    return *fabrics_[replica];
}

SimFabric* SimWorld::life(ReplicaId replica, Incarnation incarnation) noexcept {
    SimFabric* const fabric = fabrics_[replica].get();
    return fabric->alive() && fabric->incarnation() == incarnation ? fabric : nullptr;
}

QueueId SimWorld::queue_of(ReplicaId writer, Plane plane, ReplicaId target) const noexcept {
    MU_ASSERT(target != kNobody && target <= options_.replicas);
    auto const channel = static_cast<std::size_t>(plane) * (options_.replicas + 1);
    return fabric(writer).first_queue() + static_cast<QueueId>(channel) + target;
}

bool SimWorld::can_land(QueueId queue) const noexcept {
    SimQueue const& candidate = queues_[queue];
    return !candidate.empty() && !cut_[candidate.route().writer][candidate.route().target];
}

std::size_t SimWorld::words_left(QueueId queue) const noexcept {
    SimOperation const& front = queues_[queue].front();
    return front.words() - front.landed;
}

bool SimWorld::orphaned(QueueId queue) const noexcept {
    SimRoute const& route = queues_[queue].route();
    return !alive(route.writer) || incarnation(route.writer) != route.writer_incarnation;
}

std::string SimWorld::describe(QueueId queue) const {
    return mu::describe(queues_[queue].route(), queues_[queue].front());
}

std::vector<std::string> SimWorld::describe_pending() const {
    std::vector<std::string> lines;
    for (QueueId const id : ready_) {
        SimQueue const& queue = queues_[id];
        for (std::size_t i = 0; i < queue.size(); ++i)
            lines.push_back(mu::describe(queue.route(), queue.at(i)));
    }
    return lines;
}

void SimWorld::auto_deliver(bool on) {
    options_.auto_deliver = on;
    if (on) deliver_all();
}

void SimWorld::coalesce_completions(ReplicaId replica, Plane plane) noexcept {
    fabric(replica).sim_channel(plane).coalesce_completions();
}

void SimWorld::drop_completions(ReplicaId replica, Plane plane) noexcept {
    fabric(replica).sim_channel(plane).drop_completions();
}

void SimWorld::crash(ReplicaId replica) {
    SimFabric& ended = fabric(replica);
    MU_ASSERT(ended.alive());
    ended.alive_ = false;
}

std::size_t SimWorld::lose_orphans(ReplicaId replica) {
    std::size_t lost = 0;
    for (std::size_t i = 0; i < ready_.size();) {
        QueueId const queue = ready_[i];
        if (queues_[queue].route().writer != replica || !orphaned(queue)) {
            ++i;
            continue;
        }
        for (; !queues_[queue].empty(); ++lost)
            remove_front(queue);  // another queue moves to place i
    }
    return lost;
}

SimFabric& SimWorld::restart(ReplicaId replica) {
    MU_ASSERT(!alive(replica));
    retired_.push_back(fabric(replica).first_queue());
    begin_life(replica);
    return fabric(replica);
}

void SimWorld::discover(ReplicaId observer, ReplicaId replica) noexcept {
    PeerState& seen = fabric(observer).peers_[replica];
    if (seen.incarnation == incarnation(replica)) return;  // and a report that it has ended stays true
    seen = {incarnation(replica), false};
}

void SimWorld::vouch_runnable(ReplicaId replica, bool runnable) noexcept {
    std::uint32_t const bit = 1U << replica;
    runnable_ = runnable ? runnable_ | bit : runnable_ & ~bit;
}

void SimWorld::report_gone(ReplicaId observer, ReplicaId replica) noexcept {
    MU_ASSERT(observer != replica);
    PeerState& seen = fabric(observer).peers_[replica];
    MU_ASSERT(life(replica, seen.incarnation) == nullptr);  // the fabric vouches for it
    seen.gone = seen.incarnation != 0;
}

void SimWorld::report_gone(ReplicaId replica) noexcept {
    for (ReplicaId observer = 1; observer <= options_.replicas; ++observer) {
        if (observer == replica) continue;
        if (life(replica, fabric(observer).peers_[replica].incarnation) == nullptr) report_gone(observer, replica);
    }
}

void SimWorld::cut(ReplicaId from, ReplicaId to) noexcept {
    MU_ASSERT(from != to);  // nobody is cut off from himself
    MU_ASSERT(from != kNobody && from <= options_.replicas && to != kNobody && to <= options_.replicas);
    cut_[from][to] = true;
}

void SimWorld::heal(ReplicaId from, ReplicaId to) {
    MU_ASSERT(from <= kMaxReplicaId && to <= kMaxReplicaId);
    cut_[from][to] = false;
    if (options_.auto_deliver) deliver_all();
}

bool SimWorld::connect(QueueId queue) noexcept {
    SimRoute const& route = queues_[queue].route();
    SimFabric* const writer = life(route.writer, route.writer_incarnation);
    MU_ASSERT(writer != nullptr);
    PeerState const& seen = writer->peers_[route.target];
    bool const reachable =
        !seen.gone && !cut_[route.writer][route.target] && life(route.target, seen.incarnation) != nullptr;
    if (reachable) queues_[queue].connect(seen.incarnation);
    return reachable;
}

void SimWorld::ring(ReplicaId target, Plane plane) noexcept {
    fabric(target).rung_[static_cast<std::size_t>(plane)] = true;
}

bool SimWorld::take_ring(ReplicaId replica, Plane plane) noexcept {
    return std::exchange(fabric(replica).rung_[static_cast<std::size_t>(plane)], false);
}

}  // namespace mu
