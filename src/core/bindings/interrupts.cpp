#include "bindings/interrupts.hpp"

#include <nanobind/nanobind.h>

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "protocol/settings.hpp"
#include "runtime/clock.hpp"

namespace mu::bindings {
namespace {

namespace nb = nanobind;

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGALRM};  // whose handlers raise, if any do
constinit std::array<struct sigaction, kSignals.size()> g_before{};

// The main thread's, and its handlers': who else gets a signal hands it to that thread.
constinit std::atomic<bool> g_holds = false;
constinit std::atomic<std::uint32_t> g_put_off = 0;  // a bit for each of kSignals
constinit std::atomic<Nanoseconds> g_first_at = 0;   // when the first of them came

constexpr Nanoseconds kPatience = kSecond;

bool is_main_thread() noexcept {
    static constinit thread_local int t_is_main = -1;
    if (t_is_main < 0) {
        t_is_main = gettid() == getpid() ? 1 : 0;
    }
    return t_is_main == 1;
}

std::size_t index_of(int number) noexcept {
    std::size_t index = 0;
    while (kSignals[index] != number) {
        ++index;
    }
    return index;
}

void on_signal(int number, siginfo_t* info, void* context) {
    std::size_t const index = index_of(number);
    bool const holds = g_holds.load(std::memory_order_relaxed);
    if (holds && gettid() != getpid()) {
        tgkill(getpid(), getpid(), number);  // while one is pending in the main thread, the next one goes to any other
        return;
    }
    if (holds) {
        std::uint32_t const put_off = g_put_off.load(std::memory_order_relaxed);
        Nanoseconds const now = monotonic_now();
        if (put_off == 0) {
            g_first_at.store(now, std::memory_order_relaxed);
        }
        if (now - g_first_at.load(std::memory_order_relaxed) < kPatience) {
            g_put_off.store(put_off | 1U << index, std::memory_order_relaxed);
            return;
        }
        g_put_off.store(put_off & ~(1U << index), std::memory_order_relaxed);
    }
    struct sigaction const& handler = g_before[index];
    if ((handler.sa_flags & SA_SIGINFO) != 0) {
        handler.sa_sigaction(number, info, context);
    } else {
        handler.sa_handler(number);
    }
}

void raise_what_was_put_off() noexcept {
    std::uint32_t const numbers = g_put_off.exchange(0, std::memory_order_relaxed);
    for (std::size_t index = 0; index < kSignals.size(); ++index) {
        if ((numbers >> index & 1U) != 0) {
            raise(kSignals[index]);
        }
    }
}

}  // namespace

void take_over_interrupts() noexcept {
    for (std::size_t index = 0; index < kSignals.size(); ++index) {
        struct sigaction now{};
        if (sigaction(kSignals[index], nullptr, &now) != 0 || now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN ||
            ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_signal)) {
            continue;
        }
        g_before[index] = now;
        now.sa_sigaction = on_signal;
        now.sa_flags |= SA_SIGINFO;
        sigaction(kSignals[index], &now, nullptr);
    }
}

PutInterruptsOff::PutInterruptsOff(bool wanted) : holds_(wanted && is_main_thread()) {
    if (!holds_) {
        return;
    }
    do {
        g_holds.store(true, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (PyErr_CheckSignals() != 0) {
            g_holds.store(false, std::memory_order_relaxed);
            throw nb::python_error();
        }
    } while (!g_holds.load(std::memory_order_relaxed));  // a handler has called a replica, and its call has ended
}

PutInterruptsOff::~PutInterruptsOff() {
    if (!holds_) {
        return;
    }
    g_holds.store(false, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (g_put_off.load(std::memory_order_relaxed) != 0) [[unlikely]] {
        raise_what_was_put_off();
    }
}

}  // namespace mu::bindings
