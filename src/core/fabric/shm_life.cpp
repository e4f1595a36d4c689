#include "fabric/shm_life.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "common/assert.hpp"
#include "common/prompt_thread.hpp"
#include "common/quiet_thread.hpp"

namespace mu {

namespace {

// A sleeper looks again this often, in case a wake-up is lost that the kernel owes us.
constexpr Nanoseconds kLookAgain = 200'000'000;

std::atomic_ref<std::uint32_t> shared(std::uint32_t& word) noexcept { return std::atomic_ref<std::uint32_t>(word); }

}  // namespace

LifeThread::LifeThread(SegmentHeader& header) : header_(header) {
    thread_ = named_quiet_thread("mu-life", [](void* self) { static_cast<LifeThread*>(self)->run(); }, this);
    while (shared(state_).load(std::memory_order_acquire) == starting) {
        futex_sleep(state_, starting, -1);
    }
}

LifeThread::~LifeThread() { leave(); }

void LifeThread::leave() noexcept { end(leaving); }

void LifeThread::abandon() noexcept { end(abandoning); }

void LifeThread::end(State how) noexcept {
    if (!thread_.joinable()) return;
    shared(state_).store(how, std::memory_order_release);
    futex_wake_all(state_);
    thread_.join();
}

void LifeThread::run() noexcept {
    become_prompt();  // also in dying: its end is what tells the others
    hold();
    shared(state_).store(holding, std::memory_order_release);
    futex_wake_all(state_);
    while (shared(state_).load(std::memory_order_acquire) == holding) {
        futex_sleep(state_, holding, -1);
    }
    if (shared(state_).load(std::memory_order_acquire) == leaving) let_go();
}

void LifeThread::hold() noexcept {
    auto const me = static_cast<std::uint32_t>(::syscall(SYS_gettid));
    list_.list.next = &list_.list;
    list_.futex_offset = static_cast<long>(offsetof(LifeLine, word)) - static_cast<long>(offsetof(LifeLine, node));
    for (LifeLine& line : header_.life) {
        line.node.next = list_.list.next;
        list_.list.next = &line.node;
        shared(line.word).store(me, std::memory_order_release);
    }
    // This replaces the C library's list for this thread, which takes no robust mutex.
    MU_ASSERT(::syscall(SYS_set_robust_list, &list_, sizeof list_) == 0);
}

void LifeThread::let_go() noexcept {
    list_.list.next = &list_.list;
    for (LifeLine& line : header_.life) {
        shared(line.word).store(0, std::memory_order_seq_cst);
        futex_wake_all(line.word);
    }
}

bool has_ended(SegmentHeader& header, LifeLine& line) noexcept {
    std::uint32_t const word = shared(line.word).load(std::memory_order_acquire);
    return (word & FUTEX_OWNER_DIED) != 0 || (word & FUTEX_TID_MASK) == 0 ||
           shared(header.ended.closed).load(std::memory_order_acquire) != 0 ||
           shared(header.ended.superseded).load(std::memory_order_acquire) != 0;
}

bool await_end(SegmentHeader& header, LifeLine& line, std::atomic<bool> const& stopping) noexcept {
    for (;;) {
        std::uint32_t word = shared(line.word).load(std::memory_order_acquire);
        if (has_ended(header, line)) return true;
        // The kernel wakes nobody unless this bit says that somebody sleeps.
        if ((word & FUTEX_WAITERS) == 0) {
            if (!shared(line.word).compare_exchange_strong(word, word | FUTEX_WAITERS)) continue;
            word |= FUTEX_WAITERS;
        }
        if (stopping.load(std::memory_order_seq_cst)) return false;
        futex_sleep(line.word, word, kLookAgain);
    }
}

void stop_awaiting(LifeLine& line) noexcept {
    // Taking the bit away changes the word, so a sleeper that is just about to sleep does not.
    shared(line.word).fetch_and(~static_cast<std::uint32_t>(FUTEX_WAITERS), std::memory_order_seq_cst);
    futex_wake_all(line.word);
}

std::thread named_quiet_thread(char const* name, void (*body)(void*), void* argument) {
    std::thread thread = quiet_thread([body, argument] { body(argument); });
    ::pthread_setname_np(thread.native_handle(), name);
    return thread;
}

}  // namespace mu
