// Nodes as threads of one process, over the shm fabric: callers that share a replica, a node that dies under them and
// one that is closed under them. Small enough for ThreadSanitizer, which is what it is for.
//
// Nothing here is timed: a wait ends when what it waits for has happened, or the test has failed (kLongestWait).
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <mutex>

#include "fabric/shm_world.hpp"
#include "runtime/clock.hpp"
#include "runtime/node.hpp"
#include "support/caller.hpp"

namespace mu::test {
namespace {

constexpr Nanoseconds kCallTimeout = 2 * kSecond;
constexpr std::uint64_t kCommands = 1500;  // of each caller

struct Command {
    std::uint64_t caller = 0;
    std::uint64_t number = 0;  // from 1
};

// Remembers the last number of each caller; a number that does not follow its predecessor is a fault.
class Tally final : public StateMachine {
public:
    bool apply(std::span<std::byte const> command, OwnedBytes& reply) override {
        Command const it = ByteReader(command).take<Command>();
        std::uint64_t& last = last_[it.caller];
        faults_ += it.number == last + 1 ? 0 : 1;
        last = it.number;
        digest_ = (digest_ ^ it.caller ^ (it.number << 8U)) * 0x9e3779b97f4a7c15ULL;
        count_.fetch_add(1, std::memory_order_release);
        ByteWriter(reply).put(it);
        return true;
    }
    [[nodiscard]] bool snapshot(OwnedBytes& out) override {
        ByteWriter writer(out);
        writer.put(count());
        writer.put(faults_);
        writer.put(digest_);
        for (auto const& [caller, number] : last_) {
            writer.put(Command{caller, number});
        }
        return true;
    }
    void restore(std::span<std::byte const> snapshot) override {
        ByteReader reader(snapshot);
        auto const count = reader.take<std::uint64_t>();
        faults_ = reader.take<std::uint64_t>();
        digest_ = reader.take<std::uint64_t>();
        last_.clear();
        while (!reader.finished()) {
            Command const it = reader.take<Command>();
            last_[it.caller] = it.number;
        }
        count_.store(count, std::memory_order_release);
    }

    // From any thread.
    [[nodiscard]] std::uint64_t count() const { return count_.load(std::memory_order_acquire); }
    // Only while nothing is applied: inside a read, or after the node's end.
    [[nodiscard]] std::uint64_t last(std::uint64_t caller) const {
        return last_.contains(caller) ? last_.at(caller) : 0;
    }
    [[nodiscard]] std::uint64_t faults() const { return faults_; }
    [[nodiscard]] std::uint64_t digest() const { return digest_; }

private:
    std::map<std::uint64_t, std::uint64_t> last_;
    std::uint64_t faults_ = 0;
    std::uint64_t digest_ = 0;
    std::atomic<std::uint64_t> count_ = 0;
};

struct Life {
    Life(NodeOptions const& options) : node(options, tally) { node.start(); }

    Tally tally;
    Node node;
};

// Replicas 1, 2 and 3. A life that has ended stays for as long as a caller is in it.
class Trio {
public:
    static constexpr std::array<ReplicaId, 3> kIds = {1, 2, 3};
    [[nodiscard]] static ReplicaId after(ReplicaId replica) {
        return replica == kIds.back() ? kIds.front() : replica + 1;
    }

    Trio() {
        for (ReplicaId const replica : kIds) {
            restart(replica);
        }
    }
    [[nodiscard]] std::shared_ptr<Life> at(ReplicaId replica) const {
        std::lock_guard const lock(mutex_);
        return lives_.at(replica);
    }
    void restart(ReplicaId replica) {
        auto life = std::make_shared<Life>(options(replica));
        std::lock_guard const lock(mutex_);
        lives_.at(replica) = std::move(life);
    }
    // Waits for a leader and returns its id.
    [[nodiscard]] ReplicaId leader() const {
        ReplicaId found = kNobody;
        REQUIRE(wait_until([&] {
            for (ReplicaId const replica : kIds) {
                found = leads(*at(replica)) ? replica : found;
            }
            return found != kNobody;
        }));
        return found;
    }
    // Once the lowest id leads nobody else wants to.
    [[nodiscard]] ReplicaId lowest_to_lead() const {
        REQUIRE(wait_until([&] { return leads(*at(kIds.front())); }));
        return kIds.front();
    }
    [[nodiscard]] static bool leads(Life& life) {
        life.node.hold();
        bool const leading = !life.node.closed() && life.node.replica().replicator().leading();
        life.node.release();
        return leading;
    }
    // Waits until all have applied as much as the leader.
    void settle() const {
        std::uint64_t count = 0;
        REQUIRE(wait_until([&] {
            std::shared_ptr<Life> const life = at(leader());
            return life->node.read([&] { count = life->tally.count(); }, monotonic_now() + kCallTimeout) == Outcome::ok;
        }));
        for (ReplicaId const replica : kIds) {
            REQUIRE(wait_until([&] { return at(replica)->tally.count() == count; }));
        }
    }
    // Ends all, so that their state may be looked at.
    void close() const {
        for (ReplicaId const replica : kIds) {
            at(replica)->node.close();
        }
    }

private:
    [[nodiscard]] NodeOptions options(ReplicaId replica) const {
        NodeOptions options;
        options.endpoint = shm_options(directory_, replica);
        options.endpoint.ring_bytes = 64 * 1024;
        options.settings.self = replica;
        options.settings.members.assign(kIds.begin(), kIds.end());
        options.settings.cluster_key = options.endpoint.cluster_key;
        // Instrumented code on busy cores is slow, not dead.
        options.settings.stale_limit = 300 * kMillisecond;
        options.settings.stuck_limit = 500 * kMillisecond;
        options.settings.grant_timeout = 200 * kMillisecond;
        return options;
    }

