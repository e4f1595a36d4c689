// F1 and F2 where they are hardest: a permission changes while its writer is in the middle of a write.
//
// Two attacks. One runs a writer against a permitter at full speed and asks that whatever the writer was told had
// succeeded be in the copy (without the fences some of it is not). The other stops a writer after every single
// instruction of a write, switches, lets it finish, and asks that nothing of that shows.
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include <atomic>
#include <chrono>
#include <new>
#include <random>
#include <thread>

#include "child.hpp"
#include "shm_world.hpp"

namespace mu::test {

namespace {

constexpr std::size_t kSlot = 64;  // bytes of a write in the race
constexpr std::size_t kSlots = kRingBytes / kSlot;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRaces = 2'000;  // instrumented code is slow; the plain build is the one that can find the race
constexpr int kStride = 41;    // instructions between two stops; see below
#else
constexpr int kRaces = 20'000;
constexpr int kStride = 1;
#endif

// On a machine whose cores are all taken each round waits for the scheduler twice; then fewer have to do.
constexpr std::chrono::seconds kLongestRace{5};

// One writer that fills the ring again and again with numbered slots until it loses its permission.
class Stream {
public:
    explicit Stream(ShmChannel& channel) : channel_(channel), thread_([this] { run(); }) {}
    ~Stream() {
        end_ = true;
        thread_.join();
    }
    Stream(Stream const&) = delete;
    Stream& operator=(Stream const&) = delete;

    void start(Tenure const& tenure, std::uint64_t key) {
        channel_.begin_tenure(2, tenure, key);
        running_.store(true, std::memory_order_release);
    }
    // The number of the last slot that succeeded, once the stream has lost its permission.
    [[nodiscard]] std::uint64_t last_success() const {
        while (running_.load(std::memory_order_acquire)) {
            std::this_thread::yield();
        }
        return succeeded_;
    }
    [[nodiscard]] bool flowing() const { return progress_.load(std::memory_order_relaxed) > 0; }

private:
    void run() {
        while (!end_) {
            if (running_.load(std::memory_order_acquire)) {
                flow();
                progress_ = 0;
                running_.store(false, std::memory_order_release);
            }
            std::this_thread::yield();
        }
    }
    void flow() {
        for (succeeded_ = 0;; ++succeeded_) {
            std::uint64_t const number = succeeded_ + 1;
            std::array<std::uint64_t, kSlot / kWord> slot;
            slot.fill(number);
            channel_.write(2, Region::log, number % kSlots * kSlot, {std::as_bytes(std::span(slot))}, number);
            std::array<Completion, 1> completion;
            MU_ASSERT(channel_.poll(completion) == 1);
            if (!completion[0].success) return;
            progress_.store(number, std::memory_order_relaxed);
        }
    }

