#include "bindings/interrupts.hpp"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

#include "protocol/settings.hpp"
#include "runtime/clock.hpp"

namespace mu::bindings {
namespace {

namespace nb = nanobind;

using Handler = void (*)(int);

constexpr int kLastSignal = 64;
constexpr Nanoseconds kPatience = kSecond;

constinit thread_local int t_is_main = -1;

// Whose handler this is for every signal that has one in Python; no other program's handler is ever touched.
constinit std::atomic<Handler> g_pythons = nullptr;
constinit Nanoseconds g_looked_at = 0;  // the main thread's

// The main thread's, and its handlers': who else gets a signal hands it to that thread.
constinit std::atomic<bool> g_holds = false;
constinit std::atomic<bool> g_applies = false;       // a call of the state machine's
constinit std::atomic<bool> g_went_through = false;  // a signal, in the middle of that
constinit std::atomic<std::uint64_t> g_put_off = 0;  // a bit for each signal
constinit std::atomic<Nanoseconds> g_first_at = 0;   // when the first came in the middle of that call

bool is_main_thread() noexcept {
    if (t_is_main < 0) {
        t_is_main = gettid() == getpid() ? 1 : 0;
    }
    return t_is_main == 1;
}

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << static_cast<unsigned>(number - 1); }

// What a processor raises in the middle of an instruction cannot wait.
constexpr bool is_fault(int number) noexcept {
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL || number == SIGTRAP ||
           number == SIGSYS;
}

// In a handler, which another signal's may interrupt.
bool put_off(int number) noexcept {
    if (g_applies.load(std::memory_order_relaxed)) {
        Nanoseconds const now = monotonic_now();
        Nanoseconds none = 0;
        g_first_at.compare_exchange_strong(none, now, std::memory_order_relaxed);
        if (now - g_first_at.load(std::memory_order_relaxed) >= kPatience) {
            g_put_off.fetch_and(~bit_of(number), std::memory_order_relaxed);
            g_went_through.store(true, std::memory_order_relaxed);
            return false;
        }
    }
    g_put_off.fetch_or(bit_of(number), std::memory_order_relaxed);
    return true;
}

void on_signal(int number) {
    int const error = errno;
    if (g_holds.load(std::memory_order_relaxed)) {
        if (gettid() != getpid()) {
            // While one is pending in the main thread, the kernel gives the next one to any other.
            tgkill(getpid(), getpid(), number);
            errno = error;
            return;
        }
        if (put_off(number)) {
            errno = error;
            return;
        }
    }
    g_pythons.load(std::memory_order_relaxed)(number);
}

void let_go() noexcept {
    g_holds.store(false, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (g_put_off.load(std::memory_order_relaxed) == 0) [[likely]] {
        return;
    }
    std::uint64_t const numbers = g_put_off.exchange(0, std::memory_order_relaxed);
    for (int number = 1; number <= kLastSignal; ++number) {
        if ((numbers & bit_of(number)) != 0) {
            raise(number);
        }
    }
}

// The child has the forking thread only. What was under way in another one is not there; what was put off is the parent's.
void in_child() noexcept {
    bool const holds_itself = t_is_main == 1;
    t_is_main = 1;
    g_put_off.store(0, std::memory_order_relaxed);
    if (!holds_itself) {
        g_holds.store(false, std::memory_order_relaxed);
        g_applies.store(false, std::memory_order_relaxed);
    }
}

// Python has one handler for all signals, and does not tell which. So a signal that nobody minds is given one for a moment.
Handler pythons_handler() {
    for (int const number : {SIGURG, SIGWINCH, SIGCONT}) {
        if (PyOS_getsig(number) != SIG_DFL) {
            continue;
        }
        try {
            nb::object const set = nb::module_::import_("signal").attr("signal");
            set(number, nb::module_::import_("operator").attr("is_"));  // takes two arguments, and does nothing
            Handler const found = PyOS_getsig(number);
            set(number, nb::module_::import_("signal").attr("SIG_DFL"));
            return found;
        } catch (nb::python_error const&) {
            return nullptr;  // in an interpreter that is not the main one: no handler runs there
        }
    }
    return nullptr;
}

// Whether Python's handler is what is installed, and not ours in front of it.
bool is_uncovered(int number, struct sigaction& now) noexcept {
    return !is_fault(number) && sigaction(number, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
           now.sa_handler == g_pythons.load(std::memory_order_relaxed);
}

// Only the main thread gives signals handlers, so none comes while it is here. 64 system calls: not for every call.
void cover_signals() {
    static std::once_flag once;
    std::call_once(once, [] { pthread_atfork(nullptr, nullptr, in_child); });
    if (g_pythons.load(std::memory_order_relaxed) == nullptr) {
        g_pythons.store(pythons_handler(), std::memory_order_relaxed);
    }
    struct sigaction now{};
    for (int number = 1; g_pythons.load(std::memory_order_relaxed) != nullptr && number <= kLastSignal; ++number) {
        if (is_uncovered(number, now)) {
            now.sa_handler = on_signal;
            sigaction(number, &now, nullptr);
        }
    }
}

// The kernel's tick: a clock that costs next to nothing, and moves every few milliseconds.
void cover_signals_now_and_then() {
    timespec tick{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &tick);
    Nanoseconds const now = tick.tv_sec * kSecond + tick.tv_nsec;
    if (now != g_looked_at) [[unlikely]] {
        g_looked_at = now;
        cover_signals();
    }
}

// The code that a handler runs; none if that is not Python's.
nb::object code_of(nb::object handler) {
    while (nb::hasattr(handler, "func")) {
        handler = handler.attr("func");  // functools.partial
    }
    if (!nb::hasattr(handler, "__code__")) {
        handler = nb::getattr(handler, "__call__", nb::none());
    }
    return nb::getattr(handler, "__code__", nb::none());
}

bool passed_through(nb::object error, nb::object const& code) {
    for (; !error.is_none(); error = error.attr("__context__")) {
        for (nb::object at = error.attr("__traceback__"); !at.is_none(); at = at.attr("tb_next")) {
            if (at.attr("tb_frame").attr("f_code").is(code)) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace

PutInterruptsOff::PutInterruptsOff(bool wanted) : holds_(wanted && is_main_thread()) {
    if (!holds_) {
        return;
    }
    cover_signals_now_and_then();
    do {
        g_holds.store(true, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (PyErr_CheckSignals() != 0) {
            let_go();
            throw nb::python_error();
        }
    } while (!g_holds.load(std::memory_order_relaxed));  // a handler has called a replica, and its call has ended
}

PutInterruptsOff::~PutInterruptsOff() {
    if (holds_) {
        let_go();
    }
}

void begin_of_apply() noexcept {
    if (is_main_thread()) {
        g_first_at.store(0, std::memory_order_relaxed);
        g_went_through.store(false, std::memory_order_relaxed);
        g_applies.store(true, std::memory_order_relaxed);
    }
}

void end_of_apply() noexcept {
    if (is_main_thread()) {
        g_applies.store(false, std::memory_order_relaxed);
    }
}

bool struck_by_signal(nb::python_error const& error) {
    if (!is_main_thread() || g_pythons.load(std::memory_order_relaxed) == nullptr) {
        return false;
    }
    if (g_went_through.load(std::memory_order_relaxed)) {
        return true;
    }
    struct sigaction now{};
    for (int number = 1; number <= kLastSignal; ++number) {
        if (!is_uncovered(number, now)) {
            continue;
        }
        nb::object const code = code_of(nb::module_::import_("signal").attr("getsignal")(number));
        if (!code.is_none() && passed_through(nb::borrow(error.value()), code)) {
            return true;
        }
    }
    return false;
}

}  // namespace mu::bindings
