// A random walk through everything the fabric allows, over real replicas; one seed decides all of it.
//
// The walk is an enemy: it chooses which plane of which replica steps, which operation lands, tears, fails or stays, who
// is cut off, frozen, paused, halted, crashed and restarted, and when time passes. Beside the replicas, and without trusting
// them, a Judge (judge.hpp) remembers what was executed, acknowledged and read, and says when something is wrong. At the
// end everything is healed, and a new command must be decided soon.
//
// Whoever wants to be the enemy in person finds its hands here too (mu.testing.SimCluster).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "simulation/cluster.hpp"
#include "simulation/dice.hpp"
#include "simulation/judge.hpp"
#include "simulation/plan.hpp"

namespace mu::simulation {

// What happened, kept small: formatted only when somebody has to read it.
struct WalkEvent {
    enum class Kind : std::uint8_t {
        background,
        replication,
        propose,
        read,
        read_done,
        acknowledge,
        land,
        tear,
        fail,
        fail_after,
        land_unacknowledged,
        permit_land,
        disconnect,
        cut,
        heal,
        crash,
        gone,
        restart,
        discover,
        freeze,
        thaw,
        pause,
        resume,
        aside,
        able,
        halt,
        jump,
        stage,
    };
    Kind kind = Kind::background;
    ReplicaId replica = kNobody;
    Nanoseconds at = 0;
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    SimRoute route;
    Operation operation = Operation::write;
    Region region = Region::background;
    std::uint64_t place = 0;
    Proposal proposal = kNoProposal;
};

class Walk {
public:
    explicit Walk(WalkPlan const& plan);

    // The storm of the plan, then the end. False: the judge has found something; failure() says what.
    bool run();
    // So many random steps.
    bool storm(std::uint64_t steps);
    // So many rounds in which everybody steps, time passes and every operation that can land lands.
    bool calm(std::uint64_t rounds);
    // What random clients propose to a user's own state machine.
    void propose_in_storms(OwnedBytes command) { commands_of_storms_ = std::move(command); }
    // Heals everything; then a new command must be decided soon and reach everybody.
    bool conclude();

    // By hand. What cannot be (a crash of who is dead, say) changes nothing.
    void crash(ReplicaId id, bool reported);
    void restart(ReplicaId id);
    void cut(ReplicaId from, ReplicaId to);
    void heal(ReplicaId from, ReplicaId to);
    void heal_everything();
    void freeze(ReplicaId id, bool frozen);
    void pause(ReplicaId id, bool paused);
    // The replica stops for good, as when its state machine raises what it must not; its background plane goes on.
    void halt(ReplicaId id);
    // The program around the replica cannot lead now, or can again.
    void stand_aside(ReplicaId id, bool aside);

    // A command of somebody's own. Its number, if it was proposed.
    struct Proposed {
        Outcome outcome = Outcome::ok;
        std::uint64_t number = 0;
    };
    Proposed propose(ReplicaId id, std::span<std::byte const> command);
    enum class Fate : std::uint8_t { open, acknowledged, indeterminate };
    [[nodiscard]] Fate fate(std::uint64_t number) const;
    // Asks for a linearizable read at `id`, then, with every call, whether it can be answered. Nothing: not yet.
    std::optional<Outcome> read(ReplicaId id);

    [[nodiscard]] std::string const& failure() const noexcept { return judge_.failure(); }
    [[nodiscard]] std::uint64_t steps() const noexcept { return step_; }
    [[nodiscard]] std::uint64_t planned_steps() const noexcept { return plan_.steps; }
    [[nodiscard]] std::string transcript() const;
    // Of everything that has happened: equal wherever the same seed is walked.
    [[nodiscard]] std::uint64_t digest() const noexcept { return digest_; }
    // How every replica sees itself and the others.
    [[nodiscard]] std::string state();
    [[nodiscard]] std::string reproduction() const;
    [[nodiscard]] std::string statistics() const;
    [[nodiscard]] Judge const& judge() const noexcept { return judge_; }
    [[nodiscard]] Cluster& cluster() noexcept { return cluster_; }
    // Whom the live replicas that lead are: the one with the highest proposal.
    [[nodiscard]] ReplicaId leader() const;
    // Prints every step as it happens.
    void trace(bool on) noexcept { trace_ = on; }

private:
    static constexpr std::size_t kRemembered = 80;
    static constexpr Nanoseconds kCalmTick = 3 * kMicrosecond;

    struct Command {
        std::uint64_t number = 0;
        Proposal proposal = kNoProposal;
        Offset end = 0;
        Offset after = 0;         // what had been acknowledged when it was proposed
        std::size_t session = 0;  // index + 1 of the session client, 0: none
        bool by_hand = false;
    };
    struct SessionClient {
        std::uint64_t number = 0;   // of the request
        std::uint64_t command = 0;  // 0: the next request has not been made
        bool in_flight = false;
        bool sent = false;  // the request, once
    };
    struct Read {
        bool open = false;
        Offset must_cover = 0;
    };
    struct Life {
        bool frozen = false;
        bool halted = false;
        std::uint64_t lives = 1;
        Replicator::Stage stage = Replicator::Stage::follower;
        std::vector<Command> in_flight;
        Read read;
    };

