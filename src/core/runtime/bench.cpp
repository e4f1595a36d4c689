#include "runtime/bench.hpp"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>

#include "common/prompt_thread.hpp"
#include "runtime/clock.hpp"

namespace mu {
namespace {

// The processor's own clock, scaled: reading the system's costs as much as a third of a propose.
class Stopwatch {
public:
    Stopwatch() {
        Nanoseconds const began = monotonic_now();
        std::uint64_t const ticks = now();
        while (monotonic_now() - began < 2 * kMillisecond) {
        }
        ns_per_tick_ = static_cast<double>(monotonic_now() - began) / static_cast<double>(now() - ticks);
    }
    // Fenced, so that what is measured neither begins before nor is still under way after.
    [[nodiscard]] static std::uint64_t now() noexcept {
#if defined(__x86_64__)
        __builtin_ia32_lfence();
        std::uint64_t const ticks = __builtin_ia32_rdtsc();
        __builtin_ia32_lfence();
        return ticks;
#else
        return static_cast<std::uint64_t>(monotonic_now());
#endif
    }
    [[nodiscard]] Nanoseconds since(std::uint64_t began) const noexcept {
        return static_cast<Nanoseconds>(static_cast<double>(now() - began) * ns_per_tick_);
    }

private:
    double ns_per_tick_ = 1;
};

// Keeps the calling thread on the processor where it is; what it starts meanwhile can run on all others. A busy leader's
// followers are never found on its own processor either, and where a line was read last decides what a write costs.
class StayHere {
public:
    StayHere() noexcept {
        sched_getaffinity(0, sizeof before_, &before_);
        int const here = sched_getcpu();
        cpu_set_t others = before_;
        if (here < 0 || CPU_COUNT(&before_) < 2) {
            return;
        }
        CPU_CLR(static_cast<unsigned>(here), &others);
        CPU_ZERO(&here_);
        CPU_SET(static_cast<unsigned>(here), &here_);
        sched_setaffinity(0, sizeof others, &others);  // inherited by the threads that are started now
    }
    ~StayHere() { sched_setaffinity(0, sizeof before_, &before_); }
    StayHere(StayHere const&) = delete;
    StayHere& operator=(StayHere const&) = delete;

    void settle() const noexcept {
        if (CPU_COUNT(&here_) != 0) {
            sched_setaffinity(0, sizeof here_, &here_);
        }
    }

private:
    cpu_set_t before_{};
    cpu_set_t here_{};
};

// A ring of shared memory and a thread that reads what arrives in it, as seldom as a follower looks at its log.
class ReadRing {
public:
    explicit ReadRing(std::size_t bytes)
        : bytes_(bytes), base_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
        if (base_ == MAP_FAILED) {
            throw std::runtime_error("no memory for the floor measurement");
        }
        std::memset(base_, 0, bytes_);
        reader_ = std::thread([this] { read(); });
    }
    ~ReadRing() {
        stop_.store(true, std::memory_order_release);
        reader_.join();
        munmap(base_, bytes_);
    }
    ReadRing(ReadRing const&) = delete;
    ReadRing& operator=(ReadRing const&) = delete;

    [[nodiscard]] std::byte* at(Offset offset) const noexcept {
        return static_cast<std::byte*>(base_) + offset % bytes_;
    }
    // Everything up to `offset` is there to be read.
    void written(Offset offset) noexcept { written_.store(offset, std::memory_order_relaxed); }
    // Until everything below `offset` has been read: no log laps its followers either.
    void wait_until_read(Offset offset) const noexcept {
        while (read_.load(std::memory_order_relaxed) < offset) {
            std::this_thread::sleep_for(std::chrono::nanoseconds(kFollowerNap));
        }
    }

private:
    void read() noexcept {
        become_prompt();
        Offset offset = 0;
        while (!stop_.load(std::memory_order_acquire)) {
            Offset const until = written_.load(std::memory_order_acquire);
            for (; offset < until; offset += kCacheLine) {
                auto* const word = reinterpret_cast<std::uint64_t*>(at(offset));
                std::atomic_ref<std::uint64_t>(*word).load(std::memory_order_relaxed);
            }
            read_.store(offset, std::memory_order_relaxed);
            std::this_thread::sleep_for(std::chrono::nanoseconds(kFollowerNap));
        }
    }

    std::size_t bytes_;
    void* base_;
    std::atomic<Offset> written_{0};
    std::atomic<Offset> read_{0};
    std::atomic<bool> stop_{false};
    std::thread reader_;
};

Nanoseconds deadline_from_now() noexcept { return monotonic_now() + 5 * kSecond; }

}  // namespace

