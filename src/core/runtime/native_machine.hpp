// A state machine that only counts and digests: what benchmarks replicate, and what tests compare.
#pragma once

#include <array>
#include <atomic>
#include <cstring>

#include "protocol/state_machine.hpp"

namespace mu {

class NativeMachine final : public StateMachine {
public:
    [[nodiscard]] bool apply(std::span<std::byte const> command, OwnedBytes& reply) override {
        std::array<std::uint64_t, 2> words{};  // a benchmark's commands differ in their first bytes
        if (command.size() >= sizeof words) {
            std::memcpy(words.data(), command.data(), sizeof words);
        } else if (!command.empty()) {
            std::memcpy(words.data(), command.data(), command.size());
        }
        std::uint64_t digest = digest_.load(std::memory_order_relaxed);
        digest = (digest ^ words[0] ^ words[1] * 0xe7037ed1a0b428dbULL ^ command.size()) * 0x9e3779b97f4a7c15ULL;
        digest ^= digest >> 32U;
        digest_.store(digest, std::memory_order_relaxed);
        std::uint64_t const count = count_.load(std::memory_order_relaxed) + 1;
        count_.store(count, std::memory_order_relaxed);
        auto const* const bytes = reinterpret_cast<std::byte const*>(&count);
        reply.assign(bytes, bytes + sizeof count);
        return true;
    }
    [[nodiscard]] bool snapshot(OwnedBytes& out) override {
        ByteWriter writer(out);
        writer.put(count());
        writer.put(digest());
        return true;
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
    std::atomic<std::uint64_t> count_{0};
    std::atomic<std::uint64_t> digest_{0};
};

}  // namespace mu
