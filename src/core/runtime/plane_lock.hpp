// Whoever holds the replication plane: its thread, or a caller that proposes. Uncontended it is two atomic exchanges.
#pragma once

#include <atomic>
#include <cstdint>

namespace mu {

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

class PlaneLock {
public:
    [[nodiscard]] bool try_lock() noexcept {
        std::uint32_t expected = kFree;
        return state_.load(std::memory_order_relaxed) == kFree &&
               state_.compare_exchange_strong(expected, kHeld, std::memory_order_seq_cst);
    }
    void lock() noexcept {
        for (int i = 0; i < kSpins; ++i) {
            if (try_lock()) {
                return;
            }
            cpu_relax();
        }
        while (state_.exchange(kContended, std::memory_order_seq_cst) != kFree) {
            state_.wait(kContended, std::memory_order_relaxed);
        }
    }
    void unlock() noexcept {
        if (state_.exchange(kFree, std::memory_order_seq_cst) == kContended) {
            state_.notify_one();
        }
    }

private:
    static constexpr std::uint32_t kFree = 0;
    static constexpr std::uint32_t kHeld = 1;
    static constexpr std::uint32_t kContended = 2;
    static constexpr int kSpins = 100;
    std::atomic<std::uint32_t> state_{kFree};
};

}  // namespace mu
