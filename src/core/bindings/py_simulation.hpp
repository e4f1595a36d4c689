// A whole cluster in one thread, for Python: mu.testing.SimCluster and `mu sim`.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "simulation/walk.hpp"

namespace mu::bindings {

namespace nb = nanobind;

class PyWalk {
public:
    // `machine`: called for every new life of a replica, gives its state machine; None: commands are numbers only.
    // 0 steps, replicas or log bytes: as the seed says.
    PyWalk(std::uint64_t seed, std::uint64_t steps, std::size_t replicas, std::uint64_t log_bytes, nb::object machine);

    [[nodiscard]] bool run();
    [[nodiscard]] bool storm(std::uint64_t steps);
    [[nodiscard]] bool calm(std::uint64_t rounds);
    [[nodiscard]] bool conclude();

    void crash(ReplicaId id, bool reported) { walk_->crash(known(id), reported); }
    void restart(ReplicaId id) { walk_->restart(known(id)); }
    void cut(ReplicaId from, ReplicaId to) { walk_->cut(known(from), known(to)); }
    void heal(ReplicaId from, ReplicaId to) { walk_->heal(known(from), known(to)); }
    void heal_everything() { walk_->heal_everything(); }
    void freeze(ReplicaId id, bool frozen) { walk_->freeze(known(id), frozen); }
    void pause(ReplicaId id, bool paused) { walk_->pause(known(id), paused); }

    // The command's number; 0: nothing was proposed, why() says why.
    [[nodiscard]] std::uint64_t propose(ReplicaId id, nb::bytes command);
    [[nodiscard]] std::string const& why() const noexcept { return why_; }
    void propose_in_storms(nb::bytes command);
    [[nodiscard]] std::string fate(std::uint64_t number) const;
    // (whether it was applied, its reply) once `id` has executed it.
    [[nodiscard]] nb::object reply(ReplicaId id, std::uint64_t number);
    // True: read now. False: not here. None: ask again.
    [[nodiscard]] nb::object read(ReplicaId id);

    [[nodiscard]] ReplicaId leader() const { return walk_->leader(); }
    [[nodiscard]] bool alive(ReplicaId id) { return walk_->cluster().alive(known(id)); }
    [[nodiscard]] nb::object machine(ReplicaId id) { return machines_[known(id)]; }
    [[nodiscard]] nb::dict replica(ReplicaId id);
    [[nodiscard]] nb::dict report();

private:
    [[nodiscard]] ReplicaId known(ReplicaId id) const;
    template <class Function>
    bool walking(Function function);

    std::array<nb::object, kMaxReplicas> machines_;
    std::unique_ptr<simulation::Walk> walk_;
    bool python_inside_ = false;
    std::string why_;
};

void bind_simulation(nb::module_& module);

}  // namespace mu::bindings