std::vector<Nanoseconds> bench_latency(Node& node, std::size_t payload, std::size_t outstanding, std::size_t count) {
    Stopwatch const watch;
    OwnedBytes const command(payload, std::byte{0x78});
    std::vector<Nanoseconds> samples;
    samples.reserve(count);
    if (outstanding <= 1) {
        for (std::size_t i = 0; i < count; ++i) {
            std::uint64_t const began = Stopwatch::now();
            ClientRequest request;
            request.command = command;
            if (!node.try_run(request)) {
                node.run(request, deadline_from_now());
            }
            if (request.outcome != Outcome::ok) {
                break;
            }
            samples.push_back(watch.since(began));
        }
        return samples;
    }
    std::vector<std::uint64_t> began(outstanding);
    std::vector<std::uint32_t> const prefix{1, static_cast<std::uint32_t>(payload)};
    for (std::size_t i = 0; i < count; i += outstanding) {
        Node::Held const held(node);
        std::size_t posted = 0;
        while (posted < outstanding) {
            began[posted] = Stopwatch::now();
            if (node.replica().propose(std::as_bytes(std::span(prefix)), command) == Outcome::ok) {
                ++posted;
            } else if (!node.step_while_held()) {
                return samples;
            }
        }
        node.replica().advance();
        for (std::size_t k = 0; k < outstanding; ++k) {
            samples.push_back(watch.since(began[k]));
        }
        node.replica().execute_decided(nullptr);
    }
    return samples;
}

// On fabrics where a write is more than a copy: a bare write to each follower, until the first has arrived.
std::vector<Nanoseconds> bench_bare_writes(Node& node, std::size_t bytes, std::size_t count) {
    static constexpr std::size_t kAtOnce = 32;  // holding the plane: its heartbeat must not stop
    Settings const& settings = node.replica().settings();
    std::vector<ReplicaId> followers = settings.members;
    std::erase(followers, settings.self);
    std::uint64_t const place = peer_cell_at(settings.self, &PeerCells::piece_bytes);
    std::vector<Nanoseconds> samples;
    while (samples.size() < count) {
        Node::Held const held(node);
        std::vector<Nanoseconds> const some = node.fabric().bare_writes(
            followers, place, std::min(bytes, kPieceBytes), std::min(kAtOnce, count - samples.size()), monotonic_now);
        if (some.empty()) {
            break;
        }
        samples.insert(samples.end(), some.begin(), some.end());
    }
    return samples;
}

std::vector<Nanoseconds> bench_floor(Node& node, std::size_t payload, std::size_t count) {
    Stopwatch const watch;
    std::size_t const ring = node.format().ring_bytes();
    OwnedBytes const slot(slot_bytes(static_cast<std::uint32_t>(payload + commands_prefix_bytes(1))), std::byte{0x78});
    if (std::vector<Nanoseconds> bare = bench_bare_writes(node, slot.size(), count); !bare.empty()) {
        return bare;
    }
    StayHere stay;
    std::vector<std::unique_ptr<ReadRing>> rings;
    for (std::size_t i = 1; i < node.replica().settings().members.size(); ++i) {
        rings.push_back(std::make_unique<ReadRing>(ring));
    }
    stay.settle();
    std::vector<Nanoseconds> samples;
    samples.reserve(count);
    Offset offset = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (offset % ring + slot.size() > ring) {
            offset += ring - offset % ring;
        }
        for (auto const& each : rings) {
            each->wait_until_read(offset + slot.size() > ring ? offset + slot.size() - ring : 0);
        }
        std::uint64_t const began = Stopwatch::now();
        for (auto const& each : rings) {
            std::memcpy(each->at(offset), slot.data(), slot.size());
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
        samples.push_back(watch.since(began));
        offset += slot.size();
        for (auto const& each : rings) {
            each->written(offset);
        }
    }
    return samples;
}

ThroughputResult bench_throughput(Node& node, std::size_t payload, std::size_t batch, std::size_t outstanding,
                                  std::size_t count) {
    Stopwatch const watch;
    ThroughputResult result;
    OwnedBytes const command(payload, std::byte{0x78});
    OwnedBytes body;
    std::vector<std::uint32_t> prefix;
    Nanoseconds const began = monotonic_now();
    for (std::size_t done = 0; done < count;) {
        std::uint64_t const group_began = Stopwatch::now();
        {
            Node::Held const held(node);
            for (std::size_t slot = 0; slot < outstanding && done < count; ++slot) {
                std::size_t const commands = std::min(batch, count - done);
                prefix.assign(commands_prefix_bytes(commands) / 4, static_cast<std::uint32_t>(payload));
                prefix[0] = static_cast<std::uint32_t>(commands);
                body.resize(commands * payload);
                for (std::size_t i = 0; i < commands; ++i) {
                    std::memcpy(body.data() + i * payload, command.data(), payload);
                }
                Outcome outcome = Outcome::no_room;
                while ((outcome = node.replica().propose(std::as_bytes(std::span(prefix)), body)) != Outcome::ok) {
                    if (!node.step_while_held()) {
                        result.outcome = Outcome::not_leader;
                        return result;
                    }
                }
                done += commands;
            }
            node.replica().advance();
            node.replica().execute_decided(nullptr);
        }
        result.group_latencies.push_back(watch.since(group_began));
    }
    result.elapsed = monotonic_now() - began;
    return result;
}

}  // namespace mu
