// A node in a process that runs out of memory: what cannot be put together is not proposed, and the plane is let go.
//
// The allocator of this whole program is replaced by one that refuses a thread large blocks when it is told to.
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>

#include "fabric/shm_world.hpp"
#include "runtime/clock.hpp"
#include "runtime/native_machine.hpp"
#include "runtime/node.hpp"

namespace {
constinit thread_local std::size_t t_refused_from = std::numeric_limits<std::size_t>::max();  // bytes
}

void* operator new(std::size_t bytes) {
    void* const block = bytes < t_refused_from ? std::malloc(bytes != 0 ? bytes : 1) : nullptr;
    if (block == nullptr) throw std::bad_alloc();
    return block;
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }

namespace mu::test {
namespace {

constexpr Nanoseconds kLongest = 60 * kSecond;
constexpr std::size_t kLarge = 1 << 20;  // bytes; nothing but a proposal takes so much at once here

class NoMemoryFrom {
public:
    explicit NoMemoryFrom(std::size_t bytes) { t_refused_from = bytes; }
    ~NoMemoryFrom() { t_refused_from = std::numeric_limits<std::size_t>::max(); }
    NoMemoryFrom(NoMemoryFrom const&) = delete;
    NoMemoryFrom& operator=(NoMemoryFrom const&) = delete;
};

// A replica that leads by itself.
struct Alone {
    Alone() : node(options(), machine) {
        node.start();
        REQUIRE(node.wait_until_leading(monotonic_now() + kLongest));
    }
    [[nodiscard]] NodeOptions options() const {
        NodeOptions options;
        options.endpoint = shm_options(directory, 1, 1);
        options.endpoint.ring_bytes = 32 * kLarge;
        options.settings.self = 1;
        options.settings.members = {1};
        options.settings.cluster_key = options.endpoint.cluster_key;
        return options;
    }
    // One that finds the plane free, unless somebody has kept it. (Its thread may hold it for a moment.)
    [[nodiscard]] Outcome execute(std::span<std::byte const> command) {
        ClientRequest request;
        request.command = command;
        request.wants_reply = true;
        Nanoseconds const deadline = monotonic_now() + kLongest;
        while (!node.try_run(request)) {
            REQUIRE(monotonic_now() < deadline);
        }
        return request.outcome;
    }

    PrivateDirectory directory;
    NativeMachine machine;
    Node node;
};

}  // namespace

TEST_CASE("What lacks the memory to be put together is not proposed, and the replica goes on") {
    Alone alone;
    OwnedBytes const command(kLarge);
    std::array<ClientRequest, 2> batch;
    for (ClientRequest& request : batch) {
        request.command = command;
        request.wants_reply = true;
    }
    {
        NoMemoryFrom const here(kLarge);
        alone.node.run_many(batch, monotonic_now() + kLongest);
    }
    for (ClientRequest const& request : batch) {
        CHECK(request.outcome == Outcome::no_memory);
    }
    CHECK(alone.execute(command) == Outcome::ok);
    CHECK(alone.machine.count() == 1);
}

TEST_CASE("Callers whose commands were to share a slot are told that there is no memory for it") {
    Alone alone;
    OwnedBytes const command(kLarge);
    ClientRequest request;
    request.command = command;
    request.session = {7, 1};  // is copied behind its session's number
    {
        NoMemoryFrom const here(kLarge);
        alone.node.run(request, monotonic_now() + kLongest);
    }
    CHECK(request.outcome == Outcome::no_memory);
    CHECK(alone.execute(command) == Outcome::ok);
    CHECK(alone.machine.count() == 1);
}

TEST_CASE("What a read is given may throw, and the plane is let go") {
    Alone alone;
    auto const read = [&] {
        static_cast<void>(alone.node.read([] { throw std::runtime_error("read"); }, monotonic_now() + kLongest));
    };
    CHECK_THROWS_AS(read(), std::runtime_error);
    CHECK(alone.execute({}) == Outcome::ok);
}

}  // namespace mu::test
