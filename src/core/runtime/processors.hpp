// Where a follower's replication thread runs. If it naps on the processor on which the leader works, the kernel wakes it
// there again and takes that processor away, even while another one is idle. So it keeps off that one, if it may use
// another: half as much throughput again on two processors.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <atomic>

namespace mu {

class Processors {
public:
    // By the thread itself, first of all.
    void settle() noexcept {
        known_ = sched_getaffinity(0, sizeof all_, &all_) == 0 && CPU_COUNT(&all_) > 1;
        thread_.store(gettid(), std::memory_order_release);
    }
    // By the thread itself. Negative: off none.
    void keep_off(int processor) noexcept {
        if (processor == kept_off_ || !known_) {
            return;
        }
        kept_off_ = processor;
        cpu_set_t chosen = all_;
        if (processor >= 0) {
            CPU_CLR(static_cast<unsigned>(processor), &chosen);
        }
        sched_setaffinity(0, sizeof chosen, &chosen);
    }
    // By any other thread: the leader has died, and whoever takes over needs the first processor there is. The thread
    // itself comes to the same conclusion, but only once it runs.
    void free() noexcept {
        if (pid_t const thread = thread_.load(std::memory_order_acquire); thread != 0 && known_) {
            sched_setaffinity(thread, sizeof all_, &all_);
        }
    }
    // By the thread itself, last of all: its number may be another's from here on.
    void leave() noexcept { thread_.store(0, std::memory_order_release); }

private:
    std::atomic<pid_t> thread_{0};
    cpu_set_t all_{};  // written before thread_ is
    bool known_ = false;
    int kept_off_ = -1;  // the thread's own
};

}  // namespace mu
