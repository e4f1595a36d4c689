// A whole cluster in one thread: real replicas over the sim fabric, with state machines that remember everything.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "fabric/sim.hpp"
#include "protocol/commands.hpp"
#include "protocol/replica.hpp"

namespace mu::walk {

// A command is its number; the state is the list of all commands that were applied.
class Recorder final : public StateMachine {
public:
    explicit Recorder(std::size_t ballast_bytes = 0) : ballast_bytes_(ballast_bytes) {}

    [[nodiscard]] bool apply(std::span<std::byte const> command, OwnedBytes& reply) override {
        std::uint64_t number = 0;
        std::memcpy(&number, command.data(), sizeof number);
        history.push_back(number);
        reply.assign(command.begin(), command.end());
        return true;
    }
    void snapshot(OwnedBytes& out) override {
        auto const bytes = std::as_bytes(std::span(history));
        out.resize(bytes.size() + ballast_bytes_);  // ballast: so that a snapshot takes several pieces
        if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    }
    void restore(std::span<std::byte const> snapshot) override {
        history.resize((snapshot.size() - ballast_bytes_) / sizeof(std::uint64_t));
        if (!history.empty()) std::memcpy(history.data(), snapshot.data(), history.size() * sizeof(std::uint64_t));
        ++restored;
    }

    std::vector<std::uint64_t> history;
    std::uint64_t restored = 0;

private:
    std::size_t ballast_bytes_;
};

struct ClusterOptions {
    std::size_t replicas = 3;
    std::size_t log_bytes = 4096;
    Revocation revocation = Revocation::by_area;
    bool ordered_writes = true;
    bool auto_deliver = true;
    std::size_t ballast_bytes = 0;
    Settings settings;  // self and members are filled in
};

// Time-outs that are short, so that a walk of some thousand steps sees all of them run out.
inline Settings quick_settings() {
    Settings settings;
    settings.cluster_key = 0x6d75;
    settings.heartbeat_period = 10 * kMicrosecond;
    settings.heartbeat_idle_period = 20 * kMicrosecond;
    settings.idle_after = kMillisecond;
    settings.stale_limit = 60 * kMicrosecond;
    settings.starved_limit = 150 * kMicrosecond;
    settings.stuck_limit = 200 * kMicrosecond;
    settings.minimum_hold = 30 * kMicrosecond;
    settings.grant_timeout = 150 * kMicrosecond;
    settings.backoff_first = 10 * kMicrosecond;
    settings.backoff_limit = 500 * kMicrosecond;
    settings.joiner_retry = 15 * kMicrosecond;
    settings.stall_limit = 300 * kMicrosecond;
    settings.transfer_timeout = 400 * kMicrosecond;
    settings.commit_idle_after = 10 * kMicrosecond;
    return settings;
}

class Cluster {
public:
    explicit Cluster(ClusterOptions const& options)
        : options_(options),
          world({.replicas = options.replicas,
                 .log_bytes = options.log_bytes,
                 .background_bytes = sizeof(BackgroundRegion),
                 .revocation = options.revocation,
                 .ordered_writes = options.ordered_writes,
                 .auto_deliver = options.auto_deliver,
                 .auto_discover = options.auto_deliver}),
          format(options.settings.cluster_key, options.log_bytes,
                 options.ordered_writes ? Integrity::stamp : Integrity::checksum) {
        for (ReplicaId id = 1; id <= options.replicas; ++id)
            begin_life(id);
    }

    [[nodiscard]] std::size_t size() const noexcept { return options_.replicas; }
    [[nodiscard]] Replica& replica(ReplicaId id) noexcept { return *replicas_[id]; }
    [[nodiscard]] Replica const& replica(ReplicaId id) const noexcept { return *replicas_[id]; }
    [[nodiscard]] Recorder const& machine(ReplicaId id) const noexcept { return *machines_[id]; }
    // What `id` publishes; for the judge, who looks and does not touch.
    [[nodiscard]] BackgroundRegion const& region(ReplicaId id) const noexcept {
        return *reinterpret_cast<BackgroundRegion const*>(const_cast<SimFabric&>(world.fabric(id)).background().data());
    }
    [[nodiscard]] bool alive(ReplicaId id) const noexcept { return world.alive(id); }

    void crash(ReplicaId id) {
        replicas_[id].reset();
        world.crash(id);
    }
    void restart(ReplicaId id) {
        world.restart(id);
        begin_life(id);
    }
    Outcome propose(ReplicaId id, std::uint64_t command, std::size_t padding = 0, SessionRequest session = {}) {
        std::size_t const at = session.client != 0 ? kSessionBytes : 0;
        body_.assign(at + sizeof command + padding, std::byte{0x5a});
        std::memcpy(body_.data(), &session, at);
        std::memcpy(body_.data() + at, &command, sizeof command);
        std::uint32_t const bit = at != 0 ? kSessionBit : 0;
        std::array<std::uint32_t, 2> const prefix{1, static_cast<std::uint32_t>(body_.size()) | bit};
        return replica(id).propose(std::as_bytes(std::span(prefix)), body_);
    }

private:
    void begin_life(ReplicaId id) {
        Settings settings = options_.settings;
        settings.self = id;
        settings.members.clear();
        for (ReplicaId member = 1; member <= options_.replicas; ++member)
            settings.members.push_back(member);
        machines_[id] = std::make_unique<Recorder>(options_.ballast_bytes);
        replicas_[id] = std::make_unique<Replica>(world.fabric(id), format, std::move(settings), *machines_[id],
                                                  world.incarnation(id));
    }

    ClusterOptions options_;
    OwnedBytes body_;  // reused

public:
    SimWorld world;
    LogFormat format;

private:
    std::array<std::unique_ptr<Recorder>, kMaxReplicas> machines_;
    std::array<std::unique_ptr<Replica>, kMaxReplicas> replicas_;
};

}  // namespace mu::walk
