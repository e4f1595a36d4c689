// What goes wrong in a walk, by chance and by hand.
#include <algorithm>
#include <numeric>

#include "simulation/walk.hpp"

namespace mu::simulation {

using Kind = WalkEvent::Kind;

// --- Operations -----------------------------------------------------------------------------------------------------

namespace {

bool own(SimRoute const& route) noexcept { return route.writer == route.target; }

}  // namespace

bool Walk::stuck_link(SimRoute const& route) const noexcept {
    return ((slow_links_[route.writer] >> route.target) & 1U) != 0;
}

bool Walk::denied(SimQueue const& queue) const noexcept {
    SimRoute const& route = queue.route();
    return ((denied_links_[route.writer] >> route.target) & 1U) != 0 && queue.front().kind != Operation::read;
}

void Walk::move_operation() {
    SimWorld& world = cluster_.world;
    if (world.ready().empty()) return;
    QueueId const queue = world.ready()[dice_.below(world.ready().size())];
    bool const lazy = world.orphaned(queue)
                          ? !dice_.one_in(plan_.orphan_factor)
                          : stuck_link(world.queue(queue).route()) && !dice_.one_in(plan_.slow_factor);
    if (lazy) return;
    if (denied(world.queue(queue)) && world.can_land(queue)) {
        note_operation(Kind::fail_after, queue);
        world.fail_after_effect(queue);
        return;
    }
    std::uint64_t const draw = dice_.below(1000);
    if (draw < plan_.torn_in_1000 && world.words_left(queue) > 1) {
        note_operation(Kind::tear, queue);
        land_some(queue);
    } else if (draw < plan_.torn_in_1000 + trouble_ && plan_.breaks && !own(world.queue(queue).route())) {
        disconnect(queue);
    } else if (draw < plan_.torn_in_1000 + 4 * trouble_) {
        note_operation(Kind::fail, queue);
        world.fail(queue);
    } else if (draw < plan_.torn_in_1000 + 7 * trouble_) {
        note_operation(Kind::fail_after, queue);
        world.fail_after_effect(queue);
    } else if (draw >= 1000 - plan_.unacknowledged_in_1000 && world.can_land(queue)) {
        note_operation(Kind::land_unacknowledged, queue);
        world.land_unacknowledged(queue);
    } else {
        for (std::uint64_t i = dice_.below(4) + 1; i > 0 && world.can_land(queue); --i) {
            note_operation(Kind::land, queue);
            world.land(queue);
        }
    }
}

// Other replicas' operations land while `id` is in the middle of granting its log.
void Walk::in_permit(ReplicaId id) {
    SimWorld& world = cluster_.world;
    for (int tries = 0; tries < 6 && !world.ready().empty(); ++tries) {
        QueueId const queue = world.ready()[dice_.below(world.ready().size())];
        if (world.queue(queue).route().target != id || !world.can_land(queue)) continue;
        note_operation(Kind::permit_land, queue);
        if (dice_.one_in(2)) {
            land_some(queue);
        } else {
            world.land(queue);
        }
    }
}

// The replica is stopped in the middle of a step. The others go on, and its other plane.
void Walk::in_moment(ReplicaId id, Plane plane) {
    if (!storming_ || stopped_ != kNobody || plan_.stop_every == 0 || !dice_.one_in(plan_.stop_every)) return;
    stop_inside(id, plane, dice_.below(dice_.one_in(4) ? 600 : 30));
}

// A state machine takes its time: longer than a learner is given for one piece.
void Walk::in_work(ReplicaId id) {
    auto const limit = static_cast<std::uint64_t>(plan_.cluster.settings.transfer_timeout);
    if (stopped_ != kNobody || dice_.one_in(2)) return;
    stop_inside(id, Plane::replication,
                dice_.below(2 * limit / static_cast<std::uint64_t>(storming_ ? plan_.tick : kCalmTick)));
}

void Walk::stop_inside(ReplicaId id, Plane plane, std::uint64_t steps) {
    stopped_ = id;
    stopped_plane_ = plane;
    for (std::uint64_t i = steps; i > 0 && judge_.content(); --i) {
        if (!storming_) {
            calm_round();
            continue;
        }
        ++step_;
        now_ += static_cast<Nanoseconds>(dice_.below(static_cast<std::uint64_t>(plan_.tick)));
        one_step();
    }
    stopped_ = kNobody;
}

// --- Trouble --------------------------------------------------------------------------------------------------------

// Some words of the front, in some order. What is drawn, is drawn one after the other: in which order a call's arguments
// are worked out is the compiler's choice, and one seed has to be one walk on every machine.
void Walk::land_some(QueueId queue) {
    SimWorld& world = cluster_.world;
    std::uint64_t const order = dice_.next();
    world.land_partly(queue, 1 + dice_.below(std::max<std::size_t>(1, world.words_left(queue))), order);
}

// From now on other links are slow, and there is more trouble or less. Now and then all is well for a while.
void Walk::weather() {
    static constexpr std::uint64_t kYouthSteps = 5'000;  // whatever the plan's length: a shorter walk is a prefix
    bool const young = plan_.calm_youth && judge_.acknowledged() < 5 && step_ < kYouthSteps;
    trouble_ = young ? 0 : dice_.below(plan_.trouble + 1);
    bool const runnable = dice_.one_in(2);
    cluster_.world.vouch_runnable(any(), runnable);
    slow_links_ = {};
    deny_some(young);
    if (dice_.one_in(3)) {
        calm_down();
        return;
    }
    for (std::uint64_t i = dice_.below(cluster_.size() + 1); i > 0 && !young; --i)
        slow_links_[any()] |= 1U << any();
}

// It outlasts several weathers: what it wears out, it wears out slowly.
void Walk::deny_some(bool young) {
    if (!plan_.denials || young || !dice_.one_in(6)) return;
    denied_links_ = {};
    if (dice_.one_in(2)) return;
    ReplicaId const writer = victim();
    auto const everybody = static_cast<std::uint32_t>((1ULL << (cluster_.size() + 1)) - 1);
    std::uint32_t const others = everybody & ~(1U << writer);
    denied_links_[writer] = dice_.one_in(2) ? others : others & static_cast<std::uint32_t>(dice_.next());
}

void Walk::calm_down() {
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        lives_[id].frozen = false;
        if (lives_[id].halted) crash(id, true);
        if (!cluster_.alive(id)) restart(id);
        cluster_.world.vouch_runnable(id, false);
        cluster_.replica(id).shared().paused.store(false);
        cluster_.replica(id).shared().aside.store(false);
        for (ReplicaId other = 1; other <= cluster_.size(); ++other)
            cluster_.world.heal(id, other);
    }
}

