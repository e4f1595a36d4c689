// A node of mu.h that is closed while other threads are in calls of it. What they would touch of a node that is gone is
// seen by AddressSanitizer, which this is for.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <limits>

#include "fabric/shm_world.hpp"
#include "mu.h"
#include "protocol/settings.hpp"
#include "support/caller.hpp"

namespace mu::test {
namespace {

constexpr std::int64_t kLongest = 60 * kSecond;

// A state machine whose first command takes until it is told to end.
struct Gate {
    std::atomic<bool> entered = false;
    std::atomic<bool> open = false;

    static bool apply(void* context, std::uint64_t, void const*, std::size_t, mu_bytes*) {
        Gate& gate = *static_cast<Gate*>(context);
        gate.entered.store(true);
        gate.entered.notify_all();
        gate.open.wait(false);
        return true;
    }
    static void snapshot(void*, std::uint64_t, mu_bytes*) {}
    static void restore(void*, std::uint64_t, void const*, std::size_t) {}
};

[[nodiscard]] mu_node* open_first(PrivateDirectory const& directory, Gate& gate, std::size_t members) {
    static constexpr std::uint32_t kMembers[] = {1, 2};
    mu_machine const machine = {&gate, Gate::apply, Gate::snapshot, Gate::restore, nullptr};
    mu_options options{};
    options.struct_bytes = sizeof options;
    options.cluster = "test";
    options.replica_id = 1;
    options.members = kMembers;
    options.member_count = members;
    options.directory = directory.path().c_str();
    mu_node* const node = mu_open(&options, &machine);
    REQUIRE(node != nullptr);
    return node;
}

}  // namespace

TEST_CASE("A node of the C face is freed only when whoever waits to lead has returned") {
    PrivateDirectory const directory;
    Gate gate;
    mu_node* const node = open_first(directory, gate, 2);  // and never leads, being alone
    bool leads = true;
    WaitingCaller waiter([&] { leads = mu_wait_until_leading(node, kLongest); });
    waiter.wait_until_it_sleeps();
    mu_close(node);
    waiter.join();
    CHECK(!leads);
}

TEST_CASE("A timeout of the C face that is longer than the clock can tell is for ever") {
    constexpr std::int64_t kForEver = std::numeric_limits<std::int64_t>::max();
    PrivateDirectory const directory;
    Gate gate;
    mu_node* const node = open_first(directory, gate, 1);
    REQUIRE(mu_wait_until_leading(node, kForEver));
    mu_outcome outcome = MU_STOPPED;
    {
        WaitingCaller applies([&] { static_cast<void>(mu_execute(node, "a", 1, kForEver, nullptr)); });
        gate.entered.wait(false);
        WaitingCaller waits([&] { outcome = mu_execute(node, "b", 1, kForEver, nullptr); });
        waits.wait_until_it_sleeps();
        gate.open.store(true);
        gate.open.notify_all();
    }
    CHECK(outcome == MU_OK);
    mu_close(node);
}

TEST_CASE("A node of the C face is freed only when callers with commands have returned") {
    PrivateDirectory const directory;
    Gate gate;
    mu_node* const node = open_first(directory, gate, 1);
    REQUIRE(mu_wait_until_leading(node, kLongest));
    std::array<mu_outcome, 2> outcomes = {MU_OK, MU_OK};
    WaitingCaller applies([&] { outcomes[0] = mu_execute(node, "a", 1, kLongest, nullptr); });
    gate.entered.wait(false);
    WaitingCaller queues([&] { outcomes[1] = mu_execute(node, "b", 1, kLongest, nullptr); });
    queues.wait_until_it_sleeps();
    WaitingCaller closes([&] { mu_close(node); });
    closes.wait_until_it_sleeps();
    gate.open.store(true);
    gate.open.notify_all();
    applies.join();
    queues.join();
    for (mu_outcome const outcome : outcomes) {
        CHECK((outcome == MU_OK || outcome == MU_STOPPED || outcome == MU_INDETERMINATE));
    }
}

}  // namespace mu::test
