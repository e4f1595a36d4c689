// How long recent proposals took, from the proposal of a slot until it is known to be decided: a sample of them.
//
// Reading the clock costs a third of a proposal, so only one in kEvery is timed, once there are enough to begin with.
// Invariant: who proposes pays a count and a branch that is always taken the same way; quantiles are the reader's work.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "common/types.hpp"

namespace mu {

class Latencies {
public:
    static constexpr std::size_t kKept = 512;    // the latest; a 99th percentile wants some hundreds
    static constexpr std::uint64_t kFirst = 64;  // timed one by one, so that a quiet cluster has some soon
    static constexpr std::uint64_t kEvery = 64;  // then: a clock read twice in 64 proposals is a nanosecond each
    static constexpr Nanoseconds kUntimed = 0;

    // Holding the plane: the moment at which a proposal begins, by `clock`, if it is to be timed.
    [[nodiscard]] Nanoseconds begin(Nanoseconds (*clock)() noexcept) noexcept {
        return (++proposals_ & mask_) == 0 ? clock() : kUntimed;
    }
    // Holding the plane: a timed one is decided.
    void note(Nanoseconds took) noexcept;

    // From any thread.
    [[nodiscard]] std::uint64_t noted() const noexcept { return noted_.load(std::memory_order_acquire); }
    struct Quantiles {
        std::uint32_t p50 = 0;  // nanoseconds
        std::uint32_t p99 = 0;
    };
    // By nearest rank; zeros if nothing was timed yet.
    [[nodiscard]] Quantiles quantiles() const noexcept;

private:
    static_assert((kEvery & (kEvery - 1)) == 0);
    std::uint64_t proposals_ = 0;
    std::uint64_t mask_ = 0;  // of the bits of proposals_ that are zero when one is timed
    std::atomic<std::uint64_t> noted_{0};
    std::array<std::atomic<std::uint32_t>, kKept> samples_{};  // nanoseconds, a ring
};

}  // namespace mu
