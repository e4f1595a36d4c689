// What a person may know about a replica: read without stopping it, each value by itself up to date.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <algorithm>

#include "bindings/py_node.hpp"

namespace mu::bindings {
namespace {

char const* role_of(Replica const& replica) noexcept {
    if (replica.forming()) {
        return replica.cluster_exists() ? "joining" : "forming";
    }
    switch (replica.replicator().stage()) {
        case Replicator::Stage::follower:
            return "follower";
        case Replicator::Stage::leading:
            return "leader";
        case Replicator::Stage::requesting:
        case Replicator::Stage::adopting:
        case Replicator::Stage::sealing:
            return "candidate";
    }
    return "follower";
}

}  // namespace

nb::dict PyNode::status() {
    check_not_inside();
    check_not_copy();
    {
        nb::gil_scoped_release const release;
        node_->hold();  // so that all values are of one moment
    }
    Latencies::Quantiles const latencies = node_->latencies().quantiles();
    Replica const& replica = node_->replica();
    Replicator const& replicator = replica.replicator();
    Shared const& shared = replica.shared();
    Settings const& settings = replica.settings();
    nb::dict scores;
    nb::list alive;
    for (ReplicaId const member : settings.members) {
        if (member != settings.self) {
            scores[nb::int_(member)] = shared.scores[member].load(std::memory_order_relaxed);
        }
        if (member == settings.self || shared.is_alive(member)) {
            alive.append(member);
        }
    }
    nb::dict status;
    status["replica_id"] = settings.self;
    status["incarnation"] = replica.incarnation();
    status["role"] = role_of(replica);
    status["leader"] = shared.leader.load(std::memory_order_acquire);
    status["proposal"] = replicator.proposal();
    status["applied"] = replica.executor().applied().offset;
    status["fuo"] = std::max(replica.replayer().decided(), replica.executor().applied().offset);
    status["decided"] = replicator.decided();
    status["chain_end"] = replicator.leading() ? replicator.tail() : replica.replayer().chain_end();
    status["log_bytes"] = node_->format().ring_bytes();
    status["max_command"] = node_->max_command();
    status["admitted"] = !replica.forming();
    status["eligible"] = shared.eligible.load(std::memory_order_acquire);
    status["paused"] = shared.paused.load(std::memory_order_acquire);
    status["scores"] = scores;
    status["alive"] = alive;
    status["confirmed"] = std::vector<ReplicaId>(replicator.writers().begin(), replicator.writers().end());
    status["members"] = settings.members;
    status["takeovers"] = replicator.takeovers();
    status["aborts"] = replicator.aborts();
    status["commands_applied"] = replica.executor().commands();
    status["digest"] = native_machine_.digest();
    status["takeover_began_ns"] = replicator.takeover_began();
    status["took_over_us"] = static_cast<double>(replicator.took_over_in()) / 1000.0;
    status["propose_p50_ns"] = latencies.p50;
    status["propose_p99_ns"] = latencies.p99;
    status["failure"] = node_->failure();
    status["pid"] = static_cast<std::int64_t>(getpid());
    node_->let_go();
    return status;
}

}  // namespace mu::bindings
