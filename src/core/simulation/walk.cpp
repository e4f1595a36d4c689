#include "simulation/walk.hpp"

#include <algorithm>

namespace mu::simulation {

using Kind = WalkEvent::Kind;

Walk::Walk(WalkPlan const& plan)
    : plan_(plan),
      dice_(plan.seed),
      cluster_(plan.cluster),
      judge_(plan.cluster.replicas),
      trouble_(plan.calm_youth ? 0 : plan.trouble),
      live_(plan.keeps_majority) {
    remembered_.reserve(kRemembered);
    cluster_.world.on_permit([this](ReplicaId id, PermitStage stage) {
        if (stage == PermitStage::word_set) judge_.remember(cluster_, id);
        in_permit(id);
    });
    cluster_.world.on_accept([this](ReplicaId id, Tenure const& writer) { judge_.accepted(id, writer); });
    cluster_.world.on_moment([this](ReplicaId id, Plane plane) { in_moment(id, plane); });
    if (plan_.works_long) cluster_.on_work([this](ReplicaId id) { in_work(id); });
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        set_clock(id);
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            if (other != id && !dice_.one_in(3)) cluster_.world.discover(id, other);
        }
    }
}

bool Walk::run() { return storm(plan_.steps) && conclude(); }

bool Walk::storm(std::uint64_t steps) {
    storming_ = true;
    for (std::uint64_t i = 0; i < steps && judge_.content(); ++i) {
        ++step_;
        if (dice_.one_in(700)) weather();
        now_ += static_cast<Nanoseconds>(dice_.below(static_cast<std::uint64_t>(plan_.tick)));
        one_step();
    }
    storming_ = false;
    return judge_.content();
}

