// Whoever holds the replication plane: its thread, or a caller that proposes. Taking it is one atomic exchange and
// letting go a plain store: nobody is woken, because whoever waits looks again by itself, ever more seldom. Whoever takes
// it again and again (a caller that waits for completions) lets those who wait for it come first: give_way().
#pragma once

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

#include "runtime/clock.hpp"

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
        return !held_.load(std::memory_order_relaxed) && !held_.exchange(true, std::memory_order_acquire);
    }
    void lock() noexcept { static_cast<void>(lock_until(std::numeric_limits<Nanoseconds>::max())); }
    // False at the deadline (monotonic); tries once in any case.
    [[nodiscard]] bool lock_until(Nanoseconds deadline) noexcept {
        if (try_lock()) {
            return true;
        }
        waiting_.fetch_add(1, std::memory_order_relaxed);
        bool taken = false;
        for (int i = 0; !taken && (i < kSpins || monotonic_now() < deadline); ++i) {
            if (i < kSpins) {
                cpu_relax();
            } else {
                std::this_thread::sleep_for(std::chrono::microseconds(i < 2 * kSpins ? 2 : 20));
            }
            taken = try_lock();
        }
        waiting_.fetch_sub(1, std::memory_order_relaxed);
        return taken;
    }
    // Not holding it.
    void give_way() const noexcept {
        for (int i = 0; i < kGivesWay && waiting_.load(std::memory_order_relaxed) != 0; ++i) {
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
    }
    void unlock() noexcept { held_.store(false, std::memory_order_release); }

private:
    static constexpr int kSpins = 100;
    static constexpr int kGivesWay = 50;
    std::atomic<bool> held_{false};
    std::atomic<int> waiting_{0};
};

}  // namespace mu
