#include "simulation/walk.hpp"

namespace mu::walk {

using Kind = WalkEvent::Kind;

WalkPlan WalkPlan::of(std::uint64_t seed) {
    Dice dice(seed ^ 0x706c616eU);
    WalkPlan plan;
    plan.seed = seed;
    static constexpr std::array<std::size_t, 8> kSizes{3, 3, 3, 3, 3, 5, 5, 7};
    plan.cluster.replicas = dice.one_in(40) ? 1 : kSizes[dice.below(kSizes.size())];
    plan.cluster.log_bytes = dice.one_in(3) ? 8192 : 4096;
    plan.cluster.revocation = dice.one_in(2) ? Revocation::by_area : Revocation::by_refusal;
    plan.cluster.ordered_writes = !dice.one_in(4);
    plan.cluster.auto_deliver = false;
    plan.cluster.ballast_bytes = dice.one_in(8) ? kPieceBytes : 0;
    plan.cluster.settings = quick_settings();
    if (dice.one_in(4)) plan.cluster.settings.commit_idle_after = 0;
    plan.keeps_majority = !dice.one_in(5);
    static constexpr std::array<Nanoseconds, 4> kTicks{40, 100, 200, 600};
    plan.tick = kTicks[dice.below(kTicks.size())];
    plan.trouble = dice.below(4);
    plan.calm_youth = !dice.one_in(5);
    plan.events = 10'000 + dice.below(40'000);
    return plan;
}

Walk::Walk(WalkPlan const& plan)
    : plan_(plan),
      dice_(plan.seed),
      cluster_(plan.cluster),
      judge_(plan.cluster.replicas),
      trouble_(plan.calm_youth ? 0 : plan.trouble),
      live_(plan.keeps_majority) {
    remembered_.reserve(kRemembered);
    cluster_.world.on_permit([this](ReplicaId id, PermitStage) { in_permit(id); });
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            if (other != id && !dice_.one_in(3)) cluster_.world.discover(id, other);
        }
    }
}

bool Walk::run() {
    for (event_ = 0; event_ < plan_.events && judge_.content(); ++event_) {
        if (dice_.one_in(700)) weather();
        now_ += static_cast<Nanoseconds>(dice_.below(static_cast<std::uint64_t>(plan_.tick)));
        one_event();
    }
    return judge_.content() && conclude();
}

