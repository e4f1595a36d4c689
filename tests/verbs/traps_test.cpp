// What verbs, and soft-RoCE above all, can do to a careless fabric: each trap has its test. Those that need a network
// that misbehaves are in stale_test.cpp, silence_test.cpp and test_network.py.
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "log.hpp"
#include "verbs/verbs_world.hpp"

namespace mu::test {

namespace {

constexpr std::size_t kRounds = 2000;

[[nodiscard]] std::uint64_t first_word(std::span<std::byte const> bytes, std::size_t at) {
    std::uint64_t word = 0;
    racy_copy_out(reinterpret_cast<std::byte*>(&word), bytes.data() + at, sizeof word);
    return word;
}

// Fills a follower's log with a stream of writes until the first one fails, from a thread of its own.
class Stream {
public:
    Stream(Channel& channel, ReplicaId to, unsigned char fill)
        : channel_(channel), to_(to), bytes_(filled(2048, fill)), thread_([this] { run(); }) {}
    ~Stream() { thread_.join(); }
    Stream(Stream const&) = delete;
    Stream& operator=(Stream const&) = delete;
    void join_when_refused() {
        thread_.join();
        thread_ = std::thread([] {});
    }

private:
    void run() {
        std::array<Completion, 16> done;
        std::size_t outstanding = 0;
        for (std::uint64_t id = 1;; ++id) {
            if (outstanding < 8) {
                channel_.write(to_, Region::log, id % 2 * 2048, {bytes_}, id);
                ++outstanding;
            }
            std::size_t const count = channel_.poll(done);
            outstanding -= count;
            for (std::size_t i = 0; i < count; ++i) {
                if (!done[i].success) return;
            }
        }
    }

    Channel& channel_;
    ReplicaId to_;
    std::vector<std::byte> bytes_;
    std::thread thread_;
};

}  // namespace

TEST_CASE("F2: under a stream of writes, nothing of a revoked writer lands once permit() has returned") {
    VerbsWorld world(3);
    Driver writer(world, 1);
    std::vector<std::byte> const mine = filled(kRingBytes, 0xee);
    KeepAll keeper;
    std::uint64_t round = 0;
    for (std::size_t i = 0; i < kRounds; ++i) {
        writer.lead(2, ++round);
        Stream stream(writer.channel(), 2, static_cast<unsigned char>(i % 100 + 1));
        // The owner takes its own log, at whatever moment of the stream this is, and fills it.
        Tenure const own{2, world.incarnation(2), make_proposal(++round, 2)};
        std::ignore = world.endpoint(2).permit(own, keeper);
        Driver owner(world, 2);
        REQUIRE(owner.connect(2));
        owner.channel().begin_tenure(2, own, 0);
        REQUIRE(owner.write(2, Region::log, 0, {mine}));
        stream.join_when_refused();
        REQUIRE(copy_of(world.endpoint(2).log().bytes) == mine);
    }
}

TEST_CASE(
    "A write that is refused by its key leaves an inbox in the error state, and the next grant works all the same") {
    VerbsWorld world(3);
    Driver writer(world, 1);
    KeepAll keeper;
    REQUIRE(writer.connect(2));
    std::uint64_t const key = world.endpoint(2).permit(writer.tenure(1), keeper);
    writer.channel().begin_tenure(2, writer.tenure(1), key ^ (std::uint64_t{0xff00} << 32U));  // another registration
    CHECK_FALSE(writer.write(2, Region::log, 0, {filled(64, 1)}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(64, 0)));
    writer.lead(2, 2);
    CHECK(writer.write(2, Region::log, 0, {filled(64, 2)}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(64, 2)));
}

TEST_CASE("Taking the permission from an inbox in the error state shuts it out for good") {
    VerbsWorld world(3);
    Driver first(world, 1);
    KeepAll keeper;
    REQUIRE(first.connect(2));
    std::uint64_t const key = world.endpoint(2).permit(first.tenure(1), keeper);
    first.channel().begin_tenure(2, first.tenure(1), key ^ (std::uint64_t{0xff00} << 32U));
    CHECK_FALSE(first.write(2, Region::log, 0, {filled(64, 1)}));
    Driver(world, 3).lead(2, 2);
    first.channel().begin_tenure(2, first.tenure(1), key);  // with the key that it was once given
    CHECK_FALSE(first.write(2, Region::log, 0, {filled(64, 1)}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, filled(64, 0)));
}

TEST_CASE("A grant that was used once cannot be used again: its sequence numbers are spent") {
    // A writer that began anew at the same inbox would be told of a success that stored nothing.
    VerbsWorld world(2);
    Driver writer(world, 1);
    KeepAll keeper;
    REQUIRE(writer.connect(2));
    std::uint64_t const key = world.endpoint(2).permit(writer.tenure(1), keeper);
    writer.channel().begin_tenure(2, writer.tenure(1), key);
    REQUIRE(writer.write(2, Region::log, 0, {filled(64, 1)}));
    writer.channel().begin_tenure(2, writer.tenure(1), key);
    CHECK_FALSE(writer.write(2, Region::log, 64, {filled(64, 2)}));
    CHECK(shows(world.endpoint(2).log().bytes, 64, filled(64, 0)));
    writer.lead(2, 1);
    CHECK(writer.write(2, Region::log, 64, {filled(64, 3)}));
    CHECK(shows(world.endpoint(2).log().bytes, 64, filled(64, 3)));
}

TEST_CASE("Two replicas that take a log from one another write it in turn, each on fresh connections") {
    VerbsWorld world(3);
    Driver first(world, 1);
    Driver second(world, 3);
    for (std::uint64_t round = 1; round <= 200; ++round) {
        Driver& writer = round % 2 == 0 ? first : second;
        Driver& other = round % 2 == 0 ? second : first;
        writer.lead(2, round);
        std::vector<std::byte> const bytes = filled(64, static_cast<unsigned char>(round));
        REQUIRE(writer.write(2, Region::log, 64 * (round % 32), {bytes}));
        REQUIRE(shows(world.endpoint(2).log().bytes, 64 * (round % 32), bytes));
        REQUIRE_FALSE(other.confirm(2));
    }
}

TEST_CASE("A write of many packets arrives whole, and an MTU above the active one is refused") {
    VerbsWorld world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    std::vector<std::byte> bytes(kRingBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(i * 7);
    }
    REQUIRE(leader.write(2, Region::log, 0, {bytes}));
    CHECK(shows(world.endpoint(2).log().bytes, 0, bytes));
    PrivateDirectory directory;
    VerbsOptions options;
    options.registry = std::make_shared<MemoryRegistry>();
    options.device = verbs_device(1);
    options.mtu = 4096;
    CHECK(look_for_verbs(options).problem.find("4096") != std::string::npos);
    CHECK_THROWS_AS(std::ignore = open_verbs(shm_options(directory, 1), options), FabricError);
}

TEST_CASE("A GID index that the port does not have is refused by its number") {
    VerbsOptions options;
    options.device = verbs_device(1);
    options.gid_index = 200;
    CHECK(look_for_verbs(options).problem.find("no GID with index 200") != std::string::npos);
    options.gid_index = -1;
    CHECK(look_for_verbs(options).problem.empty());
}

TEST_CASE("A process that may lock no memory is told so, and what to do") {
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &before) == 0);
    rlimit const nothing{0, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &nothing) == 0);
    uid_t const user = ::geteuid();
    REQUIRE(::seteuid(65534) == 0);  // root may lock whatever the limit says
    VerbsOptions options;
    options.device = verbs_device(1);
    std::string const problem = look_for_verbs(options).problem;
    REQUIRE(::seteuid(user) == 0);
    REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &before) == 0);
    CHECK_MESSAGE(problem.find("memlock") != std::string::npos, problem);
}