bool Walk::up(ReplicaId id) const {
    if (!cluster_.alive(id) || lives_[id].halted) return false;
    return lives_[id].lives == 1 || admitted(id);
}

bool Walk::may_crash(ReplicaId id) const {
    if (!cluster_.alive(id)) return false;
    std::size_t others = 0;
    std::size_t witnesses = 0;
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        others += other != id && up(other) ? 1 : 0;
        bool const remembers = cluster_.alive(other) && !lives_[other].halted;
        witnesses += other != id && remembers && admitted(other) ? 1 : 0;
    }
    if (plan_.keeps_majority) return others >= majority_of(cluster_.size());
    // Once everybody who knew of the cluster has forgotten it, nobody can tell that there was one.
    return witnesses > 0 || !admitted(id);
}

// A death between the two phases of the first formation may need the operator's word.
bool Walk::forming() const {
    bool prepared = false;
    bool all_joined = true;
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        if (!cluster_.alive(id) || lives_[id].lives > 1) continue;
        prepared = prepared || load_word(cluster_.region(id).own.prepared) != 0;
        all_joined = all_joined && admitted(id);
    }
    return prepared && !all_joined;
}

bool Walk::admitted(ReplicaId id) const {
    return load_word(cluster_.region(id).own.admitted) == cluster_.world.incarnation(id);
}

// Half of the trouble meets the leader.
ReplicaId Walk::victim() {
    ReplicaId const id = any();
    for (ReplicaId other = 1; other <= cluster_.size() && dice_.one_in(2); ++other) {
        if (cluster_.alive(other) && cluster_.replica(other).replicator().stage() != Replicator::Stage::follower) {
            return other;
        }
    }
    return id;
}

void Walk::chaos() {
    ReplicaId const id = victim();
    ReplicaId const other = any();
    std::uint64_t const all = std::accumulate(plan_.weights.begin(), plan_.weights.end(), std::uint64_t{0});
    std::uint64_t draw = dice_.below(all);
    std::size_t trouble = 0;
    for (; draw >= plan_.weights[trouble]; ++trouble)
        draw -= plan_.weights[trouble];
    switch (static_cast<Trouble>(trouble)) {
        case Trouble::cut:
            if (id == other || dice_.one_in(2)) break;
            cut(id, other);
            if (dice_.one_in(2)) cut(other, id);
            break;
        case Trouble::heal:
            heal(id, other);
            heal(other, id);
            break;
        case Trouble::crash:
            crash_some(id);
            break;
        case Trouble::restart:
            restart_some();
            break;
        case Trouble::freeze:
            freeze(id, true);
            break;
        case Trouble::thaw:
            freeze(id, false);
            break;
        case Trouble::pause:
            dice_.one_in(3) ? stand_aside(id, true) : pause(id, true);
            break;
        case Trouble::resume:
            pause(id, false);
            stand_aside(id, false);
            break;
        case Trouble::jump:
            jump_some(id);
            break;
    }
}

