// The judge of a walk: what must hold whatever happens, checked apart from the replicas.
//
//   agreement     at one offset of the log all replicas have executed the same commands, under the same proposals and
//                 with the same incarnations in force; snapshots included
//   validity      only what was proposed is executed, each command once
//   durability    what was acknowledged is in the history of everybody who has executed so far, and of every later leader
//   order         a command that was proposed after another one was acknowledged comes after it
//   reads         a linearizable read has executed everything that was acknowledged or read before it began
//   commit        nothing is executed beyond what a majority's logs have held (held.hpp)
//   one writer    once a log has accepted a write of one tenure, it accepts none of a lower or another one of its number
//   monotony      applied and FUO never go back within one life
//   admission     a fresh incarnation neither grants nor counts before it was admitted
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "simulation/cluster.hpp"
#include "simulation/held.hpp"

namespace mu::simulation {

class Judge {
public:
    explicit Judge(std::size_t replicas) : seen_(replicas + 1) {}

    [[nodiscard]] std::string const& failure() const noexcept { return failure_; }
    [[nodiscard]] bool content() const noexcept { return failure_.empty(); }
    [[nodiscard]] std::vector<std::uint64_t> const& history() const noexcept { return history_; }
    [[nodiscard]] std::uint64_t acknowledged() const noexcept { return acknowledgements_; }
    [[nodiscard]] std::uint64_t reads() const noexcept { return reads_; }
    [[nodiscard]] Offset acknowledged_end() const noexcept { return acknowledged_end_; }
    // What clients have seen: the end of what was acknowledged or read.
    [[nodiscard]] Offset seen_end() const noexcept { return std::max(acknowledged_end_, read_end_); }

    // From the moment on at which its leader is asked: others may find it in the logs before that one has answered.
    // Whether it is asked for the first time.
    bool proposed(std::uint64_t command) {
        if (commands_.size() <= command) commands_.resize(command + 1);
        return !std::exchange(commands_[command].proposed, true);
    }
    // What is refused was not proposed: nobody has executed it, and nobody ever may.
    void refused(std::uint64_t command) {
        commands_[command].proposed = false;
        if (commands_[command].executed) {
            fail("invalid: command " + std::to_string(command) + " was refused, and yet executed");
        }
    }
    // `after`: what had been acknowledged when it was proposed.
    void acknowledged(std::uint64_t command, Proposal under, Offset end, Offset after) {
        ++acknowledgements_;
        if (end <= after) {
            fail("reordered: command " + std::to_string(command) + " ends at " + std::to_string(end) + ", but up to " +
                 std::to_string(after) + " was acknowledged before it was proposed");
        }
        acknowledged_end_ = std::max(acknowledged_end_, end);
        Offset& most = acknowledged_under_[under];
        most = std::max(most, end);
        if (reached_ < end) {
            owed_.push_back({command, end});
        } else if (!commands_[command].executed) {
            fail("lost: command " + std::to_string(command) + " was acknowledged, but others had passed it already");
        }
    }
    // The log of `id` is about to change hands, or to go.
    void remember(Cluster const& cluster, ReplicaId id) { held_.remember(cluster, id); }
    void new_life(ReplicaId id) { seen_[id] = Seen{}; }
    // A write of `writer` to the log of `id` has landed and is accepted.
    void accepted(ReplicaId id, Tenure const& writer);

    // To be called after every step that may have executed anything at `id`.
    void look(Cluster const& cluster, ReplicaId id);
    // `id` has just become a leader: its seal is decided.
    void leads(Replicator const& replicator, ReplicaId id);
    void read_done(Cluster const& cluster, ReplicaId id, Offset must_cover);
    void fail(std::string what) {
        if (failure_.empty()) failure_ = std::move(what);
    }

private:
    struct Known {
        bool proposed = false;
        bool executed = false;
    };
    // What everybody who has executed up to one offset must agree on.
    struct Mark {
        bool set = false;
        std::size_t executed = 0;
        Proposal previous = kNoProposal;
        Configuration configuration;
    };
    struct Owed {
        std::uint64_t command = 0;
        Offset end = 0;
    };
    struct Seen {
        std::size_t executed = 0;
        std::uint64_t restored = 0;
        Position applied;
        Offset fuo = 0;
        Tenure writer;  // of the log, the latest
    };

    void look_at_history(Recorder const& machine, Seen& seen, ReplicaId id);
    void look_at_place(Replica const& replica, std::size_t executed, ReplicaId id);
    void look_at_admission(Cluster const& cluster, ReplicaId id);
    void look_at_commit(Cluster const& cluster, ReplicaId id, Position const& applied);
    void extend(std::uint64_t command);
    void settle_owed();

    std::vector<std::uint64_t> history_;  // the longest that anybody has executed
    std::vector<Known> commands_;         // by number
    std::vector<Mark> marks_;             // by offset / kSlotAlignment
    std::map<Proposal, Offset> acknowledged_under_;
    std::vector<Owed> owed_;  // acknowledged, and nobody has executed so far
    std::vector<Seen> seen_;
    Held held_;
    Offset reached_ = 0;
    Offset acknowledged_end_ = 0;
    Offset read_end_ = 0;
    std::uint64_t acknowledgements_ = 0;
    std::uint64_t reads_ = 0;
    std::string failure_;
};

}  // namespace mu::simulation
