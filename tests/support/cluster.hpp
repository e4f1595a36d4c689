// A whole cluster of real replicas over the sim fabric, or over verbs (held_world.hpp), for tests that read like the
// sentence they prove.
//
// Two ways to drive it. By itself: everything lands at once, everybody steps in turn, time passes evenly.
//
//     Cluster cluster;
//     cluster.form();                       // 1 leads, all follow, nothing is under way
//     cluster.decide("x");
//     cluster.crash(1);
//     cluster.run_until([&] { return cluster.leader() == 2; });
//
// By hand, after hold(): nothing lands and nobody steps unless the test says so.
//
//     cluster.hold();
//     cluster.propose(1, "x");
//     cluster.land(1, 2);                   // 2 has accepted x; 1 does not know yet
//     cluster.take_over(3, {2});            // 3 takes over with the grants of itself and of 2
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/replica.hpp"
#include "support/held_world.hpp"
#include "support/journal.hpp"

namespace mu::test {

using Stage = Replicator::Stage;

inline doctest::String shown(Commands const& commands) {
    std::string text;
    for (std::string const& command : commands) {
        text += (text.empty() ? "" : ", ") + command;
    }
    return text.c_str();
}

// Time limits that are short, so that a test of some thousand steps sees all of them run out.
Settings quick_settings();

struct ClusterOptions {
    std::size_t replicas = 3;
    Revocation revocation = Revocation::by_area;
    std::size_t log_bytes = 8192;
    Settings settings = quick_settings();  // self and members are filled in
};

struct FoundSlot {
    SlotHeader header;
    Commands commands;  // if it holds any
    OwnedBytes bytes;   // header and value, as they lie in the log
};

struct Answers final : ReplySink {
    void reply(Offset slot, std::uint32_t index, ReplyStatus status, std::span<std::byte const> bytes) override;
    Commands replies;
};

class Cluster {
public:
    explicit Cluster(ClusterOptions const& options = {});

    [[nodiscard]] Replica& replica(ReplicaId id) { return *replicas_[id]; }
    [[nodiscard]] Replicator const& replicator(ReplicaId id) { return replica(id).replicator(); }
    [[nodiscard]] Journal& machine(ReplicaId id) { return *machines_[id]; }
    [[nodiscard]] Commands const& history(ReplicaId id) { return machine(id).commands; }
    [[nodiscard]] BackgroundRegion& region(ReplicaId id);
    [[nodiscard]] std::size_t size() const { return options_.replicas; }
    [[nodiscard]] ClusterOptions const& options() const { return options_; }
    [[nodiscard]] std::vector<ReplicaId> ids() const;

    // --- By itself ---
    void form();  // until 1 leads and all follow
    void step_all();
    [[nodiscard]] bool run_until(std::function<bool()> const& done, int max_steps = 4000);
    void run(int steps);
    // The live replica that leads; of several the one with the highest proposal; kNobody if there is none.
    [[nodiscard]] ReplicaId leader();
    // Proposes at the leader, and runs until it is decided.
    void decide(std::string_view command);
    [[nodiscard]] bool all_have(Commands const& commands);

    void crash(ReplicaId id);  // and everybody is told
    void restart(ReplicaId id);
    void stop(ReplicaId id) { stopped_[id] = true; }  // as by SIGSTOP: it does not step
    void resume(ReplicaId id) { stopped_[id] = false; }
    // Nothing gets from one of these groups to the other any more, or again.
    void part(std::initializer_list<ReplicaId> some, std::initializer_list<ReplicaId> others);
    void join(std::initializer_list<ReplicaId> some, std::initializer_list<ReplicaId> others);