TEST_CASE("A slot that a reader finds valid while it is being written is one slot, whole") {
    // The words of a write land in any order here: only the checksum over header and value tells.
    VerbsWorld world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    REQUIRE_FALSE(world.endpoint(2).ordered_writes());
    LogFormat const format(42, kRingBytes, Integrity::checksum);
    std::atomic<bool> done = false;
    std::atomic<std::uint64_t> seen = 0;
    std::atomic<std::uint64_t> mixed = 0;
    std::thread reader([&] {
        std::span<std::byte const> const ring = world.endpoint(2).log().bytes;
        while (!done.load(std::memory_order_acquire)) {
            std::vector<std::byte> const copy = copy_of(ring);
            std::optional<Slot> const slot = format.parse(copy, Position{});
            if (!slot) continue;
            seen.fetch_add(1, std::memory_order_relaxed);
            std::uint64_t const word = first_word(slot->value, 0);
            for (std::size_t at = 0; at < slot->value.size(); at += 8) {
                if (first_word(slot->value, at) != word) mixed.fetch_add(1, std::memory_order_relaxed);
            }
        }
    });
    for (std::uint64_t i = 1; i <= 2000; ++i) {
        std::vector<std::uint64_t> const value(64 + i % 64, i * 0x0101010101010101ULL);
        SlotHeader header;
        header.proposal = make_proposal(1, 1);
        header.length = static_cast<std::uint32_t>(value.size() * 8);
        header.kind = SlotKind::commands;
        auto const bytes = std::as_bytes(std::span(value));
        std::uint64_t const canary = format.seal(header, bytes);
        auto const head = std::as_bytes(std::span(&header, 1));
        REQUIRE(leader.write(2, Region::log, 0, {head, bytes, std::as_bytes(std::span(&canary, 1))}));
    }
    done.store(true, std::memory_order_release);
    reader.join();
    CHECK(mixed.load() == 0);
    CHECK(seen.load() > 0);
}

}  // namespace mu::test