    PrivateDirectory directory_;
    mutable std::mutex mutex_;
    std::array<std::shared_ptr<Life>, kMaxReplicas> lives_;
};

// One thread's commands, one after the other, each until it is known to be applied: as a session, so once.
class Caller {
public:
    Caller(Trio& trio, std::uint64_t name, std::uint64_t commands)
        : trio_(trio), name_(name), commands_(commands), thread_([this] { run(); }) {}
    ~Caller() { join(); }
    Caller(Caller const&) = delete;
    Caller& operator=(Caller const&) = delete;

    void join() {
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] std::uint64_t acknowledged() const { return acknowledged_.load(std::memory_order_acquire); }

private:
    void run() {
        Nanoseconds const deadline = monotonic_now() + kLongestWait;
        ReplicaId replica = Trio::kIds.front();
        std::uint64_t again = 0;
        for (std::uint64_t number = 1; number <= commands_ && monotonic_now() < deadline;) {
            if (call(*trio_.at(replica), number, again)) {
                acknowledged_.store(number++, std::memory_order_release);
                again = 0;
            } else {
                again = kRetryBit;
                replica = Trio::after(replica);
                std::this_thread::yield();
            }
        }
    }
    [[nodiscard]] bool call(Life& life, std::uint64_t number, std::uint64_t again) const {
        Command const command{name_, number};
        ClientRequest request;
        request.command = std::as_bytes(std::span(&command, 1));
        request.session = {name_, number | again};
        request.wants_reply = number % 3 != 0;
        if (!life.node.try_run(request)) {
            life.node.run(request, monotonic_now() + kCallTimeout);
        }
        return request.outcome == Outcome::ok && request.status == ReplyStatus::ok;
    }

