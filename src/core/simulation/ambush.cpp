// Faults that lie in wait: moments that chance alone would meet once in hours, provoked.
#include <algorithm>
#include <functional>
#include <utility>

#include "simulation/walk.hpp"

namespace mu::simulation {

// Nothing goes wrong for a while, and little time passes, until it is enough.
void Walk::quiet_steps(std::uint64_t most, std::function<bool()> const& enough) {
    static constexpr std::uint64_t kTick = 30;
    for (std::uint64_t i = 0; i < most && judge_.content() && !enough(); ++i) {
        trouble_ = 0;
        slow_links_ = {};
        denied_links_ = {};
        ++step_;
        now_ += static_cast<Nanoseconds>(dice_.below(kTick));
        one_step();
    }
}

// Looks whether somebody is where a fault would hurt most: where a takeover has just come to its next stage.
void Walk::ambush() {
    bool const by_chance = prey_ == kNobody && dice_.one_in(50);
    ReplicaId const id = by_chance ? any() : std::exchange(prey_, kNobody);
    if (id == kNobody || !cluster_.alive(id) || lives_[id].frozen) return;
    Replicator::Stage const stage = cluster_.replica(id).replicator().stage();
    ReplicaId const leader = this->leader();
    lying_in_wait_ = true;
    if (stage == Replicator::Stage::requesting && leader != kNobody) {
        ReplicaId const granter = any();
        if (granter != id && granter != leader && holds_without(leader, granter)) forget_a_grant(id, granter, leader);
    } else if (stage == Replicator::Stage::sealing) {
        if (dice_.one_in(3)) cut_short(id);
    } else if (stage == Replicator::Stage::follower && leader != kNobody && by_chance) {
        if (dice_.one_in(40)) lap(id, leader);
    } else if (stage == Replicator::Stage::leading && teaches(id)) {
        if (dice_.one_in(4)) cut_short(id);
    }
    lying_in_wait_ = false;
}

bool Walk::teaches(ReplicaId leader) const {
    bool any = false;
    for (ReplicaId id = 1; id <= cluster_.size(); ++id)
        any = any || cluster_.replica(leader).replicator().follower(id).stage == Follower::Stage::updating;
    return any;
}

// Whether a majority goes on with `leader` though one of them fails.
bool Walk::holds_without(ReplicaId leader, ReplicaId without) const {
    std::size_t holders = 0;
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        bool const holds = id != without && cluster_.alive(id) && !lives_[id].frozen;
        Proposal const proposal = cluster_.replica(leader).replicator().proposal();
        holders += holds && cluster_.world.fabric(id).permission() == proposal ? 1 : 0;
    }
    return holders >= majority_of(cluster_.size());
}

// A leader dies while it teaches: what it writes stays half done, or lands late.
void Walk::cut_short(ReplicaId id) {
    SimWorld& world = cluster_.world;
    if (!may_crash(id)) return;
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        QueueId const queue = world.queue_of(id, Plane::replication, other);
        for (std::uint64_t i = dice_.below(4); i > 0 && world.can_land(queue); --i)
            world.land(queue);
        if (world.can_land(queue) && world.words_left(queue) > 1) {
            note_operation(WalkEvent::Kind::tear, queue);
            land_some(queue);
            if (dice_.one_in(2)) world.fail(queue);
        }
    }
    crash(id, dice_.one_in(2));
    if (dice_.one_in(2)) begin_anew(id);
}

// A restart that everybody notices at once.
void Walk::begin_anew(ReplicaId id) {
    restart(id);
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        if (other == id || !cluster_.alive(other)) continue;
        cluster_.world.discover(other, id);
        cluster_.world.discover(id, other);
    }
}

// A follower is stopped until the leader has dropped it and has just begun to overwrite what it has not executed.
void Walk::lap(ReplicaId follower, ReplicaId leader) {
    Executor const& executor = cluster_.replica(follower).executor();
    Replicator const& replicator = cluster_.replica(leader).replicator();
    auto const lapped = [&] {
        return !replicator.leading() || replicator.tail() > executor.applied().offset + cluster_.format.ring_bytes();
    };
    freeze(follower, true);
    for (int i = 0; i < 12 && !lapped(); ++i) {
        quiet_steps(400, lapped);
        now_ += plan_.cluster.settings.stall_limit / 4;
    }
    freeze(follower, false);
}

