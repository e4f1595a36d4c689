// What the contract suite needs of a fabric: a small cluster of endpoints that can be crashed and restarted.
//
// A fabric joins the suite by implementing FabricWorld with a constructor that takes the number of replicas, and by
// adding its type to the worlds of a file that includes contract.hpp.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "common/ordered_copy.hpp"
#include "fabric/fabric.hpp"

namespace mu::test {

inline constexpr std::size_t kRingBytes = 4096;        // of every world's logs
inline constexpr std::size_t kBackgroundBytes = 4096;  // of every world's background regions

class FabricWorld {
public:
    virtual ~FabricWorld() = default;

    // The present life of a replica; its last one between crash and restart is not to be used.
    [[nodiscard]] virtual Fabric& endpoint(ReplicaId replica) = 0;
    [[nodiscard]] virtual Incarnation incarnation(ReplicaId replica) const = 0;
    virtual void crash(ReplicaId replica) = 0;
    virtual void restart(ReplicaId replica) = 0;
    // Lets what is under way travel: operations, discoveries, news of a death. Called again and again.
    virtual void deliver() = 0;
};

// A bound on how often a test looks again before it says that something never happens.
inline constexpr int kPatience = 100'000;

template <class Predicate>
[[nodiscard]] bool eventually(FabricWorld& world, Predicate const& holds) {
    for (int i = 0; i < kPatience; ++i) {
        if (holds()) return true;
        world.deliver();
    }
    return false;
}

// Keeps the whole ring.
class KeepAll final : public Keeper {
public:
    Range keep(std::span<std::byte const> log) noexcept override { return {0, log.size()}; }
    Offset verify(std::span<std::byte const>, std::span<std::byte const>, Range const& range) noexcept override {
        return range.to;
    }
};

// Keeps a given range, and finds the copy sound up to a given offset.
class KeepRange final : public Keeper {
public:
    KeepRange(Offset from, Offset to, Offset sound) : range_{from, to}, sound_(sound) {}
    Range keep(std::span<std::byte const>) noexcept override { return range_; }
    Offset verify(std::span<std::byte const>, std::span<std::byte const>, Range const&) noexcept override {
        return sound_;
    }

private:
    Range range_;
    Offset sound_;
};

// Bytes of a write, aligned and recognisable.
[[nodiscard]] inline std::vector<std::byte> filled(std::size_t bytes, unsigned char with) {
    return std::vector<std::byte>(bytes, std::byte{with});
}

[[nodiscard]] inline std::vector<std::byte> copy_of(std::span<std::byte const> shared) {
    std::vector<std::byte> bytes(shared.size());
    racy_copy_out(bytes.data(), shared.data(), shared.size());
    return bytes;
}

[[nodiscard]] inline bool shows(std::span<std::byte const> shared, std::size_t at, std::span<std::byte const> bytes) {
    std::vector<std::byte> const copy = copy_of(shared.subspan(at, bytes.size()));
    return std::equal(copy.begin(), copy.end(), bytes.begin());
}

// One replica's way to the others in a test: connects, takes tenures, and waits for single operations.
class Driver {
public:
    Driver(FabricWorld& world, ReplicaId self, Plane plane = Plane::replication)
        : world_(world), self_(self), channel_(world.endpoint(self).channel(plane)) {}

    [[nodiscard]] Channel& channel() { return channel_; }
    [[nodiscard]] Tenure tenure(std::uint64_t round) const {
        return {self_, world_.incarnation(self_), make_proposal(round, self_)};
    }

    [[nodiscard]] bool connect(ReplicaId peer) {
        return eventually(world_, [&] { return channel_.connect(peer); });
    }

    // Has `peer` permit this replica's tenure, and begins it.
    void lead(ReplicaId peer, std::uint64_t round, Keeper& keeper) {
        REQUIRE(connect(peer));
        channel_.begin_tenure(peer, tenure(round), world_.endpoint(peer).permit(tenure(round), keeper));
    }
    void lead(ReplicaId peer, std::uint64_t round) {
        KeepAll keeper;
        lead(peer, round, keeper);
    }

    [[nodiscard]] bool write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes) {
        channel_.write(to, region, at, bytes, ++id_);
        return wait_for(id_);
    }
    [[nodiscard]] bool read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into) {
        channel_.read(from, region, at, into, ++id_);
        return wait_for(id_);
    }
    [[nodiscard]] bool confirm(ReplicaId to) {
        channel_.confirm(to, ++id_);
        return wait_for(id_);
    }

    // Polls until operation `id` has completed; whether with success.
    [[nodiscard]] bool wait_for(std::uint64_t id) {
        bool success = false;
        bool const completed = eventually(world_, [&] {
            std::array<Completion, 4> some;
            std::size_t const count = channel_.poll(some);
            auto const end = some.begin() + static_cast<std::ptrdiff_t>(count);
            auto const found = std::find_if(some.begin(), end, [&](Completion const& it) { return it.id == id; });
            if (found == end) return false;
            success = found->success;
            return true;
        });
        REQUIRE_MESSAGE(completed, "operation " << id << " never completed");
        return success;
    }

private:
    FabricWorld& world_;
    ReplicaId self_;
    Channel& channel_;
    std::uint64_t id_ = 0;
};

}  // namespace mu::test