    // --- By hand ---
    void hold() { world.auto_deliver(false); }
    void let_go() { world.auto_deliver(true); }
    void pass(Nanoseconds time) { now += time; }
    void step_replication(ReplicaId id) { replica(id).step_replication(now, &answers); }
    void step_background(ReplicaId id) { replica(id).step_background(now); }
    // The replication plane steps as that of a replica which has been told who leads.
    void step_as_follower(ReplicaId id, ReplicaId leader = kNobody);
    // Lands, or fails, all that `writer` has posted to `target` on that plane; returns how many operations.
    std::size_t land(ReplicaId writer, ReplicaId target, Plane plane = Plane::replication);
    std::size_t lose(ReplicaId writer, ReplicaId target, Plane plane = Plane::replication);
    // The front operation only.
    void land_one(ReplicaId writer, ReplicaId target, Plane plane = Plane::replication);
    void lose_one(ReplicaId writer, ReplicaId target, Plane plane = Plane::replication);
    // So many more words of the front land, and it is not complete yet; returns whether there is one that has words.
    bool tear(ReplicaId writer, ReplicaId target, std::size_t words);
    [[nodiscard]] std::size_t words_left(ReplicaId writer, ReplicaId target);
    // It lands, but its writer is told that it failed.
    void land_and_deny(ReplicaId writer, ReplicaId target);
    // It lands, and its writer hears of it when this lands again.
    void land_unacknowledged(ReplicaId writer, ReplicaId target);
    // What `writer` has posted to `target` on that plane and is still on its way.
    [[nodiscard]] std::vector<Posted> posted(ReplicaId writer, ReplicaId target, Plane plane = Plane::replication);
    // The slots of that alone, without what clears a slot's place before a copy of it.
    [[nodiscard]] std::vector<Posted> posted_slots(ReplicaId writer, ReplicaId target);
    // The front slot, and what clears its place.
    void land_slot(ReplicaId writer, ReplicaId target);
    [[nodiscard]] std::size_t pending(ReplicaId writer, ReplicaId target, Plane plane = Plane::replication);
    [[nodiscard]] std::size_t pending();  // everybody's
    // All planes, both directions, between these and among them; planes of `id` only with `others`.
    void land_between(ReplicaId id, std::initializer_list<ReplicaId> others);
    // A leader finds out that it is none: it has granted its own log to `by`, which does not hear of that.
    void depose(ReplicaId id, ReplicaId by);
    // `id` becomes a candidate and asks everybody.
    void ask(ReplicaId id);
    // `acceptor` gets what `candidate` has asked, answers, and the answer arrives.
    void grant(ReplicaId acceptor, ReplicaId candidate);
    // `id` takes over with its own grant and those of `acceptors`, to whom alone everything of it lands, until `stage`
    // is reached.
    [[nodiscard]] bool take_over(ReplicaId id, std::initializer_list<ReplicaId> acceptors,
                                 Stage stage = Stage::leading);
    // A sealed leader gets the late grant of `follower`, and everything between the two lands until it is confirmed.
    void teach(ReplicaId leader, ReplicaId follower);
    Outcome propose(ReplicaId id, std::string_view command, SessionRequest session = {});
    // Proposes, and lands at these (and the completions are taken in).
    void propose_to(ReplicaId id, std::initializer_list<ReplicaId> targets, std::string_view command);

    // --- What there is ---
    // The chain in the replica's live log, from what it has applied on.
    [[nodiscard]] std::vector<FoundSlot> chain(ReplicaId id);
    // What the replica has applied, and then what its chain holds.
    [[nodiscard]] Commands knows(ReplicaId id);
    [[nodiscard]] bool decided(ReplicaId id) {
        return replicator(id).leading() && replicator(id).decided() == replicator(id).tail();
    }

private:
    void begin_life(ReplicaId id);
    void fail_cut_off();

    ClusterOptions options_;
    std::unique_ptr<HeldWorld> held_;
    std::array<std::unique_ptr<Journal>, kMaxReplicas> machines_;
    std::array<bool, kMaxReplicas> stopped_{};

public:
    HeldWorld& world;
    LogFormat format;
    Nanoseconds now = kSecond;
    Answers answers;

private:
    std::array<std::unique_ptr<Replica>, kMaxReplicas> replicas_;
};

}  // namespace mu::test

template <>
struct doctest::StringMaker<mu::test::Commands> {
    static String convert(mu::test::Commands const& commands) { return mu::test::shown(commands); }
};
