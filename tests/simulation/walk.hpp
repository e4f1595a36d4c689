// A random walk through everything the fabric allows, over real replicas; one seed decides all of it.
//
// The walk is an enemy: it chooses which plane of which replica steps, which operation lands, tears, fails or stays, who
// is cut off, frozen, paused, crashed and restarted, and when time passes. Beside the replicas, and without trusting
// them, a Judge (walk_judge.hpp) remembers what was executed, acknowledged and read, and says when something is wrong.
// At the end everything is healed, and a new command must be decided soon.
//
//     MU_WALK_SEED=17 mu_simulation_tests -tc='*random walk*'     one seed again, with a transcript
//     MU_WALK_SEEDS=1:100000                                      many, for a long night
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "simulation/walk_cluster.hpp"
#include "simulation/walk_judge.hpp"

namespace mu::walk {

// splitmix64: small, and the same everywhere.
class Dice {
public:
    explicit Dice(std::uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15ULL + 0x6d75) {}

    std::uint64_t next() noexcept {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
        return mixed ^ (mixed >> 31U);
    }
    std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }
    bool one_in(std::uint64_t count) noexcept { return below(count) == 0; }

private:
    std::uint64_t state_;
};

struct WalkPlan {
    std::uint64_t seed = 1;
    std::uint64_t events = 20'000;
    ClusterOptions cluster;
    bool keeps_majority = true;  // never more amnesiacs than the protocol bears: then it must be live in the end
    Nanoseconds tick = 200;      // most events take up to this long
    bool calm_youth = true;      // trouble begins when something has been decided
    std::uint64_t trouble = 2;   // 0: calm … 3: storm; also changes on the way

    // Everything from the seed.
    [[nodiscard]] static WalkPlan of(std::uint64_t seed);
};

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
        permit_land,
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

    // False: the judge has found something; failure() says what.
    bool run();
    [[nodiscard]] std::string const& failure() const noexcept { return judge_.failure(); }
    [[nodiscard]] std::uint64_t events() const noexcept { return event_; }
    [[nodiscard]] std::string transcript() const;
    // How every replica sees itself and the others.
    [[nodiscard]] std::string state();
    [[nodiscard]] std::string reproduction() const;
    [[nodiscard]] std::string statistics() const;  // at the end of the storm, before anything was healed
    [[nodiscard]] Judge const& judge() const noexcept { return judge_; }
    // Prints every event as it happens.
    void trace(bool on) noexcept { trace_ = on; }

private:
    static constexpr std::size_t kRemembered = 80;

    struct Command {
        std::uint64_t number = 0;
        Incarnation incarnation = 0;
        Proposal proposal = kNoProposal;
        Offset end = 0;
        std::size_t session = 0;  // index + 1 of the session client, 0: none
    };
    struct SessionClient {
        std::uint64_t number = 0;   // of the request
        std::uint64_t command = 0;  // 0: the next request has not been made
        bool in_flight = false;
    };
    struct Read {
        bool open = false;
        Proposal proposal = kNoProposal;
        Offset must_cover = 0;
    };
    struct Life {
        bool frozen = false;
        std::uint64_t lives = 1;
        Replicator::Stage stage = Replicator::Stage::follower;
        std::vector<Command> in_flight;
        Read read;
    };

    void one_event();
    void step_some_plane();
    void step_background(ReplicaId id);
    void step_replication(ReplicaId id);
    void after_plane(ReplicaId id);
    void settle(ReplicaId id);
    void client_event();
    void propose(ReplicaId id);
    void read(ReplicaId id);
    void move_operation();
    void chaos();
    void crash_some(ReplicaId id);
    void restart(ReplicaId id);
    void discover_some();
    void weather();
    void calm_down();
    [[nodiscard]] ReplicaId victim();
    void in_permit(ReplicaId id);
    bool conclude();
    void heal_everything();
    void calm_round();

    [[nodiscard]] bool may_crash(ReplicaId id) const;
    [[nodiscard]] bool up(ReplicaId id) const;
    [[nodiscard]] bool forming() const;
    [[nodiscard]] bool admitted(ReplicaId id) const;
    [[nodiscard]] ReplicaId any() noexcept { return static_cast<ReplicaId>(1 + dice_.below(cluster_.size())); }
    [[nodiscard]] bool stuck_link(SimRoute const& route) const noexcept;
    void note(WalkEvent::Kind kind, ReplicaId replica, std::uint64_t a = 0, std::uint64_t b = 0);
    void note_operation(WalkEvent::Kind kind, QueueId queue);
    void keep(WalkEvent const& event);

    WalkPlan plan_;
    Dice dice_;
    Cluster cluster_;
    Judge judge_;
    Nanoseconds now_ = kSecond;
    std::uint64_t event_ = 0;
    std::uint64_t trouble_ = 0;
    std::array<Life, kMaxReplicas> lives_;
    std::array<std::uint32_t, kMaxReplicas> slow_links_{};  // bit by target
    std::array<SessionClient, 3> sessions_;
    std::uint64_t next_command_ = 1;
    std::vector<WalkEvent> remembered_;
    std::size_t event_remembered_ = 0;
    bool live_ = true;  // nothing has happened that the protocol need not bear
    bool trace_ = false;
    bool healed_ = false;
    std::string statistics_;
    std::uint64_t takeovers_ = 0;
    std::uint64_t crashes_ = 0;
    std::uint64_t restored_ = 0;
};

[[nodiscard]] std::string describe(WalkEvent const& event);

}  // namespace mu::walk
