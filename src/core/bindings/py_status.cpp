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

// What is of the plane. Copied while that is held, without Python: making its objects may collect others, and what runs
// at their end may ask a replica.
struct Moment {
    char const* role = "";
    Proposal proposal = kNoProposal;
    Offset applied = 0;
    Offset fuo = 0;
    Offset decided = 0;
    Offset chain_end = 0;
    bool admitted = false;
    std::vector<ReplicaId> confirmed;
    std::uint64_t takeovers = 0;
    std::uint64_t aborts = 0;
    std::uint64_t commands = 0;
    std::uint64_t digest = 0;
    Nanoseconds takeover_began = 0;
    Nanoseconds took_over_in = 0;
    Latencies::Quantiles latencies;
};

Moment moment_of(Node& node, NativeMachine const& machine) {
    Replica const& replica = node.replica();
    Replicator const& replicator = replica.replicator();
    Moment moment;
    moment.role = role_of(replica);
    moment.proposal = replicator.proposal();
    moment.applied = replica.executor().applied().offset;
    moment.fuo = std::max(replica.replayer().decided(), moment.applied);
    moment.decided = replicator.decided();
    moment.chain_end = replicator.leading() ? replicator.tail() : replica.replayer().chain_end();
    moment.admitted = !replica.forming();
    moment.confirmed.assign(replicator.writers().begin(), replicator.writers().end());
    moment.takeovers = replicator.takeovers();
    moment.aborts = replicator.aborts();
    moment.commands = replica.executor().commands();
    moment.digest = machine.digest();
    moment.takeover_began = replicator.takeover_began();
    moment.took_over_in = replicator.took_over_in();
    moment.latencies = node.latencies().quantiles();
    return moment;
}

}  // namespace

nb::dict PyNode::status() {
    check_not_inside();
    check_not_copy();
    Moment moment;
    {
        nb::gil_scoped_release const release;
        node_->hold();
        LetGo const end{*node_};
        moment = moment_of(*node_, native_machine_);
    }
    Replica const& replica = node_->replica();
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
    status["role"] = moment.role;
    status["leader"] = shared.leader.load(std::memory_order_acquire);
    status["proposal"] = moment.proposal;
    status["applied"] = moment.applied;
    status["fuo"] = moment.fuo;
    status["decided"] = moment.decided;
    status["chain_end"] = moment.chain_end;
    status["log_bytes"] = node_->format().ring_bytes();
    status["max_command"] = node_->max_command();
    status["admitted"] = moment.admitted;
    status["eligible"] = shared.eligible.load(std::memory_order_acquire);
    status["paused"] = shared.paused.load(std::memory_order_acquire);
    status["scores"] = scores;
    status["alive"] = alive;
    status["confirmed"] = moment.confirmed;
    status["members"] = settings.members;
    status["takeovers"] = moment.takeovers;
    status["aborts"] = moment.aborts;
    status["commands_applied"] = moment.commands;
    status["digest"] = moment.digest;
    status["takeover_began_ns"] = moment.takeover_began;
    status["took_over_us"] = static_cast<double>(moment.took_over_in) / 1000.0;
    status["propose_p50_ns"] = moment.latencies.p50;
    status["propose_p99_ns"] = moment.latencies.p99;
    status["failure"] = node_->failure();
    status["pid"] = static_cast<std::int64_t>(getpid());
    return status;
}

}  // namespace mu::bindings