    ShmChannel& channel_;
    std::uint64_t succeeded_ = 0;
    std::atomic<std::uint64_t> progress_ = 0;
    std::atomic<bool> running_ = false;
    std::atomic<bool> end_ = false;
    std::thread thread_;
};

// Whether every slot up to `last` (of those that the ring still holds) is in `ring`, whole, or was written over since.
bool holds_all(std::span<std::byte const> ring, std::uint64_t last) {
    std::uint64_t const first = last < kSlots ? 1 : last - kSlots + 1;
    for (std::uint64_t number = first; number <= last; ++number) {
        for (std::size_t i = 0; i < kSlot; i += kWord) {
            std::byte const* const at = ring.data() + number % kSlots * kSlot + i;
            if (racy::word(at).load(std::memory_order_relaxed) < number) return false;
        }
    }
    return true;
}

TEST_CASE("F1: what a writer was told had succeeded is in the copy that a racing permit makes") {
    ShmWorld world(3);
    Driver writer(world, 1);
    REQUIRE(writer.connect(2));
    ShmFabric& target = world.endpoint(2);
    KeepAll keeper;
    std::mt19937 random(1);
    Stream stream(world.endpoint(1).channel(Plane::replication));
    std::vector<std::byte> reader(kRingBytes);
    int lost = 0;
    auto const enough = std::chrono::steady_clock::now() + kLongestRace;
    for (std::uint64_t round = 1; round <= kRaces && std::chrono::steady_clock::now() < enough; ++round) {
        Tenure const tenure = writer.tenure(2 * round);
        KeepRange nothing(0, 0, 0);
        stream.start(tenure, target.permit(tenure, nothing));
        while (!stream.flowing()) {
            std::this_thread::yield();
        }
        // Reading along as a replayer does takes the lines away from the writer, so that its stores wait for them.
        for (unsigned laps = random() % 16; laps > 0; --laps) {
            racy_copy_out(reader.data(), target.log().bytes.data(), reader.size());
        }
        (void)target.permit({3, world.incarnation(3), make_proposal(2 * round + 1, 3)}, keeper);
        if (!holds_all(target.log().bytes, stream.last_success())) ++lost;
    }
    CHECK(lost == 0);
}

TEST_CASE("F3: after a failed write nothing more is stored, not even where nobody looks") {
    ShmWorld world(3);
    Driver first(world, 1);
    first.lead(2, 1);
    Driver(world, 3).lead(2, 2);
    REQUIRE_FALSE(first.write(2, Region::log, 0, {filled(64, 1)}));
    REQUIRE_FALSE(first.write(2, Region::log, 64, {filled(64, 2)}));
    std::vector<std::byte> into(128);
    REQUIRE(first.read(2, Region::log, 0, into));  // of its own landing area
    CHECK(shows(into, 0, filled(64, 1)));
    CHECK(shows(into, 64, filled(64, 0)));
}

#if !defined(__SANITIZE_THREAD__)  // stepping through its runtime would take hours; the code stepped is the same

// What the test and its stepped writer share.
struct Desk {
    std::uint64_t proposal = 0;
    std::uint64_t key = 0;
    std::uint64_t at = 0;
    std::uint64_t number = 0;
    Incarnation incarnation = 0;
    bool success = false;
    bool later_success = false;
};

// The writer's process: replica 1. It traps before each write, and again when it knows how the write ended.
[[noreturn]] void stepped_writer(PrivateDirectory const& directory, Desk& desk) {
    ShmFabric fabric(shm_options(directory, 1));
    ShmChannel& channel = fabric.channel(Plane::replication);
    while (!channel.connect(2)) {
        fabric.wait(Plane::background, fabric.ticket(Plane::background), 200'000);
    }
    desk.incarnation = fabric.incarnation();
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    std::array<std::uint64_t, 16> slot;
    std::array<Completion, 1> completion;
    for (;;) {
        ::raise(SIGTRAP);  // the desk is being prepared
        channel.begin_tenure(2, {1, desk.incarnation, desk.proposal}, desk.key);
        slot.fill(desk.number);
        Bytes const bytes = std::as_bytes(std::span(slot));
        Gather const gather{bytes.first(48), bytes.subspan(48, 72), bytes.last(8)};
        asm volatile("int3" ::: "memory");  // from here on it is stepped
        channel.write(2, Region::log, desk.at, gather, desk.number);
        channel.poll(completion);
        asm volatile("int3" ::: "memory");
        desk.success = completion[0].success;
        channel.write(2, Region::log, 0, gather, desk.number);
        channel.poll(completion);
        desk.later_success = completion[0].success;
    }
}

class Stepper {
public:
    explicit Stepper(pid_t pid) : pid_(pid) {}
    // Both return false if the writer has ended.
    bool until_trap() {
        ::ptrace(PTRACE_CONT, pid_, nullptr, nullptr);
        return stopped();
    }
    bool step() {
        ::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr);
        return stopped();
    }
    bool stopped() {
        int status = 0;
        return ::waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status);
    }
    // Whether the instruction before the present one is int3: where a trap leaves the program counter.
    [[nodiscard]] bool behind_trap() const {
        user_regs_struct registers = {};
        ::ptrace(PTRACE_GETREGS, pid_, nullptr, &registers);
        long const code = ::ptrace(PTRACE_PEEKTEXT, pid_, registers.rip - 1, nullptr);
        return (code & 0xff) == 0xcc;
    }

private:
    pid_t pid_;
};

Desk* shared_desk() {
    void* const page = ::mmap(nullptr, sizeof(Desk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return new (page) Desk();
}

TEST_CASE("F2: a writer stopped at any instruction of a write and resumed after a permit changes nothing") {
    PrivateDirectory const directory;
    Desk& desk = *shared_desk();
    Child child([&](auto const& ready) {
        ready();
        stepped_writer(directory, desk);
    });
    REQUIRE(child.ready());
    ShmFabric target(shm_options(directory, 2));
    Stepper writer(child.pid());
    REQUIRE(writer.stopped());  // at its first raise()
    KeepAll keeper;
    int finished = 0;  // rounds in which the write was over before the permit
    int rounds = 0;
    int wrong = 0;
    constexpr int kSweeps = 4;  // over all instructions of the write, each at another place of the ring
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
        for (int steps = sweep, over = 0; over == 0; steps += kStride, ++rounds) {
            desk.number = static_cast<std::uint64_t>(rounds) + 1;
            desk.at = 128 + desk.number % 31 * 128;
            desk.proposal = make_proposal(2 * desk.number, 1);
            desk.key = target.permit({1, desk.incarnation, desk.proposal}, keeper);
            REQUIRE(writer.until_trap());
            for (int i = 0; i < steps && over == 0; ++i) {
                REQUIRE(writer.step());
                over = writer.behind_trap() ? 1 : 0;
            }
            (void)target.permit({3, 1, make_proposal(2 * desk.number + 1, 3)}, keeper);
            LogView const view = target.log();
            std::vector<std::byte> const copy = copy_of(view.bytes);
            if (over == 0) REQUIRE(writer.until_trap());
            REQUIRE(writer.until_trap());  // it has written again and is back at raise()
            std::vector<std::uint64_t> const slot(16, desk.number);
            bool const carried = shows(copy, desk.at, std::as_bytes(std::span(slot)));
            bool const unchanged = target.same_log(view) && shows(view.bytes, 0, copy);
            if ((desk.success && !carried) || desk.later_success || !unchanged) ++wrong;
            finished += desk.success ? 1 : 0;
        }
    }
    CHECK(wrong == 0);
    CHECK(rounds * kStride > 500);
    CHECK(finished > 0);
    CHECK(finished < rounds);
    MESSAGE(rounds << " rounds, in " << finished << " the write was over before the permit");
}

#endif

}  // namespace

}  // namespace mu::test