    Trio& trio_;
    std::uint64_t const name_;
    std::uint64_t const commands_;
    std::atomic<std::uint64_t> acknowledged_ = 0;
    std::thread thread_;
};

using Callers = std::vector<std::unique_ptr<Caller>>;

[[nodiscard]] Callers call_from(Trio& trio, std::uint64_t count, std::uint64_t commands) {
    Callers callers;
    for (std::uint64_t name = 1; name <= count; ++name) {
        callers.push_back(std::make_unique<Caller>(trio, name, commands));
    }
    return callers;
}

// Joins the callers and checks that every replica applied each of their commands once, in each caller's order.
void check_applied_once(Trio& trio, Callers const& callers) {
    for (auto const& caller : callers) {
        caller->join();
    }
    trio.settle();
    trio.close();
    for (ReplicaId const replica : Trio::kIds) {
        Tally const& tally = trio.at(replica)->tally;
        CHECK(tally.faults() == 0);
        CHECK(tally.count() == callers.size() * kCommands);
        CHECK(tally.digest() == trio.at(1)->tally.digest());
        for (std::uint64_t name = 1; name <= callers.size(); ++name) {
            CHECK(tally.last(name) == kCommands);
        }
    }
}

}  // namespace

TEST_CASE("Commands of several callers are applied once at all replicas, each caller's in its order") {
    Trio trio;
    Callers const callers = call_from(trio, 4, kCommands);
    check_applied_once(trio, callers);
    for (auto const& caller : callers) {
        CHECK(caller->acknowledged() == kCommands);
    }
}

TEST_CASE("A leader that dies under its callers and comes back loses and repeats nothing") {
    Trio trio;
    Callers const callers = call_from(trio, 3, kCommands);
    REQUIRE(wait_until([&] { return callers.front()->acknowledged() > kCommands / 4; }));
    ReplicaId const victim = trio.leader();
    trio.at(victim)->node.abandon();
    trio.restart(victim);
    REQUIRE(wait_until([&] { return !trio.at(victim)->node.replica().forming(); }));
    check_applied_once(trio, callers);
}

TEST_CASE("A follower that dies under load and comes back catches up") {
    Trio trio;
    Callers const callers = call_from(trio, 3, kCommands);
    REQUIRE(wait_until([&] { return callers.front()->acknowledged() > kCommands / 4; }));
    ReplicaId const victim = Trio::after(trio.leader());
    trio.at(victim)->node.abandon();
    trio.restart(victim);
    check_applied_once(trio, callers);
}

TEST_CASE("Batches of several callers are applied once, in order, also where they exceed a slot") {
    constexpr std::uint64_t kBatch = 600;
    Trio trio;
    ReplicaId const leader = trio.lowest_to_lead();
    std::array<std::uint64_t, 2> decided = {};
    auto const propose = [&](std::uint64_t name) {
        std::vector<Command> commands(kBatch);
        std::vector<ClientRequest> requests(kBatch);
        for (std::uint64_t i = 0; i < kBatch; ++i) {
            commands[i] = {name, i + 1};
            requests[i].command = std::as_bytes(std::span(&commands[i], 1));
        }
        trio.at(leader)->node.run_many(requests, monotonic_now() + kLongestWait);
        for (ClientRequest const& request : requests) {
            decided.at(name - 1) += request.outcome == Outcome::ok ? 1 : 0;
        }
    };
    std::thread first(propose, 1);
    std::thread second(propose, 2);
    first.join();
    second.join();
    trio.settle();
    trio.close();
    for (std::uint64_t const name : {1, 2}) {
        Tally const& tally = trio.at(leader)->tally;
        CHECK(tally.last(name) >= decided.at(name - 1));
        CHECK(tally.faults() == 0);
    }
}

TEST_CASE("A read sees all that was acknowledged before it began") {
    Trio trio;
    Callers const callers = call_from(trio, 2, kCommands);
    int reads = 0;
    REQUIRE(wait_until([&] {
        std::uint64_t const before = callers[0]->acknowledged();
        std::shared_ptr<Life> const life = trio.at(trio.leader());
        std::uint64_t seen = 0;
        if (life->node.read([&] { seen = life->tally.last(1); }, monotonic_now() + kCallTimeout) == Outcome::ok) {
            CHECK(seen >= before);
            ++reads;
        }
        return callers[0]->acknowledged() == kCommands;
    }));
    CHECK(reads > 0);
    check_applied_once(trio, callers);
}

TEST_CASE("A node that is closed under its callers answers all of them at once") {
    Trio trio;
    ReplicaId const leader = trio.lowest_to_lead();
    std::shared_ptr<Life> const life = trio.at(leader);
    Nanoseconds const deadline = monotonic_now() + kLongestWait;
    std::atomic<int> answered = 0;
    std::vector<std::thread> callers;
    for (std::uint64_t name = 1; name <= 4; ++name) {
        callers.emplace_back([&, name] {
            for (std::uint64_t number = 1; !life->node.closed(); ++number) {
                Command const command{name, number};
                ClientRequest request;
                request.command = std::as_bytes(std::span(&command, 1));
                request.wants_reply = true;
                life->node.run(request, deadline);
                answered.fetch_add(request.outcome == Outcome::ok ? 1 : 0);
            }
        });
    }
    REQUIRE(wait_until([&] { return answered.load() > 100; }));
    life->node.close();
    for (std::thread& caller : callers) {
        caller.join();
    }
    CHECK(monotonic_now() < deadline);
    ClientRequest late;
    life->node.run(late, deadline);
    CHECK(late.outcome == Outcome::not_leader);
    CHECK(life->node.read([] {}, deadline) == Outcome::not_leader);
    CHECK(trio.leader() != leader);  // the others go on
}

TEST_CASE("A node that is closed has removed its segment, and the next life may begin at once") {
    Trio trio;
    std::shared_ptr<Life> const earlier = trio.at(2);
    earlier->node.close();
    trio.restart(2);  // while the earlier one still exists
    REQUIRE(wait_until([&] { return !trio.at(2)->node.replica().forming(); }));
    CHECK(trio.at(2)->node.replica().incarnation() > earlier->node.replica().incarnation());
}

}  // namespace mu::test