void Walk::one_event() {
    // One event in so many is trouble.
    static constexpr std::array<std::uint64_t, 4> kTroubleEvery{1'000'000, 1'000, 250, 80};
    if (dice_.one_in(kTroubleEvery[trouble_])) {
        chaos();
        return;
    }
    std::uint64_t const draw = dice_.below(100);
    if (draw < 54) {
        move_operation();
    } else if (draw < 88) {
        step_some_plane();
    } else if (draw < 98) {
        client_event();
    } else {
        discover_some();
    }
}

// --- Planes ---------------------------------------------------------------------------------------------------------

void Walk::step_some_plane() {
    ReplicaId const id = any();
    if (!cluster_.alive(id) || lives_[id].frozen) return;
    if (dice_.one_in(3)) {
        step_background(id);
    } else {
        step_replication(id);
    }
}

void Walk::step_background(ReplicaId id) {
    note(Kind::background, id);
    cluster_.replica(id).step_background(now_);
    judge_.look(cluster_, id);
}

void Walk::step_replication(ReplicaId id) {
    note(Kind::replication, id);
    if (dice_.one_in(8)) cluster_.world.coalesce_completions(id, Plane::replication);
    cluster_.replica(id).step_replication(now_, nullptr);
    after_plane(id);
}

void Walk::after_plane(ReplicaId id) {
    judge_.look(cluster_, id);
    Replicator const& replicator = cluster_.replica(id).replicator();
    Life& life = lives_[id];
    if (life.stage != replicator.stage()) {
        life.stage = replicator.stage();
        note(Kind::stage, id, static_cast<std::uint64_t>(life.stage), replicator.tail());
        takeovers_ += replicator.leading() ? 1 : 0;
        if (replicator.leading()) judge_.leads(replicator, id);
    }
    settle(id);
}

// A client learns that its command was decided only from the leader to which it gave it, under the same tenure.
void Walk::settle(ReplicaId id) {
    Life& life = lives_[id];
    Replicator const& replicator = cluster_.replica(id).replicator();
    std::erase_if(life.in_flight, [&](Command const& command) {
        bool const same = replicator.leading() && replicator.proposal() == command.proposal;
        bool const decided = same && replicator.decided() >= command.end;
        if (decided) {
            note(Kind::acknowledge, id, command.number, command.end);
            judge_.acknowledged(command.number, command.proposal, command.end);
        }
        if (command.session != 0 && (decided || !same)) {
            SessionClient& client = sessions_[command.session - 1];
            client.in_flight = false;
            if (decided && client.command == command.number) client.command = 0;
        }
        return decided || !same;
    });
}

// --- Clients --------------------------------------------------------------------------------------------------------

void Walk::client_event() {
    ReplicaId const id = any();
    for (ReplicaId step = 0; step < cluster_.size(); ++step) {
        auto const candidate = static_cast<ReplicaId>(1 + (id + step) % cluster_.size());
        if (!cluster_.alive(candidate) || lives_[candidate].frozen) continue;
        if (!cluster_.replica(candidate).replicator().leading()) continue;
        if (dice_.one_in(4)) {
            read(candidate);
        } else {
            propose(candidate);
        }
        return;
    }
}

void Walk::propose(ReplicaId id) {
    Life& life = lives_[id];
    if (life.in_flight.size() > 6) return;
    Command command;
    SessionRequest session;
    std::size_t padding = dice_.below(dice_.one_in(10) ? 400 : 60);
    if (dice_.one_in(4)) {
        std::size_t const index = dice_.below(sessions_.size());
        SessionClient& client = sessions_[index];
        if (client.in_flight) return;
        if (client.command == 0) {
            client.command = next_command_++;
            ++client.number;
        }
        session = {index + 1, client.number};
        command = {client.command, 0, 0, 0, index + 1};
        padding = 8;
    } else {
        command.number = next_command_++;
    }
    Outcome const outcome = cluster_.propose(id, command.number, padding, session);
    if (outcome == Outcome::ok) {
        Replicator const& replicator = cluster_.replica(id).replicator();
        judge_.proposed(command.number);
        command.proposal = replicator.proposal();
        command.end = replicator.tail();
        life.in_flight.push_back(command);
        if (command.session != 0) sessions_[command.session - 1].in_flight = true;
        note(Kind::propose, id, command.number, command.end);
    }
    if (dice_.one_in(2)) cluster_.replica(id).advance();
    if (dice_.one_in(4)) cluster_.replica(id).execute_decided(nullptr);
    after_plane(id);
}

void Walk::read(ReplicaId id) {
    Read& read = lives_[id].read;
    Replica& replica = cluster_.replica(id);
    if (!read.open) {
        read = {true, replica.replicator().proposal(), judge_.acknowledged_end()};
        note(Kind::read, id, read.must_cover);
        replica.begin_read();
        return;
    }
    std::optional<Outcome> const outcome = replica.poll_read(nullptr);
    if (outcome == Outcome::ok) {
        note(Kind::read_done, id, replica.executor().applied().offset);
        judge_.read_done(cluster_, id, read.must_cover);
    }
    if (outcome || dice_.one_in(20)) read.open = false;
    after_plane(id);
}

// --- Operations -----------------------------------------------------------------------------------------------------

bool Walk::stuck_link(SimRoute const& route) const noexcept {
    return ((slow_links_[route.writer] >> route.target) & 1U) != 0;
}

void Walk::move_operation() {
    SimWorld& world = cluster_.world;
    if (world.ready().empty()) return;
    QueueId const queue = world.ready()[dice_.below(world.ready().size())];
    bool const lazy =
        world.orphaned(queue) ? !dice_.one_in(40) : stuck_link(world.queue(queue).route()) && !dice_.one_in(60);
    if (lazy) return;
    std::uint64_t const draw = dice_.below(1000);
    if (draw < 60 && world.words_left(queue) > 1) {
        note_operation(Kind::tear, queue);
        world.land_partly(queue, 1 + dice_.below(world.words_left(queue)), dice_.next());
    } else if (draw < 60 + 4 * trouble_) {
        note_operation(Kind::fail, queue);
        world.fail(queue);
    } else if (draw < 60 + 7 * trouble_) {
        note_operation(Kind::fail_after, queue);
        world.fail_after_effect(queue);
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
            world.land_partly(queue, 1 + dice_.below(std::max<std::size_t>(1, world.words_left(queue))), dice_.next());
        } else {
            world.land(queue);
        }
    }
}

// --- Trouble --------------------------------------------------------------------------------------------------------

// From now on other links are slow, and there is more trouble or less. Now and then all is well for a while.
void Walk::weather() {
    bool const young = plan_.calm_youth && judge_.acknowledged() < 5 && event_ < plan_.events / 4;
    trouble_ = young ? 0 : dice_.below(plan_.trouble + 1);
    cluster_.world.vouch_runnable(any(), dice_.one_in(2));
    slow_links_ = {};
    if (dice_.one_in(3)) {
        calm_down();
        return;
    }
    for (std::uint64_t i = dice_.below(cluster_.size() + 1); i > 0 && !young; --i)
        slow_links_[any()] |= 1U << any();
}

void Walk::calm_down() {
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        lives_[id].frozen = false;
        if (!cluster_.alive(id)) restart(id);
        cluster_.world.vouch_runnable(id, false);
        cluster_.replica(id).shared().paused.store(false);
        for (ReplicaId other = 1; other <= cluster_.size(); ++other)
            cluster_.world.heal(id, other);
    }
}

