// Life and death among neighbours: how a replica's end is noticed within microseconds, and never imagined.
//
// A replica's life thread holds one word per peer in its own segment and sleeps. The words are on the thread's robust
// list (Linux: set_robust_list): when the thread ends, however it ends, the kernel marks every one of them
// FUTEX_OWNER_DIED and wakes whoever sleeps on it, before it tears the address space down (a pidfd or a socket fires
// only after, about 47 µs a MB later). This is what a robust mutex is made of; used bare, because the waiting side
// then takes no lock that it would have to give back, and can be told to stop waiting at once.
//
// Invariant: a word that names no living thread means that its owner has ended. A stopped owner (SIGSTOP) is alive.
#pragma once

#include <atomic>
#include <thread>

#include "fabric/segment.hpp"

namespace mu {

class LifeThread {
public:
    // Returns once every word is held.
    explicit LifeThread(SegmentHeader& header);
    ~LifeThread();
    LifeThread(LifeThread const&) = delete;
    LifeThread& operator=(LifeThread const&) = delete;

    // Lets go of the words and ends, before the end of this object.
    void leave() noexcept;
    // Ends without letting go of the words: the kernel does what it does for a killed process.
    void abandon() noexcept;

private:
    enum State : std::uint32_t { starting, holding, leaving, abandoning };

    void run() noexcept;
    void hold() noexcept;
    void let_go() noexcept;
    void end(State how) noexcept;

    SegmentHeader& header_;
    robust_list_head list_ = {};  // here and not on the thread's stack, which goes before the kernel looks
    std::uint32_t state_ = starting;
    std::thread thread_;
};

// Whether the owner of `line` has ended.
[[nodiscard]] bool has_ended(SegmentHeader& header, LifeLine& line) noexcept;

// Sleeps until the owner of `line` has ended (true) or `stopping` was set and stop_awaiting() called (false).
[[nodiscard]] bool await_end(SegmentHeader& header, LifeLine& line, std::atomic<bool> const& stopping) noexcept;
void stop_awaiting(LifeLine& line) noexcept;

// Starts a thread that takes no signals of the host program, under a name that tools show.
[[nodiscard]] std::thread named_quiet_thread(char const* name, void (*body)(void*), void* argument);

}  // namespace mu
