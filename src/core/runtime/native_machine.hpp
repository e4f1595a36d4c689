// A state machine that only counts and digests: what benchmarks replicate, and what tests compare.
#pragma once

#include <atomic>
#include <cstring>

#include "protocol/state_machine.hpp"

namespace mu {

class NativeMachine final : public StateMachine {
public:
    [[nodiscard]] bool apply(std::span<std::byte const> command, OwnedBytes& reply) override {
        std::uint64_t digest = digest_.load(std::memory_order_relaxed) ^ command.size();
        std::size_t at = 0;
        for (; at + 8 <= command.size() && at < kDigestedBytes; at += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, command.data() + at, 8);
            digest = (digest ^ word) * 0x9e3779b97f4a7c15ULL;
            digest ^= digest >> 32U;
        }
        digest_.store(digest, std::memory_order_relaxed);
        std::uint64_t const count = count_.load(std::memory_order_relaxed) + 1;
        count_.store(count, std::memory_order_relaxed);
        auto const* const bytes = reinterpret_cast<std::byte const*>(&count);
        reply.assign(bytes, bytes + sizeof count);
        return true;
    }
    void snapshot(OwnedBytes& out) override {
        ByteWriter writer(out);
        writer.put(count());
        writer.put(digest());
    }
    void restore(std::span<std::byte const> snapshot) override {
        ByteReader reader(snapshot);
        count_.store(reader.take<std::uint64_t>(), std::memory_order_relaxed);
        digest_.store(reader.take<std::uint64_t>(), std::memory_order_relaxed);
    }

    // May be read from any thread.
    [[nodiscard]] std::uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t digest() const noexcept { return digest_.load(std::memory_order_relaxed); }

private:
    static constexpr std::size_t kDigestedBytes = 16;  // a benchmark's commands differ in their first bytes
    std::atomic<std::uint64_t> count_{0};
    std::atomic<std::uint64_t> digest_{0};
};

}  // namespace mu