// A takeover is stopped with a grant in hand whose grantor starts anew, is admitted, and helps decide what the takeover
// does not know: then it goes on.
void Walk::forget_a_grant(ReplicaId requester, ReplicaId granter, ReplicaId leader) {
    Replicator const& takeover = cluster_.replica(requester).replicator();
    auto const waits = [&] { return takeover.stage() == Replicator::Stage::requesting; };
    // Of three, the requester itself is the witness: it must not have granted its own log yet.
    if (!may_crash(granter) || (cluster_.size() == 3 && takeover.follower(requester).is_granted())) return;
    calm_down();
    ReplicaId witness = requester;
    for (ReplicaId id = 1; id <= cluster_.size() && cluster_.size() > 3; ++id) {
        if (id != requester && id != granter && id != leader && admitted(id)) witness = id;
    }
    if (witness != requester) freeze(witness, true);
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        if (other != requester && other != granter) cut(requester, other);
    }
    quiet_steps(600, [&] { return takeover.follower(granter).is_granted() || !waits(); });
    if (waits() && takeover.follower(granter).is_granted() && may_crash(granter)) {
        go_on_without_memory(requester, granter, leader, witness);
        quiet_steps(1'000, [&] { return !waits(); });
    }
    freeze(witness, false);
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        if (other != requester) heal(requester, other);
        if (other != leader) heal(leader, other);
    }
}

// The grantor's next life is admitted while both the requester and a witness, whose chain it will read next, stand still:
// their logs name the new life, and nothing that is decided with its help.
void Walk::go_on_without_memory(ReplicaId requester, ReplicaId granter, ReplicaId leader, ReplicaId witness) {
    freeze(requester, true);
    crash(granter, true);
    begin_anew(granter);
    quiet_steps(8'000, [&] { return admitted(granter); });
    cut(leader, witness);
    std::uint64_t const before = judge_.acknowledged();
    quiet_steps(5'000, [&] { return judge_.acknowledged() > before + 2; });
    Proposal const proposal = cluster_.replica(requester).replicator().proposal();
    heal(requester, witness);
    quiet_steps(1'000, [&] {
        auto const request = load_cell(cluster_.region(witness).peers[requester].request);
        return witness == requester || (request && request->proposal == proposal);
    });
    if (cluster_.alive(witness) && witness != requester)
        step_background(witness);  // it answers before it executes more
    freeze(witness, false);
    freeze(requester, false);
}

// --- A minority fails -----------------------------------------------------------------------------------------------

void Walk::cripple(ReplicaId id) {
    auto const other = static_cast<ReplicaId>(1 + (id + dice_.below(cluster_.size() - 1)) % cluster_.size());
    switch (dice_.below(plan_.halts ? 6 : 5)) {
        case 5:
            halt(id);
            break;
        case 0:
            crash(id, dice_.one_in(2));
            break;
        case 1:
            freeze(id, true);
            break;
        case 2:
            pause(id, true);
            break;
        case 3:  // two cannot hear each other
            cut(id, other);
            cut(other, id);
            break;
        default:
            for (ReplicaId each = 1; each <= cluster_.size(); ++each) {
                if (each == id) continue;
                cut(id, each);
                cut(each, id);
            }
    }
}

// What cannot get through is not waited for: it completes with an error (F5).
void Walk::time_out_cut_operations() {
    SimWorld& world = cluster_.world;
    for (std::size_t i = 0; i < world.ready().size();) {
        QueueId const queue = world.ready()[i];
        if (world.can_land(queue)) {
            ++i;
            continue;
        }
        while (world.fail(queue)) {
        }
    }
}

// One plane of somebody has to connect to somebody else anew.
void Walk::break_some() {
    ReplicaId const writer = any();
    ReplicaId const target = any();
    auto const plane = static_cast<Plane>(dice_.below(kPlanes));
    if (writer != target && cluster_.alive(writer)) disconnect(cluster_.world.queue_of(writer, plane, target));
}

// A minority is dead, stopped or cut off, and stays so: the others must decide more than a ring holds.
bool Walk::limp() {
    static constexpr int kRounds = 6000;
    static constexpr int kTimeOutRounds = 10;
    static constexpr int kBreakingRounds = 500;
    static constexpr std::uint64_t kCommands = 80;
    std::size_t const minority = cluster_.size() - majority_of(cluster_.size());
    if (minority == 0) return true;
    for (std::size_t i = 1 + dice_.below(minority); i > 0; --i)
        cripple(any());
    std::uint64_t const enough = judge_.acknowledged() + kCommands;
    for (int round = 0; round < kRounds && judge_.content() && judge_.acknowledged() < enough; ++round) {
        calm_round();
        client_step();
        if (round % kTimeOutRounds == 0) time_out_cut_operations();
        if (plan_.breaks && round < kBreakingRounds && dice_.one_in(kTimeOutRounds)) break_some();
    }
    if (judge_.acknowledged() < enough) judge_.fail("not live: a minority has failed, and the others do not go on");
    return judge_.content();
}

}  // namespace mu::simulation
