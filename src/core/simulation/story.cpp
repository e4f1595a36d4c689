// What people see of a walk: its last events, how everybody stands, and how to walk it again.
#include <cstdio>

#include "simulation/walk.hpp"

namespace mu::simulation {

using Kind = WalkEvent::Kind;

namespace {

std::uint64_t mixed(std::uint64_t digest, WalkEvent const& event) noexcept {
    static constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ULL;
    std::uint64_t const who = event.replica | event.route.writer << 8U | event.route.target << 16U |
                              static_cast<std::uint64_t>(event.route.plane) << 24U;
    std::uint64_t const what = static_cast<std::uint64_t>(event.kind) |
                               static_cast<std::uint64_t>(event.operation) << 8U |
                               static_cast<std::uint64_t>(event.region) << 16U;
    std::uint64_t const when = static_cast<std::uint64_t>(event.at);
    for (std::uint64_t const each : {who << 32U | what, when, event.a, event.b, event.place, event.proposal}) {
        digest = (digest ^ each) * kOdd;
        digest ^= digest >> 29U;
    }
    return digest;
}

}  // namespace

void Walk::keep(WalkEvent const& event) {
    digest_ = mixed(digest_, event);
    if (healed_ && event.kind <= Kind::replication) return;  // everybody steps all the time now
    if (trace_) std::printf("%s\n", describe(event).c_str());
    if (remembered_.size() < kRemembered) {
        remembered_.push_back(event);
    } else {
        remembered_[event_remembered_ % kRemembered] = event;
    }
    ++event_remembered_;
}

void Walk::note(Kind kind, ReplicaId replica, std::uint64_t a, std::uint64_t b) {
    WalkEvent event;
    event.kind = kind;
    event.replica = replica;
    event.at = now_ - kSecond;
    event.a = a;
    event.b = b;
    if (cluster_.alive(replica)) event.proposal = cluster_.replica(replica).replicator().proposal();
    keep(event);
}

void Walk::note_operation(Kind kind, QueueId queue) {
    if (cluster_.world.queue(queue).empty()) return;
    SimOperation const& operation = cluster_.world.queue(queue).front();
    WalkEvent event;
    event.kind = kind;
    event.route = cluster_.world.queue(queue).route();
    event.replica = event.route.writer;
    event.at = now_ - kSecond;
    event.a = operation.length;
    event.b = operation.id;
    event.operation = operation.kind;
    event.region = operation.region;
    event.place = operation.at;
    event.proposal = operation.tenure.proposal;
    keep(event);
}

std::string describe(WalkEvent const& event) {
    static constexpr std::array<char const*, 28> kNames{
        "background",   "replication",    "propose",    "read",     "read done",
        "acknowledge",  "land",           "tear",       "fail",     "fail after effect",
        "land, no ack", "land in permit", "disconnect", "cut",      "heal",
        "crash",        "gone",           "restart",    "discover", "freeze",
        "thaw",         "pause",          "resume",     "aside",    "able",
        "halt",         "jump",           "stage"};
    std::array<char, 240> line{};
    bool const operation = event.kind >= Kind::land && event.kind <= Kind::permit_land;
    double const at = static_cast<double>(event.at) / 1000.0;
    auto const round = static_cast<unsigned long long>(round_of(event.proposal));
    if (operation) {
        static constexpr std::array<char const*, 3> kPlanes3{"replication", "background", "learner"};
        static constexpr std::array<char const*, 3> kOperations{"write", "read", "confirm"};
        std::snprintf(line.data(), line.size(),
                      "%10.3f us  %-17s %u#%llu %s -> %u: %s %s at %llu, %llu bytes, id %llx, p %llu.%u", at,
                      kNames[static_cast<std::size_t>(event.kind)], event.route.writer,
                      static_cast<unsigned long long>(event.route.writer_incarnation),
                      kPlanes3[static_cast<std::size_t>(event.route.plane)], event.route.target,
                      kOperations[static_cast<std::size_t>(event.operation)],
                      event.region == Region::log ? "log" : "background", static_cast<unsigned long long>(event.place),
                      static_cast<unsigned long long>(event.a), static_cast<unsigned long long>(event.b), round,
                      proposer_of(event.proposal));
    } else {
        std::snprintf(line.data(), line.size(), "%10.3f us  %-17s %u  %llu %llu  p %llu.%u", at,
                      kNames[static_cast<std::size_t>(event.kind)], event.replica,
                      static_cast<unsigned long long>(event.a), static_cast<unsigned long long>(event.b), round,
                      proposer_of(event.proposal));
    }
    return line.data();
}

std::string Walk::transcript() const {
    std::string text;
    std::size_t const first = event_remembered_ > kRemembered ? event_remembered_ - kRemembered : 0;
    for (std::size_t i = first; i < event_remembered_; ++i) {
        text += describe(remembered_[i % kRemembered]) + "\n";
    }
    return text;
}

std::string Walk::state() {
    std::string text;
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        if (!cluster_.alive(id)) {
            text += std::to_string(id) + " is dead\n";
            continue;
        }
        Replica const& replica = cluster_.replica(id);
        Replicator const& replicator = replica.replicator();
        Shared const& shared = replica.shared();
        std::array<char, 400> line{};
        auto const wide = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
        std::snprintf(line.data(), line.size(),
                      "%u#%llu joined %d eligible %d lapped %d frozen %d, sees leader %u, alive %x; stage %d p %llu.%u "
                      "decided %llu tail %llu; applied %llu of %zu commands, scanned %llu; word %llu.%u; followers",
                      id, wide(replica.incarnation()), shared.joined.load(), shared.eligible.load(),
                      shared.lapped.load(), lives_[id].frozen, shared.leader.load(), shared.alive.load(),
                      static_cast<int>(replicator.stage()), wide(round_of(replicator.proposal())),
                      proposer_of(replicator.proposal()), wide(replicator.decided()), wide(replicator.tail()),
                      wide(replica.executor().applied().offset), cluster_.machine(id).history.size(),
                      wide(cluster_.region(id).own.chain_end), wide(round_of(cluster_.world.fabric(id).permission())),
                      proposer_of(cluster_.world.fabric(id).permission()));
        text += line.data();
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            Follower const& follower = replicator.follower(other);
            std::snprintf(line.data(), line.size(), " [%d %llu..%llu acc %llu app %llu inc %llu/%llu]",
                          static_cast<int>(follower.stage), wide(follower.grant.from.offset),
                          wide(follower.grant.end.offset), wide(follower.accepted), wide(follower.applied),
                          wide(follower.grant.incarnation),
                          wide(replica.executor().configuration().incarnations[other]));
            text += line.data();
        }
        text += "\n";
    }
    return text;
}

std::string Walk::statistics() const {
    return std::to_string(cluster_.size()) + " replicas, " + std::to_string(takeovers_) + " tenures, " +
           std::to_string(crashes_) + " crashes, " + std::to_string(judge_.history().size()) + " executed, " +
           std::to_string(judge_.acknowledged()) + " acknowledged, " + std::to_string(judge_.reads()) + " reads, " +
           std::to_string((now_ - kSecond) / kMicrosecond) + " us";
}

std::string Walk::reproduction() const {
    return "mu sim --seeds " + std::to_string(plan_.seed) + ".." + std::to_string(plan_.seed) + " --steps " +
           std::to_string(plan_.steps) + " --replicas " + std::to_string(plan_.cluster.replicas);
}

}  // namespace mu::simulation
