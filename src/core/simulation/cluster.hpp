// A whole cluster in one thread: real replicas over the sim fabric, with state machines that remember everything.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/bytes.hpp"
#include "fabric/sim.hpp"
#include "protocol/commands.hpp"
#include "protocol/replica.hpp"

namespace mu::simulation {

// A command is its number, and what the state machine inside is to make of it, if there is one; the state is the list of
// all numbers that were applied, and that machine's own.
class Recorder final : public StateMachine {
public:
    explicit Recorder(std::size_t ballast_bytes = 0, std::unique_ptr<StateMachine> inside = nullptr)
        : ballast_bytes_(ballast_bytes), inside_(std::move(inside)) {}

    [[nodiscard]] bool apply(std::span<std::byte const> command, OwnedBytes& reply) override {
        std::uint64_t number = 0;
        std::memcpy(&number, command.data(), sizeof number);
        if (inside_ == nullptr) {
            for (std::byte const each : command.subspan(sizeof number)) {
                if (each != padding_of(number)) number = kGarbled;
            }
        }
        history.push_back(number);
        if (inside_ == nullptr) {
            reply.assign(command.begin(), command.end());
            return true;
        }
        bool const applied = inside_->apply(command.subspan(sizeof number), reply);
        replies[number] = {applied, reply};
        return applied;
    }
    [[nodiscard]] bool snapshot(OwnedBytes& out) override {
        if (at_work) at_work();
        auto const bytes = std::as_bytes(std::span(history));
        ByteWriter writer(out);
        writer.sized(bytes);
        OwnedBytes inside;
        bool const given = inside_ == nullptr || inside_->snapshot(inside);
        inside.resize(inside.size() + ballast_bytes_, kBallast);  // so that a snapshot takes several pieces
        writer.sized(inside);
        return given;
    }
    void restore(std::span<std::byte const> snapshot) override {
        if (at_work) at_work();
        ByteReader reader(snapshot);
        auto const numbers = reader.sized();
        history.resize(numbers.size() / sizeof(std::uint64_t));
        if (!history.empty()) std::memcpy(history.data(), numbers.data(), numbers.size());
        auto const inside = reader.sized();
        if (inside_ != nullptr) inside_->restore(inside.first(inside.size() - ballast_bytes_));
        for (std::byte const each : inside.last(std::min(ballast_bytes_, inside.size()))) {
            if (each != kBallast) history.assign(1, kGarbled);
        }
        ++restored;
    }

    // What follows a number, so that a command of which a part belongs to another one is noticed.
    [[nodiscard]] static std::byte padding_of(std::uint64_t number) noexcept { return static_cast<std::byte>(number); }
    static constexpr std::uint64_t kGarbled = ~std::uint64_t{0};  // a number that nobody ever proposes

    struct Reply {
        bool applied = false;
        OwnedBytes bytes;
    };
    std::vector<std::uint64_t> history;
    std::map<std::uint64_t, Reply> replies;  // by number; only with a machine inside, and of one's own life
    std::uint64_t restored = 0;
    std::function<void()> at_work;  // called in a snapshot and in a restore: those take their time

private:
    static constexpr std::byte kBallast{0x6d};

    std::size_t ballast_bytes_;
    std::unique_ptr<StateMachine> inside_;
};

struct ClusterOptions {
    std::size_t replicas = 3;
    std::size_t log_bytes = 4096;
    Revocation revocation = Revocation::by_area;
    bool ordered_writes = true;
    bool auto_deliver = true;
    std::size_t ballast_bytes = 0;
    Settings settings;  // self and members are filled in
    // Makes the state machine of a new life; none: commands are numbers only.
    std::function<std::unique_ptr<StateMachine>(ReplicaId)> machine = {};
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

    // What happens while the state machine of a replica makes a snapshot or restores one, in every life.
    void on_work(std::function<void(ReplicaId)> work) {
        work_ = std::move(work);
        for (ReplicaId id = 1; id <= size(); ++id)
            machines_[id]->at_work = [this, id] { work_(id); };
    }

    void crash(ReplicaId id) {
        replicas_[id].reset();
        world.crash(id);
    }
    void restart(ReplicaId id) {
        world.restart(id);
        begin_life(id);
    }
    Outcome propose(ReplicaId id, std::uint64_t command, std::span<std::byte const> rest = {},
                    SessionRequest session = {}) {
        std::size_t const at = session.client != 0 ? kSessionBytes : 0;
        OwnedBytes body(at + sizeof command);  // of this call: another replica may propose in the middle of it
        std::memcpy(body.data(), &session, at);
        std::memcpy(body.data() + at, &command, sizeof command);
        body.insert(body.end(), rest.begin(), rest.end());
        std::uint32_t const bit = at != 0 ? kSessionBit : 0;
        std::array<std::uint32_t, 2> const prefix{1, static_cast<std::uint32_t>(body.size()) | bit};
        return replica(id).propose(std::as_bytes(std::span(prefix)), body);
    }

private:
    void begin_life(ReplicaId id) {
        Settings settings = options_.settings;
        settings.self = id;
        settings.members.clear();
        for (ReplicaId member = 1; member <= options_.replicas; ++member)
            settings.members.push_back(member);
        machines_[id] =
            std::make_unique<Recorder>(options_.ballast_bytes, options_.machine ? options_.machine(id) : nullptr);
        if (work_) machines_[id]->at_work = [this, id] { work_(id); };
        replicas_[id] = std::make_unique<Replica>(world.fabric(id), format, std::move(settings), *machines_[id],
                                                  world.incarnation(id));
    }

    ClusterOptions options_;
    std::function<void(ReplicaId)> work_;

public:
    SimWorld world;
    LogFormat format;

private:
    std::array<std::unique_ptr<Recorder>, kMaxReplicas> machines_;
    std::array<std::unique_ptr<Replica>, kMaxReplicas> replicas_;
};

}  // namespace mu::simulation