// Time passes for everybody while nobody steps, or one clock jumps: clocks have nothing to do with each other.
void Walk::jump_some(ReplicaId id) {
    auto const span = static_cast<Nanoseconds>(dice_.below(static_cast<std::uint64_t>(300 * kMicrosecond)));
    bool const alone = dice_.one_in(2);
    note(Kind::jump, id, static_cast<std::uint64_t>(span), alone ? 1 : 0);
    (alone ? ahead_[id] : now_) += span;
}

// Clocks count from some moment of their host's.
void Walk::set_clock(ReplicaId id) {
    ahead_[id] = static_cast<Nanoseconds>(dice_.below(static_cast<std::uint64_t>(kSecond)));
}

void Walk::crash_some(ReplicaId id) {
    if (!may_crash(id)) return;
    if (plan_.halts && dice_.one_in(3)) {
        halt(id);
        return;
    }
    crash(id, dice_.one_in(2));
    if (dice_.one_in(6)) restart(id);
}

void Walk::restart_some() {
    for (ReplicaId dead = 1; dead <= cluster_.size(); ++dead) {
        if (!cluster_.alive(dead) && dice_.one_in(2)) restart(dead);
    }
}

// Somebody learns who is there now, or that somebody has ended.
void Walk::discover_some() {
    SimWorld& world = cluster_.world;
    ReplicaId const observer = any();
    ReplicaId const id = any();
    if (observer == id || !cluster_.alive(observer)) return;
    PeerState const seen = world.fabric(observer).peer(id);
    if (cluster_.alive(id)) {
        if (seen.incarnation == world.incarnation(id)) return;
        note(Kind::discover, observer, id, world.incarnation(id));
        world.discover(observer, id);
    } else if (seen.incarnation != 0 && !seen.gone && dice_.one_in(4)) {
        note(Kind::gone, observer, id);
        world.report_gone(observer, id);
    }
}

// --- By hand --------------------------------------------------------------------------------------------------------

void Walk::crash(ReplicaId id, bool reported) {
    if (!cluster_.alive(id) || id == stopped_) return;  // (who is in the middle of a step is on our own stack)
    ++crashes_;
    note(Kind::crash, id, cluster_.world.incarnation(id));
    live_ = live_ && !forming() && may_crash(id);
    for (Command const& command : lives_[id].in_flight) {
        if (command.session != 0) sessions_[command.session - 1].in_flight = false;
        if (command.by_hand) fates_[command.number] = Fate::indeterminate;
    }
    judge_.remember(cluster_, id);
    cluster_.crash(id);
    std::uint64_t const lives = lives_[id].lives;
    lives_[id] = Life{};
    lives_[id].lives = lives;
    if (reported) {
        note(Kind::gone, id);
        cluster_.world.report_gone(id);
    }
}

void Walk::restart(ReplicaId id) {
    if (cluster_.alive(id)) return;
    cluster_.restart(id);
    note(Kind::restart, id, cluster_.world.incarnation(id));
    judge_.new_life(id);
    set_clock(id);
    ++lives_[id].lives;
}

void Walk::cut(ReplicaId from, ReplicaId to) {
    note(Kind::cut, from, to);
    cluster_.world.cut(from, to);
}

void Walk::disconnect(QueueId queue) {
    SimRoute const& route = cluster_.world.queue(queue).route();
    note(Kind::disconnect, route.writer, route.target, static_cast<std::uint64_t>(route.plane));
    cluster_.world.disconnect(queue);
}

void Walk::heal(ReplicaId from, ReplicaId to) {
    note(Kind::heal, from, to);
    cluster_.world.heal(from, to);
}

void Walk::heal_everything() {
    calm_down();
    discover_all();
    slow_links_ = {};
    denied_links_ = {};
}

void Walk::discover_all() {
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            bool const both = cluster_.alive(id) && cluster_.alive(other);
            if (id != other && both && !cluster_.world.is_cut(id, other)) cluster_.world.discover(id, other);
        }
    }
}

void Walk::freeze(ReplicaId id, bool frozen) {
    note(frozen ? Kind::freeze : Kind::thaw, id);
    lives_[id].frozen = frozen;
}

void Walk::pause(ReplicaId id, bool paused) {
    if (!cluster_.alive(id)) return;
    note(paused ? Kind::pause : Kind::resume, id);
    cluster_.replica(id).shared().paused.store(paused);
}

void Walk::halt(ReplicaId id) {
    if (!cluster_.alive(id) || lives_[id].halted) return;
    note(Kind::halt, id);
    live_ = live_ && !forming() && may_crash(id);  // only as another life can it go on
    lives_[id].halted = true;
    cluster_.replica(id).shared().halted.store(true);
}

void Walk::stand_aside(ReplicaId id, bool aside) {
    if (!cluster_.alive(id)) return;
    note(aside ? Kind::aside : Kind::able, id);
    cluster_.replica(id).shared().aside.store(aside);
}

}  // namespace mu::simulation
