#include "bindings/py_simulation.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <csignal>
#include <cstdio>

#include "bindings/py_machine.hpp"

namespace mu::bindings {

using namespace nb::literals;
using simulation::Walk;
using simulation::WalkPlan;

namespace {

Walk* g_walking = nullptr;

// A broken invariant of a replica ends the process: say first which walk led there.
void on_abort(int) {
    if (g_walking != nullptr) {
        std::fprintf(stderr, "%s%sa replica lost an invariant after %llu steps; again: %s\n",
                     g_walking->transcript().c_str(), g_walking->state().c_str(),
                     static_cast<unsigned long long>(g_walking->steps()), g_walking->reproduction().c_str());
    }
    std::signal(SIGABRT, SIG_DFL);
    std::raise(SIGABRT);
}

char const* name_of(Outcome outcome) noexcept {
    switch (outcome) {
        case Outcome::ok:
            return "ok";
        case Outcome::not_leader:
            return "not_leader";
        case Outcome::no_majority:
            return "no_majority";
        case Outcome::no_room:
            return "no_room";
        case Outcome::too_large:
            return "too_large";
        case Outcome::busy:
            return "busy";
        case Outcome::no_memory:
            return "no_memory";
        case Outcome::indeterminate:
            return "indeterminate";
    }
    return "unknown";
}

std::span<std::byte const> view(nb::bytes const& bytes) noexcept {
    return {reinterpret_cast<std::byte const*>(bytes.c_str()), bytes.size()};
}

}  // namespace

PyWalk::PyWalk(std::uint64_t seed, std::uint64_t steps, std::size_t replicas, std::uint64_t log_bytes,
               nb::object machine)
    : python_inside_(!machine.is_none()) {
    if (replicas >= kMaxReplicas) {
        throw nb::value_error("a simulated cluster has at most 15 replicas");
    }
    WalkPlan plan = WalkPlan::of(seed, steps, replicas);
    if (log_bytes != 0) plan.cluster.log_bytes = log_bytes;
    if (python_inside_) {
        // Whose state machine it is wants to see a cluster that can always recover, and does.
        plan.keeps_majority = true;
        plan.cluster.ballast_bytes = 0;
        plan.cluster.settings.commit_idle_after = simulation::quick_settings().commit_idle_after;
        plan.cluster.machine = [this, machine](ReplicaId id) -> std::unique_ptr<StateMachine> {
            machines_[id] = machine();
            return std::make_unique<PyMachine>(machines_[id], PyMachine::FailedSnapshot::throws);
        };
    }
    walk_ = std::make_unique<Walk>(plan);
}

ReplicaId PyWalk::known(ReplicaId id) const {
    if (id == kNobody || id > walk_->cluster().size()) {
        throw nb::index_error(("there is no replica " + std::to_string(id) + " in this simulation").c_str());
    }
    return id;
}

template <class Function>
bool PyWalk::walking(Function function) {
    g_walking = walk_.get();
    auto* const before = std::signal(SIGABRT, on_abort);
    bool sound = false;
    try {
        if (python_inside_) {
            sound = function();
        } else {
            nb::gil_scoped_release const released;
            sound = function();
        }
    } catch (...) {
        std::signal(SIGABRT, before);
        g_walking = nullptr;
        throw;
    }
    std::signal(SIGABRT, before);
    g_walking = nullptr;
    return sound;
}

bool PyWalk::run() {
    return walking([&] { return walk_->run(); });
}
bool PyWalk::storm(std::uint64_t steps) {
    return walking([&] { return walk_->storm(steps); });
}
bool PyWalk::calm(std::uint64_t rounds) {
    return walking([&] { return walk_->calm(rounds); });
}
bool PyWalk::conclude() {
    return walking([&] { return walk_->conclude(); });
}

std::uint64_t PyWalk::propose(ReplicaId id, nb::bytes command) {
    Walk::Proposed proposed;
    walking([&] {
        proposed = walk_->propose(known(id), view(command));
        return true;
    });
    why_ = name_of(proposed.outcome);
    return proposed.number;
}

void PyWalk::propose_in_storms(nb::bytes command) {
    std::span<std::byte const> const bytes = view(command);
    walk_->propose_in_storms(OwnedBytes(bytes.begin(), bytes.end()));
}

std::string PyWalk::fate(std::uint64_t number) const {
    switch (walk_->fate(number)) {
        case Walk::Fate::open:
            return "open";
        case Walk::Fate::acknowledged:
            return "acknowledged";
        case Walk::Fate::indeterminate:
            break;
    }
    return "indeterminate";
}

nb::object PyWalk::reply(ReplicaId id, std::uint64_t number) {
    if (!alive(id)) return nb::none();
    auto const& replies = walk_->cluster().machine(id).replies;
    auto const found = replies.find(number);
    if (found == replies.end()) return nb::none();
    OwnedBytes const& bytes = found->second.bytes;
    return nb::make_tuple(found->second.applied, nb::bytes(reinterpret_cast<char const*>(bytes.data()), bytes.size()));
}

nb::object PyWalk::read(ReplicaId id) {
    std::optional<Outcome> outcome;
    walking([&] {
        outcome = walk_->read(known(id));
        return true;
    });
    return outcome ? nb::cast(*outcome == Outcome::ok) : nb::none();
}

nb::dict PyWalk::replica(ReplicaId id) {
    nb::dict values;
    values["replica_id"] = known(id);
    values["alive"] = alive(id);
    if (!alive(id)) return values;
    Replica const& replica = walk_->cluster().replica(id);
    values["incarnation"] = replica.incarnation();
    values["leads"] = replica.replicator().leading();
    values["applied"] = replica.executor().applied().offset;
    values["decided"] = replica.replicator().decided();
    values["joined"] = replica.shared().joined.load();
    values["executed"] = walk_->cluster().machine(id).history.size();
    return values;
}

nb::dict PyWalk::report() {
    nb::dict values;
    values["steps"] = walk_->steps();
    values["planned_steps"] = walk_->planned_steps();
    values["failure"] = walk_->failure();
    values["replicas"] = walk_->cluster().size();
    values["acknowledged"] = walk_->judge().acknowledged();
    values["reads"] = walk_->judge().reads();
    values["digest"] = walk_->digest();
    values["transcript"] = walk_->transcript();
    values["state"] = walk_->state();
    values["statistics"] = walk_->statistics();
    values["reproduction"] = walk_->reproduction();
    return values;
}

void bind_simulation(nb::module_& module) {
    nb::class_<PyWalk>(module, "Walk")
        .def(nb::init<std::uint64_t, std::uint64_t, std::size_t, std::uint64_t, nb::object>(), nb::kw_only(), "seed"_a,
             "steps"_a, "replicas"_a, "log_bytes"_a, "state_machine"_a.none())
        .def("run", &PyWalk::run)
        .def("storm", &PyWalk::storm, "steps"_a)
        .def("calm", &PyWalk::calm, "rounds"_a)
        .def("conclude", &PyWalk::conclude)
        .def("crash", &PyWalk::crash, "replica_id"_a, "reported"_a)
        .def("restart", &PyWalk::restart, "replica_id"_a)
        .def("cut", &PyWalk::cut, "sender"_a, "receiver"_a)
        .def("heal", &PyWalk::heal, "sender"_a, "receiver"_a)
        .def("heal_everything", &PyWalk::heal_everything)
        .def("freeze", &PyWalk::freeze, "replica_id"_a, "frozen"_a)
        .def("pause", &PyWalk::pause, "replica_id"_a, "paused"_a)
        .def("propose", &PyWalk::propose, "replica_id"_a, "command"_a)
        .def("why", &PyWalk::why)
        .def("propose_in_storms", &PyWalk::propose_in_storms, "command"_a)
        .def("fate", &PyWalk::fate, "number"_a)
        .def("reply", &PyWalk::reply, "replica_id"_a, "number"_a)
        .def("read", &PyWalk::read, "replica_id"_a)
        .def("leader", &PyWalk::leader)
        .def("alive", &PyWalk::alive, "replica_id"_a)
        .def("machine", &PyWalk::machine, "replica_id"_a)
        .def("replica", &PyWalk::replica, "replica_id"_a)
        .def("report", &PyWalk::report);
}

}  // namespace mu::bindings
