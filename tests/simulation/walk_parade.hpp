// A cluster that walks in step: everybody in turn, time passes evenly, and every operation lands at once.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <functional>

#include "simulation/cluster.hpp"

namespace mu::simulation {

// Everybody steps in turn, and time passes evenly.
struct Parade : Cluster {
    explicit Parade(std::size_t replicas, Revocation revocation = Revocation::by_area, std::size_t ballast = 0)
        : Cluster({.replicas = replicas,
                   .revocation = revocation,
                   .ballast_bytes = ballast,
                   .settings = quick_settings()}) {}

    void round() {
        now += 5 * kMicrosecond;
        for (ReplicaId id = 1; id <= size(); ++id) {
            if (!alive(id) || frozen[id]) continue;
            replica(id).step_background(now);
            replica(id).step_replication(now, nullptr);
        }
    }
    bool until(std::function<bool()> const& done, int rounds = 2000) {
        for (int i = 0; i < rounds; ++i) {
            if (done()) return true;
            round();
        }
        return done();
    }
    ReplicaId leader() {
        for (ReplicaId id = 1; id <= size(); ++id) {
            if (alive(id) && !frozen[id] && replica(id).replicator().leading()) return id;
        }
        return kNobody;
    }
    // Until the lowest live replica has led for a while and nobody takes anything from anybody.
    void settle() {
        int quiet = 0;
        REQUIRE(until([&] {
            ReplicaId lowest = 1;
            while (lowest < size() && (!alive(lowest) || frozen[lowest]))
                ++lowest;
            quiet = leader() == lowest && replica(lowest).replicator().leading() ? quiet + 1 : 0;
            return quiet > 100;
        }));
    }
    // Proposes the next `count` commands, each decided before the next one.
    void decide(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            REQUIRE(until([&] { return leader() != kNobody && propose(leader(), next) == Outcome::ok; }));
            ++next;
            Replica& offering = replica(leader());
            Offset const end = offering.replicator().tail();
            REQUIRE(until([&] { return offering.replicator().decided() >= end; }));
        }
    }
    bool all_applied() {
        for (ReplicaId id = 1; id <= size(); ++id) {
            if (alive(id) && machine(id).history.size() != next - 1) return false;
        }
        return true;
    }
    bool same_histories() {
        for (ReplicaId id = 1; id <= size(); ++id) {
            for (std::uint64_t i = 0; alive(id) && i + 1 < next; ++i) {
                if (machine(id).history[i] != i + 1) return false;
            }
        }
        return true;
    }

    Nanoseconds now = kSecond;
    std::uint64_t next = 1;
    std::array<bool, kMaxReplicas> frozen{};  // not stepped, though its memory is there
};

}  // namespace mu::simulation