bool Walk::up(ReplicaId id) const {
    if (!cluster_.alive(id)) return false;
    return lives_[id].lives == 1 || admitted(id);
}

bool Walk::may_crash(ReplicaId id) const {
    if (!cluster_.alive(id)) return false;
    std::size_t others = 0;
    std::size_t witnesses = 0;
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        others += other != id && up(other) ? 1 : 0;
        witnesses += other != id && cluster_.alive(other) && admitted(other) ? 1 : 0;
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
    SimWorld& world = cluster_.world;
    std::uint64_t const draw = dice_.below(100);
    if (draw < 20) {
        if (id != other && dice_.one_in(2)) {
            note(Kind::cut, id, other);
            world.cut(id, other);
            if (dice_.one_in(2)) world.cut(other, id);
        }
    } else if (draw < 36) {
        note(Kind::heal, id, other);
        world.heal(id, other);
        world.heal(other, id);
    } else if (draw < 50) {
        crash_some(id);
    } else if (draw < 66) {
        for (ReplicaId dead = 1; dead <= cluster_.size(); ++dead) {
            if (!cluster_.alive(dead) && dice_.one_in(2)) restart(dead);
        }
    } else if (draw < 72) {
        note(Kind::freeze, id);
        lives_[id].frozen = true;
    } else if (draw < 86) {
        note(Kind::thaw, id);
        lives_[id].frozen = false;
    } else if (draw < 90) {
        if (cluster_.alive(id)) {
            note(Kind::pause, id);
            cluster_.replica(id).shared().paused.store(true);
        }
    } else if (draw < 95) {
        if (cluster_.alive(id)) {
            note(Kind::resume, id);
            cluster_.replica(id).shared().paused.store(false);
        }
    } else {
        auto const span = static_cast<Nanoseconds>(dice_.below(static_cast<std::uint64_t>(300 * kMicrosecond)));
        note(Kind::jump, id, static_cast<std::uint64_t>(span));
        now_ += span;
    }
}

void Walk::crash_some(ReplicaId id) {
    if (!may_crash(id)) return;
    ++crashes_;
    note(Kind::crash, id, cluster_.world.incarnation(id));
    live_ = live_ && !forming();
    for (Command const& command : lives_[id].in_flight) {
        if (command.session != 0) sessions_[command.session - 1].in_flight = false;
    }
    cluster_.crash(id);
    std::uint64_t const lives = lives_[id].lives;
    lives_[id] = Life{};
    lives_[id].lives = lives;
    if (dice_.one_in(2)) {
        note(Kind::gone, id);
        cluster_.world.report_gone(id);
    }
    if (dice_.one_in(6)) restart(id);
}

void Walk::restart(ReplicaId id) {
    cluster_.restart(id);
    note(Kind::restart, id, cluster_.world.incarnation(id));
    judge_.new_life(id);
    ++lives_[id].lives;
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

// --- The end --------------------------------------------------------------------------------------------------------

void Walk::heal_everything() {
    SimWorld& world = cluster_.world;
    calm_down();
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            if (id != other) world.discover(id, other);
        }
    }
    slow_links_ = {};
}

void Walk::calm_round() {
    now_ += 3 * kMicrosecond;
    ++event_;
    for (ReplicaId id = 1; id <= cluster_.size() && judge_.content(); ++id) {
        step_background(id);
        cluster_.world.deliver_all();
        step_replication(id);
        cluster_.world.deliver_all();
    }
}

// Everything works again: a new command must be decided soon, and everybody must come to the same history.
bool Walk::conclude() {
    static constexpr int kRounds = 3000;
    statistics_ = std::to_string(cluster_.size()) + " replicas, " + std::to_string(takeovers_) + " tenures, " +
                  std::to_string(crashes_) + " crashes, " + std::to_string(judge_.history().size()) + " executed, " +
                  std::to_string(judge_.acknowledged()) + " acknowledged, " + std::to_string(judge_.reads()) +
                  " reads, " + std::to_string(now_ / kMicrosecond - 1000000) + " us";
    heal_everything();
    healed_ = true;
    std::uint64_t const before = judge_.acknowledged();
    bool decided = false;
    bool everybody = false;
    for (int round = 0; round < kRounds && judge_.content() && !(decided && everybody); ++round) {
        calm_round();
        if (round % 4 == 0 && !decided) client_event();
        decided = judge_.acknowledged() >= before + 2;
        everybody = true;
        for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
            everybody = everybody && cluster_.machine(id).history.size() >= judge_.history().size() &&
                        cluster_.replica(id).shared().joined.load();
        }
    }
    if (live_ && !decided) judge_.fail("not live: healed, and nothing was decided");
    // Without the empty slot that carries the commit offset, followers trail by the last commands.
    if (live_ && !everybody && plan_.cluster.settings.commit_idle_after != 0) {
        judge_.fail("not live: healed, and somebody does not catch up");
    }
    return judge_.content();
}

}  // namespace mu::walk
