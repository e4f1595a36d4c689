// Callers whose time is up while others wait for the same replica. Nothing here is timed but the deadlines that are
// given: a wait ends when what it waits for has happened, or the test has failed (kLongestWait).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>

#include "fabric/segment.hpp"
#include "fabric/shm_world.hpp"
#include "runtime/clock.hpp"
#include "runtime/native_machine.hpp"
#include "runtime/node.hpp"
#include "support/caller.hpp"

namespace mu::test {
namespace {

constexpr Nanoseconds kSoon = 50 * kMillisecond;

// Replicas 1, 2, … of which only the first may lead.
class Cluster {
public:
    explicit Cluster(std::size_t replicas) {
        for (ReplicaId replica = 1; replica <= replicas; ++replica) {
            NodeOptions options;
            options.endpoint = shm_options(directory_, replica, replicas);
            options.settings.self = replica;
            options.settings.members = options.endpoint.members;
            options.settings.cluster_key = options.endpoint.cluster_key;
            options.settings.stale_limit = kLongestWait;  // whoever waits for a processor is not dead
            options.settings.stuck_limit = kLongestWait;
            options.settings.grant_timeout = kLongestWait;  // a leader that lost its followers goes on leading,
            options.settings.joiner_retry = 6 * kSoon;      // and has time to be seen without them
            nodes_.at(replica) = std::make_unique<Node>(options, machines_.at(replica));
            nodes_.at(replica)->replica().shared().aside.store(replica != 1);
            nodes_.at(replica)->start();
        }
        REQUIRE(leader().wait_until_leading(monotonic_now() + kLongestWait));
        REQUIRE(wait_until([&] { return writes_to_all(replicas); }));
    }
    [[nodiscard]] Node& leader() const { return *nodes_[1]; }
    [[nodiscard]] std::uint64_t applied_by_leader() const { return machines_[1].count(); }
    [[nodiscard]] bool writes_to_all(std::size_t replicas) const {
        Node::Held const held(leader());
        return leader().replica().replicator().writers().size() == replicas;
    }
    // The next write to `replica` fails; it is asked for its permission again, and grants it.
    void take_permission_away(ReplicaId replica) const {
        int const file = ::open(directory_.segment(replica).c_str(), O_RDWR | O_CLOEXEC);
        void* const page = ::mmap(nullptr, kSegmentPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        REQUIRE(page != MAP_FAILED);
        ::close(file);
        std::atomic_ref(static_cast<SegmentHeader*>(page)->permission.word).store(kNoProposal);
        ::munmap(page, kSegmentPage);
    }

private:
    PrivateDirectory directory_;
    std::array<NativeMachine, 4> machines_;
    std::array<std::unique_ptr<Node>, 4> nodes_;
};

struct Request : ClientRequest {
    Request() { wants_reply = true; }
    [[nodiscard]] std::uint64_t told() const { return ByteReader(reply).take<std::uint64_t>(); }
};

}  // namespace

TEST_CASE("A caller whose time is up while its command is in flight ends nobody else's call") {
    Cluster const cluster(3);
    Node& leader = cluster.leader();
    Outcome late = Outcome::ok;
    while (late != Outcome::indeterminate) {  // else it was too early, or too late
        REQUIRE(wait_until([&] { return cluster.writes_to_all(3); }));
        Request leaves;
        Request stays;
        leader.hold();
        cluster.take_permission_away(2);
        cluster.take_permission_away(3);
        WaitingCaller first([&] { leader.run(leaves, monotonic_now() + kSoon); });
        first.wait_until_it_sleeps();
        WaitingCaller second([&] { leader.run(stays, monotonic_now() + kLongestWait); });
        second.wait_until_it_sleeps();
        leader.release();  // combines both into one slot
        first.join();
        late = leaves.outcome;
        second.join();
        CHECK(stays.outcome == Outcome::ok);
        CHECK(stays.told() == cluster.applied_by_leader());
    }
}

TEST_CASE("Calls keep their timeouts while somebody else holds the replica, and have proposed nothing") {
    Cluster const cluster(1);
    Node& node = cluster.leader();
    Request stays;
    Request late;
    std::array<ClientRequest, 2> batch;
    Outcome read = Outcome::ok;
    node.hold();
    {
        WaitingCaller waits([&] { node.run(stays, monotonic_now() + kLongestWait); });
        waits.wait_until_it_sleeps();
        WaitingCaller one([&] { node.run(late, monotonic_now()); });
        WaitingCaller many([&] { node.run_many(batch, monotonic_now()); });
        WaitingCaller reads([&] { read = node.read([] {}, monotonic_now()); });
        CHECK(wait_until([&] { return one.returned() && many.returned() && reads.returned(); }));
        CHECK(!waits.returned());
        node.release();
    }
    CHECK(stays.outcome == Outcome::ok);
    CHECK(stays.told() == 1);
    for (Outcome const outcome : {late.outcome, batch[0].outcome, batch[1].outcome, read}) {
        CHECK(outcome == Outcome::busy);
    }
}

TEST_CASE("Of callers that leave the queue in the middle of others no command is lost or doubled") {
    constexpr int kCalls = 3000;  // of each caller
    Cluster const cluster(1);
    Node& node = cluster.leader();
    std::atomic<std::uint64_t> decided = 0;
    auto const call = [&](int name) {
        for (int i = 0; i < kCalls; ++i) {
            Request request;
            node.run(request, monotonic_now() + (name + i) % 4 * 10 * kMicrosecond);
            decided.fetch_add(request.outcome == Outcome::ok ? 1 : 0);
        }
    };
    {
        WaitingCaller const first([&] { call(1); });
        WaitingCaller const second([&] { call(2); });
        WaitingCaller const third([&] { call(3); });
        WaitingCaller const fourth([&] { call(4); });
    }
    REQUIRE(node.read([] {}, monotonic_now() + kLongestWait) == Outcome::ok);
    CHECK(decided.load() > 0);
    CHECK(decided.load() == cluster.applied_by_leader());
}

}  // namespace mu::test