void Walk::one_step() {
    if (plan_.ambushes && stopped_ == kNobody && !lying_in_wait_) ambush();
    // One step in so many is trouble, but an ambush makes its own.
    static constexpr std::array<std::uint64_t, 4> kTroubleEvery{1'000'000, 1'000, 250, 80};
    if (dice_.one_in(kTroubleEvery[trouble_]) && !lying_in_wait_) {
        chaos();
        return;
    }
    std::uint64_t const draw = dice_.below(100);
    if (draw < plan_.operations_in_100) {
        move_operation();
    } else if (draw < 88) {
        step_some_plane();
    } else if (draw < 98) {
        client_step();
    } else {
        discover_some();
    }
}

// --- Planes ---------------------------------------------------------------------------------------------------------

void Walk::step_some_plane() {
    ReplicaId const id = any();
    if (!cluster_.alive(id)) return;
    Plane const plane = dice_.one_in(plan_.background_every) ? Plane::background : Plane::replication;
    if (stopped(id, plane)) return;
    if (plane == Plane::background) {
        step_background(id);
    } else {
        step_replication(id);
    }
}

void Walk::step_background(ReplicaId id) {
    note(Kind::background, id);
    cluster_.replica(id).step_background(clock(id));
    judge_.look(cluster_, id);
}

void Walk::step_replication(ReplicaId id) {
    note(Kind::replication, id);
    if (dice_.one_in(8)) cluster_.world.coalesce_completions(id, Plane::replication);
    cluster_.replica(id).step_replication(clock(id), nullptr);
    after_plane(id);
}

void Walk::after_plane(ReplicaId id) {
    judge_.look(cluster_, id);
    Replicator const& replicator = cluster_.replica(id).replicator();
    Life& life = lives_[id];
    if (life.stage != replicator.stage()) {
        life.stage = replicator.stage();
        prey_ = id;
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
            judge_.acknowledged(command.number, command.proposal, command.end, command.after);
        }
        if (command.by_hand && (decided || !same)) {
            fates_[command.number] = decided ? Fate::acknowledged : Fate::indeterminate;
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

void Walk::client_step() {
    ReplicaId const id = any();
    for (ReplicaId step = 0; step < cluster_.size(); ++step) {
        auto const candidate = static_cast<ReplicaId>(1 + (id + step) % cluster_.size());
        if (!cluster_.alive(candidate) || stopped(candidate, Plane::replication)) continue;
        if (!cluster_.replica(candidate).replicator().leading()) continue;
        if (dice_.one_in(4)) {
            read_some(candidate);
        } else {
            propose_some(candidate);
        }
        return;
    }
}

void Walk::propose_some(ReplicaId id) {
    static constexpr std::size_t kMostPadding = 400;
    if (lives_[id].in_flight.size() > 6) return;
    Command command;
    SessionRequest session;
    std::size_t padding = dice_.below(dice_.one_in(10) ? kMostPadding : 60);
    if (dice_.one_in(4)) {
        std::size_t const index = dice_.below(sessions_.size());
        SessionClient& client = sessions_[index];
        if (client.in_flight) return;
        if (client.command == 0) {
            client.command = next_command_++;
            ++client.number;
            client.sent = false;
        }
        session = {index + 1, client.number | (client.sent ? kRetryBit : 0)};
        command.number = client.command;
        command.session = index + 1;
        padding = 8;
    } else {
        command.number = next_command_++;
    }
    command.after = judge_.acknowledged_end();
    std::array<std::byte, kMostPadding> same;
    same.fill(Recorder::padding_of(command.number));
    std::span<std::byte const> const rest =
        plan_.cluster.machine ? std::span<std::byte const>(commands_of_storms_) : std::span(same).first(padding);
    bool const for_the_first_time = judge_.proposed(command.number);
    bool const with_session = command.session != 0;
    if (with_session) sessions_[command.session - 1].in_flight = sessions_[command.session - 1].sent = true;
    if (cluster_.propose(id, command.number, rest, session) == Outcome::ok) {
        offered(id, command);
    } else {
        if (with_session) sessions_[command.session - 1].in_flight = false;
        if (for_the_first_time) judge_.refused(command.number);
    }
    if (dice_.one_in(2)) cluster_.replica(id).advance();
    if (dice_.one_in(4)) cluster_.replica(id).execute_decided(nullptr);
    after_plane(id);
}

void Walk::offered(ReplicaId id, Command command) {
    Replicator const& replicator = cluster_.replica(id).replicator();
    command.proposal = replicator.proposal();
    command.end = replicator.tail();
    lives_[id].in_flight.push_back(command);
    note(Kind::propose, id, command.number, command.end);
}

Walk::Proposed Walk::propose(ReplicaId id, std::span<std::byte const> command) {
    if (!cluster_.alive(id) || !cluster_.replica(id).replicator().leading()) return {Outcome::not_leader, 0};
    Command offer;
    offer.number = next_command_++;
    offer.after = judge_.acknowledged_end();
    offer.by_hand = true;
    judge_.proposed(offer.number);
    // Without a state machine commands are numbers only.
    Outcome const outcome =
        cluster_.propose(id, offer.number, plan_.cluster.machine ? command : std::span<std::byte const>());
    if (outcome != Outcome::ok) {
        judge_.refused(offer.number);
        return {outcome, 0};
    }
    fates_[offer.number] = Fate::open;
    offered(id, offer);
    after_plane(id);
    return {outcome, offer.number};
}

Walk::Fate Walk::fate(std::uint64_t number) const {
    auto const found = fates_.find(number);
    return found == fates_.end() ? Fate::indeterminate : found->second;
}

void Walk::read_some(ReplicaId id) {
    bool const begun = lives_[id].read.open;
    static_cast<void>(read(id));
    if (begun && dice_.one_in(20)) lives_[id].read.open = false;
}

std::optional<Outcome> Walk::read(ReplicaId id) {
    if (!cluster_.alive(id)) return Outcome::not_leader;
    Read& read = lives_[id].read;
    Replica& replica = cluster_.replica(id);
    if (!read.open) {
        if (!replica.replicator().leading()) return Outcome::not_leader;
        read = {true, judge_.seen_end()};
        note(Kind::read, id, read.must_cover);
        replica.begin_read();
        return std::nullopt;
    }
    std::optional<Outcome> const outcome = replica.poll_read(nullptr);
    if (outcome == Outcome::ok) {
        note(Kind::read_done, id, replica.executor().applied().offset);
        judge_.read_done(cluster_, id, read.must_cover);
    }
    if (outcome) read.open = false;
    after_plane(id);
    return outcome;
}

ReplicaId Walk::leader() const {
    ReplicaId found = kNobody;
    Proposal highest = kNoProposal;
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        if (!cluster_.alive(id) || lives_[id].frozen || !cluster_.replica(id).replicator().leading()) continue;
        if (cluster_.replica(id).replicator().proposal() > highest) {
            highest = cluster_.replica(id).replicator().proposal();
            found = id;
        }
    }
    return found;
}

// --- The end --------------------------------------------------------------------------------------------------------

void Walk::calm_round() {
    now_ += kCalmTick;
    ++step_;
    for (ReplicaId id = 1; id <= cluster_.size() && judge_.content(); ++id) {
        for (Plane const plane : {Plane::background, Plane::replication}) {
            if (!cluster_.alive(id) || stopped(id, plane)) continue;
            plane == Plane::background ? step_background(id) : step_replication(id);
            cluster_.world.deliver_all();
        }
    }
}

bool Walk::calm(std::uint64_t rounds) {
    discover_all();
    for (std::uint64_t i = 0; i < rounds && judge_.content(); ++i)
        calm_round();
    return judge_.content();
}

// In some walks then a minority fails, and the others have to go on without it.
bool Walk::conclude() { return recover() && (!plan_.limps || !live_ || (limp() && recover())); }

// Everything works again: a new command must be decided soon, and everybody must come to the same history.
bool Walk::recover() {
    static constexpr int kRounds = 3000;
    heal_everything();
    healed_ = true;
    std::uint64_t const before = judge_.acknowledged();
    bool decided = false;
    bool everybody = false;
    for (int round = 0; round < kRounds && judge_.content() && !(decided && everybody); ++round) {
        calm_round();
        if (round % 4 == 0 && !decided) client_step();
        decided = judge_.acknowledged() >= before + 2;
        everybody = true;
        for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
            everybody = everybody && cluster_.machine(id).history.size() >= judge_.history().size() &&
                        cluster_.replica(id).shared().joined.load();
        }
    }
    healed_ = false;
    if (live_ && !decided) judge_.fail("not live: healed, and nothing was decided");
    // Without the empty slot that carries the commit offset, followers trail by the last commands.
    if (live_ && !everybody && plan_.cluster.settings.commit_idle_after != 0) {
        judge_.fail("not live: healed, and somebody does not catch up");
    }
    return judge_.content();
}

}  // namespace mu::simulation
