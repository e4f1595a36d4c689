// What the sim fabric's tests share: a manual world in which everybody is connected, and words to write.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "fabric/sim.hpp"

namespace mu::sim_test {

inline constexpr std::size_t kLogBytes = 1024;
inline constexpr Plane kRep = Plane::replication;

inline SimOptions manual(Revocation revocation = Revocation::by_area) {
    return {.log_bytes = kLogBytes, .background_bytes = 256, .revocation = revocation, .auto_deliver = false};
}

// Keeps [from, to) and remembers what it was shown.
struct TestKeeper final : Keeper {
    Range range;
    Offset verified = ~Offset{0};               // answers this, if it lies before range.to
    std::vector<std::byte> old_ring, new_ring;  // as verify() saw them

    Range keep(std::span<std::byte const>) noexcept override { return range; }
    Offset verify(std::span<std::byte const> log, std::span<std::byte const> copy,
                  Range const& kept) noexcept override {
        old_ring.assign(log.begin(), log.end());
        new_ring.assign(copy.begin(), copy.end());
        return std::min(verified, kept.to);
    }
};

inline std::uint64_t word(std::span<std::byte const> bytes, std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

// Values first, first + 1, … as words. Sources must stay: keep it until its write has completed.
inline std::vector<std::byte> words(std::uint64_t first, std::size_t count) {
    std::vector<std::byte> bytes(count * 8);
    for (std::size_t i = 0; i < count; ++i, ++first)
        std::memcpy(bytes.data() + i * 8, &first, 8);
    return bytes;
}

struct Bench {
    explicit Bench(SimOptions const& options) : world(options) {
        for (ReplicaId from = 1; from <= options.replicas; ++from) {
            for (ReplicaId to = 1; to <= options.replicas; ++to)
                REQUIRE(channel(from).connect(to));
        }
    }

    Channel& channel(ReplicaId replica, Plane plane = kRep) { return world.fabric(replica).channel(plane); }
    QueueId queue(ReplicaId from, ReplicaId to, Plane plane = kRep) { return world.queue_of(from, plane, to); }
    std::span<std::byte const> log(ReplicaId replica) { return world.fabric(replica).log().bytes; }

    // `writer` begins a tenure of `round` at `target`, which grants it.
    Tenure grant(ReplicaId target, ReplicaId writer, std::uint64_t round) {
        Tenure const tenure{writer, world.incarnation(writer), make_proposal(round, writer)};
        channel(writer).begin_tenure(target, tenure, world.fabric(target).permit(tenure, keeper));
        return tenure;
    }
    void write(ReplicaId from, ReplicaId to, Region region, std::uint64_t at, std::vector<std::byte> const& bytes,
               std::uint64_t id = 0) {
        channel(from).write(to, region, at, {.head = bytes}, id);
    }
    // The next completion of a channel; there must be one.
    Completion next(ReplicaId replica, Plane plane = kRep) {
        std::array<Completion, 1> one;
        REQUIRE(channel(replica, plane).poll(one) == 1);
        return one[0];
    }
    bool silent(ReplicaId replica) {
        std::array<Completion, 1> one;
        return channel(replica).poll(one) == 0;
    }

    SimWorld world;
    TestKeeper keeper;
};

// Whether `body`, run in a child process, ends in a broken invariant.
inline bool aborts(std::function<void()> const& body) {
    pid_t const child = fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        (void)!freopen("/dev/null", "w", stderr);
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace mu::sim_test
