#include "support/cluster.hpp"

#include <algorithm>

namespace mu::test {
namespace {

constexpr std::array kAllPlanes{Plane::replication, Plane::background, Plane::learner};

Commands commands_of(Slot const& slot) {
    Commands commands;
    if (slot.header.kind == SlotKind::commands) {
        CommandReader reader(slot.value);
        for (CommandReader::Command command; reader.next(command);) {
            commands.push_back(text_of(command.bytes));
        }
    }
    return commands;
}

}  // namespace

Settings quick_settings() {
    Settings settings;
    settings.cluster_key = kKey;
    settings.heartbeat_period = 10 * kMicrosecond;
    settings.heartbeat_idle_period = 20 * kMicrosecond;
    settings.idle_after = kMillisecond;
    settings.stale_limit = 60 * kMicrosecond;
    settings.starved_limit = 150 * kMicrosecond;
    settings.stuck_limit = 200 * kMicrosecond;
    settings.minimum_hold = 0;
    settings.grant_timeout = 150 * kMicrosecond;
    settings.backoff_first = 10 * kMicrosecond;
    settings.backoff_limit = 500 * kMicrosecond;
    settings.joiner_retry = 15 * kMicrosecond;
    settings.stall_limit = 300 * kMicrosecond;
    settings.transfer_timeout = 400 * kMicrosecond;
    settings.commit_idle_after = 10 * kMicrosecond;
    return settings;
}

void Answers::reply(Offset, std::uint32_t, ReplyStatus, std::span<std::byte const> bytes) {
    replies.push_back(text_of(bytes));
}

Cluster::Cluster(ClusterOptions const& options)
    : options_(options),
      held_(make_held_world({options.replicas, options.log_bytes, options.revocation})),
      world(*held_),
      format(options.settings.cluster_key, options.log_bytes,
             world.fabric(1).ordered_writes() ? Integrity::stamp : Integrity::checksum) {
    for (ReplicaId const id : ids()) {
        begin_life(id);
    }
}

BackgroundRegion& Cluster::region(ReplicaId id) {
    return *reinterpret_cast<BackgroundRegion*>(world.fabric(id).background().data());
}

std::vector<ReplicaId> Cluster::ids() const {
    std::vector<ReplicaId> ids;
    for (ReplicaId id = 1; id <= options_.replicas; ++id) {
        ids.push_back(id);
    }
    return ids;
}

void Cluster::begin_life(ReplicaId id) {
    Settings settings = options_.settings;
    settings.self = id;
    settings.members = ids();
    machines_[id] = std::make_unique<Journal>();
    replicas_[id] =
        std::make_unique<Replica>(world.fabric(id), format, std::move(settings), *machines_[id], world.incarnation(id));
    stopped_[id] = false;
}

// --- By itself ------------------------------------------------------------------------------------------------------

void Cluster::form() {
    auto const follows = [this](ReplicaId id) {
        return id == 1 || replica(id).replayer().chain_end() == replicator(1).tail();
    };
    auto const formed = [&] {
        return leader() == 1 && decided(1) && replicator(1).writers().size() == size() &&
               std::ranges::all_of(ids(), follows);
    };
    REQUIRE(run_until(formed, 50'000));
    run(20);  // so that everybody has executed and published all there is
}

void Cluster::step_all() {
    now += 5 * kMicrosecond;
    fail_cut_off();
    for (ReplicaId const id : ids()) {
        if (world.alive(id) && !stopped_[id]) {
            step_background(id);
            step_replication(id);
        }
    }
}

// What is posted to somebody whom its writer cannot reach completes with an error (fabric contract, F5).
void Cluster::fail_cut_off() {
    for (ReplicaId const from : ids()) {
        for (ReplicaId const to : ids()) {
            for (Plane const plane : kAllPlanes) {
                if (world.is_cut(from, to)) {
                    lose(from, to, plane);
                }
            }
        }
    }
}

bool Cluster::run_until(std::function<bool()> const& done, int max_steps) {
    for (int i = 0; i < max_steps; ++i) {
        if (done()) {
            return true;
        }
        step_all();
    }
    return false;
}

void Cluster::run(int steps) {
    for (int i = 0; i < steps; ++i) {
        step_all();
    }
}

ReplicaId Cluster::leader() {
    ReplicaId found = kNobody;
    for (ReplicaId const id : ids()) {
        if (world.alive(id) && replicator(id).leading() &&
            (found == kNobody || replicator(id).proposal() > replicator(found).proposal())) {
            found = id;
        }
    }
    return found;
}

// Proposes until it is decided under the tenure that proposed it, or turns out to have been adopted by a later one: what
// a tenure has merely proposed before it ended is nobody's promise.
void Cluster::decide(std::string_view command) {
    for (int attempt = 0; attempt < 10; ++attempt) {
        REQUIRE(run_until([&] { return leader() != kNobody && propose(leader(), command) == Outcome::ok; }));
        ReplicaId const by = leader();
        Offset const end = replicator(by).tail();
        Proposal const tenure = replicator(by).proposal();
        auto const goes_on = [&] { return replicator(by).leading() && replicator(by).proposal() == tenure; };
        REQUIRE(run_until([&] { return !goes_on() || replicator(by).decided() >= end; }));
        if (goes_on()) {
            return;
        }
        REQUIRE(run_until([&] { return leader() != kNobody; }));
        run(200);
        Commands const told = history(leader());
        if (std::ranges::find(told, command) != told.end()) {
            return;
        }
    }
    FAIL("no tenure lasted long enough to decide a command");
}

bool Cluster::all_have(Commands const& commands) {
    return std::ranges::all_of(
        ids(), [&](ReplicaId id) { return !world.alive(id) || stopped_[id] || history(id) == commands; });
}

void Cluster::crash(ReplicaId id) {
    replicas_[id].reset();
    world.crash(id);
}

void Cluster::restart(ReplicaId id) {
    world.restart(id);
    begin_life(id);
}

void Cluster::part(std::initializer_list<ReplicaId> some, std::initializer_list<ReplicaId> others) {
    for (ReplicaId const one : some) {
        for (ReplicaId const other : others) {
            world.cut(one, other);
            world.cut(other, one);
        }
    }
}

void Cluster::join(std::initializer_list<ReplicaId> some, std::initializer_list<ReplicaId> others) {
    for (ReplicaId const one : some) {
        for (ReplicaId const other : others) {
            world.heal(one, other);
            world.heal(other, one);
        }
    }
}

// --- By hand --------------------------------------------------------------------------------------------------------

void Cluster::step_as_follower(ReplicaId id, ReplicaId leader) {
    replica(id).shared().leader = leader;
    step_replication(id);
}

std::size_t Cluster::land(ReplicaId writer, ReplicaId target, Plane plane) {
    std::size_t count = 0;
    for (; world.land({writer, target, plane}); ++count) {
    }
    return count;
}

std::size_t Cluster::lose(ReplicaId writer, ReplicaId target, Plane plane) {
    std::size_t count = 0;
    for (; world.fail({writer, target, plane}); ++count) {
    }
    return count;
}

void Cluster::land_one(ReplicaId writer, ReplicaId target, Plane plane) {
    REQUIRE(world.land({writer, target, plane}));
}

void Cluster::lose_one(ReplicaId writer, ReplicaId target, Plane plane) {
    REQUIRE(world.fail({writer, target, plane}));
}

bool Cluster::tear(ReplicaId writer, ReplicaId target, std::size_t words) {
    return world.land_partly({writer, target}, words);
}

std::size_t Cluster::words_left(ReplicaId writer, ReplicaId target) { return world.words_left({writer, target}); }

void Cluster::land_and_deny(ReplicaId writer, ReplicaId target) { REQUIRE(world.fail_after_effect({writer, target})); }

void Cluster::land_unacknowledged(ReplicaId writer, ReplicaId target) {
    REQUIRE(world.land_unacknowledged({writer, target}));
}

std::vector<Posted> Cluster::posted(ReplicaId writer, ReplicaId target, Plane plane) {
    return world.posted({writer, target, plane});
}

std::vector<Posted> Cluster::posted_slots(ReplicaId writer, ReplicaId target) {
    std::vector<Posted> const all = posted(writer, target);
    std::vector<Posted> slots;
    for (std::size_t i = 0; i < all.size(); ++i) {
        i += i + 2 < all.size() && all[i + 2].at == all[i].at ? 2 : 0;  // its head's place and its canary's
        slots.push_back(all[i]);
    }
    return slots;
}

void Cluster::land_slot(ReplicaId writer, ReplicaId target) {
    while (words_left(writer, target) == 1) {
        land_one(writer, target);
    }
    land_one(writer, target);
}

std::size_t Cluster::pending(ReplicaId writer, ReplicaId target, Plane plane) {
    return posted(writer, target, plane).size();
}

std::size_t Cluster::pending() {
    std::size_t count = 0;
    for (ReplicaId const writer : ids()) {
        for (ReplicaId const target : ids()) {
            for (Plane const plane : kAllPlanes) {
                count += pending(writer, target, plane);
            }
        }
    }
    return count;
}

void Cluster::land_between(ReplicaId id, std::initializer_list<ReplicaId> others) {
    for (Plane const plane : kAllPlanes) {
        land(id, id, plane);
        for (ReplicaId const other : others) {
            land(id, other, plane);
            land(other, id, plane);
        }
    }
}

void Cluster::depose(ReplicaId id, ReplicaId by) {
    land(by, id, Plane::learner);
    step_background(id);
    step_as_follower(id);
    REQUIRE(replicator(id).stage() == Stage::follower);
}

void Cluster::ask(ReplicaId id) {
    replica(id).shared().leader = id;
    step_replication(id);
    if (replicator(id).stage() == Stage::follower) {
        pass(options_.settings.backoff_limit * 2);
        step_replication(id);
    }
    REQUIRE(replicator(id).stage() == Stage::requesting);
}

void Cluster::grant(ReplicaId acceptor, ReplicaId candidate) {
    land(candidate, acceptor, Plane::learner);
    step_background(acceptor);
    replica(acceptor).shared().leader = candidate;
    land(acceptor, candidate, Plane::background);
}

bool Cluster::take_over(ReplicaId id, std::initializer_list<ReplicaId> acceptors, Stage stage) {
    ask(id);
    for (int i = 0; i < 20 && replicator(id).stage() != stage; ++i) {
        for (ReplicaId const acceptor : acceptors) {
            grant(acceptor, id);
        }
        step_replication(id);
        if (replicator(id).stage() != stage) {
            land_between(id, acceptors);
        }
    }
    return replicator(id).stage() == stage;
}

void Cluster::teach(ReplicaId leader, ReplicaId follower) {
    auto const confirmed = [&] { return replicator(leader).follower(follower).stage == Follower::Stage::confirmed; };
    for (int i = 0; i < 20 && !confirmed(); ++i) {
        grant(follower, leader);
        step_replication(leader);
        land_between(leader, {follower});
    }
    REQUIRE(confirmed());
    land_between(leader, {follower});
}

Outcome Cluster::propose(ReplicaId id, std::string_view command, SessionRequest session) {
    PackedValue const value = pack({{std::string(command), session}});
    return replica(id).propose(value.prefix, value.body);
}

void Cluster::propose_to(ReplicaId id, std::initializer_list<ReplicaId> targets, std::string_view command) {
    REQUIRE(propose(id, command) == Outcome::ok);
    for (ReplicaId const target : targets) {
        land(id, target);
    }
    replica(id).advance();
}

// --- What there is --------------------------------------------------------------------------------------------------

std::vector<FoundSlot> Cluster::chain(ReplicaId id) {
    std::vector<FoundSlot> found;
    std::span<std::byte const> const ring = world.fabric(id).log().bytes;
    Position at = replica(id).executor().applied();
    while (auto const slot = format.parse(ring, at)) {
        std::byte const* const begin = ring.data() + format.place(at.offset);
        found.push_back({slot->header, commands_of(*slot),
                         OwnedBytes(begin, begin + canary_at(slot->header.length) + kCanaryBytes)});
        at = slot->after();
    }
    return found;
}

Commands Cluster::knows(ReplicaId id) {
    Commands commands = history(id);
    for (FoundSlot const& slot : chain(id)) {
        commands.insert(commands.end(), slot.commands.begin(), slot.commands.end());
    }
    return commands;
}

}  // namespace mu::test