    void one_step();
    void step_some_plane();
    void step_background(ReplicaId id);
    void step_replication(ReplicaId id);
    void after_plane(ReplicaId id);
    void settle(ReplicaId id);
    void client_step();
    void propose_some(ReplicaId id);
    void read_some(ReplicaId id);
    void offered(ReplicaId id, Command command);
    // trouble.cpp
    void move_operation();
    void chaos();
    void crash_some(ReplicaId id);
    void restart_some();
    void discover_some();
    void discover_all();
    void weather();
    void land_some(QueueId queue);
    void deny_some(bool young);
    void calm_down();
    [[nodiscard]] ReplicaId victim();
    void in_permit(ReplicaId id);
    void in_moment(ReplicaId id, Plane plane);
    void in_work(ReplicaId id);
    void stop_inside(ReplicaId id, Plane plane, std::uint64_t steps);
    // ambush.cpp
    void ambush();
    void quiet_steps(std::uint64_t most, std::function<bool()> const& enough);
    [[nodiscard]] bool holds_without(ReplicaId leader, ReplicaId without) const;
    [[nodiscard]] bool teaches(ReplicaId leader) const;
    void begin_anew(ReplicaId id);
    void cut_short(ReplicaId id);
    void lap(ReplicaId follower, ReplicaId leader);
    void forget_a_grant(ReplicaId requester, ReplicaId granter, ReplicaId leader);
    void go_on_without_memory(ReplicaId requester, ReplicaId granter, ReplicaId leader, ReplicaId witness);
    bool recover();
    void break_some();
    void disconnect(QueueId queue);
    bool limp();
    void cripple(ReplicaId id);
    void time_out_cut_operations();
    void calm_round();

    [[nodiscard]] Nanoseconds clock(ReplicaId id) const noexcept { return now_ + ahead_[id]; }
    void set_clock(ReplicaId id);
    void jump_some(ReplicaId id);
    [[nodiscard]] bool may_crash(ReplicaId id) const;
    [[nodiscard]] bool up(ReplicaId id) const;
    [[nodiscard]] bool stopped(ReplicaId id, Plane plane) const noexcept {
        return lives_[id].frozen || (id == stopped_ && plane == stopped_plane_);
    }
    [[nodiscard]] bool forming() const;
    [[nodiscard]] bool admitted(ReplicaId id) const;
    [[nodiscard]] ReplicaId any() noexcept { return static_cast<ReplicaId>(1 + dice_.below(cluster_.size())); }
    [[nodiscard]] bool stuck_link(SimRoute const& route) const noexcept;
    // Whether what the front of `queue` writes is never acknowledged.
    [[nodiscard]] bool denied(SimQueue const& queue) const noexcept;
    void note(WalkEvent::Kind kind, ReplicaId replica, std::uint64_t a = 0, std::uint64_t b = 0);
    void note_operation(WalkEvent::Kind kind, QueueId queue);
    void keep(WalkEvent const& event);

    WalkPlan plan_;
    Dice dice_;
    Cluster cluster_;
    Judge judge_;
    Nanoseconds now_ = kSecond;
    std::array<Nanoseconds, kMaxReplicas> ahead_{};  // of now_: every life has a clock of its own
    std::uint64_t step_ = 0;
    std::uint64_t trouble_ = 0;
    std::array<Life, kMaxReplicas> lives_;
    std::array<std::uint32_t, kMaxReplicas> slow_links_{};    // bit by target
    std::array<std::uint32_t, kMaxReplicas> denied_links_{};  // bit by target
    std::array<SessionClient, 3> sessions_;
    std::uint64_t next_command_ = 1;
    std::vector<WalkEvent> remembered_;
    std::size_t event_remembered_ = 0;
    std::uint64_t digest_ = 0;
    OwnedBytes commands_of_storms_;        // what commands of random clients are to a user's own state machine
    std::map<std::uint64_t, Fate> fates_;  // of commands by hand
    bool live_ = true;                     // nothing has happened that the protocol need not bear
    bool storming_ = false;
    ReplicaId prey_ = kNobody;     // whose stage has just changed
    bool lying_in_wait_ = false;   // an ambush is under way
    ReplicaId stopped_ = kNobody;  // in the middle of a step of this plane
    Plane stopped_plane_ = Plane::replication;
    bool trace_ = false;
    bool healed_ = false;
    std::uint64_t takeovers_ = 0;
    std::uint64_t crashes_ = 0;
    std::uint64_t restored_ = 0;
};

[[nodiscard]] std::string describe(WalkEvent const& event);

}  // namespace mu::simulation
