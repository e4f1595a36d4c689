// A thread that calls something which waits, and can be seen to wait there; and how a test waits for what others do.
#pragma once

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "runtime/clock.hpp"

namespace mu::test {

// So long a test waits for what is sure to happen: then it has failed.
inline constexpr Nanoseconds kLongestWait = 60'000'000'000;

template <class Condition>
[[nodiscard]] bool wait_until(Condition const& condition) {
    Nanoseconds const deadline = monotonic_now() + kLongestWait;
    while (!condition()) {
        if (monotonic_now() > deadline) return false;
        std::this_thread::yield();
    }
    return true;
}

class WaitingCaller {
public:
    template <class Call>
    explicit WaitingCaller(Call call)
        : thread_([this, call] {
              id_.store(gettid());
              call();
              returned_.store(true);
          }) {}
    ~WaitingCaller() { join(); }
    WaitingCaller(WaitingCaller const&) = delete;
    WaitingCaller& operator=(WaitingCaller const&) = delete;

    // Until the call has given its processor away, as only one that waits does; or until it has returned.
    void wait_until_it_sleeps() const {
        while (id_.load() == 0) {
            std::this_thread::yield();
        }
        long const before = sleeps();
        while (!returned_.load() && sleeps() == before) {
            std::this_thread::yield();
        }
    }
    [[nodiscard]] bool returned() const { return returned_.load(); }
    void join() {
        if (thread_.joinable()) thread_.join();
    }

private:
    [[nodiscard]] long sleeps() const {
        static std::string const kName = "voluntary_ctxt_switches:";
        std::ifstream status("/proc/self/task/" + std::to_string(id_.load()) + "/status");
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with(kName)) return std::stol(line.substr(kName.size()));
        }
        return -1;  // it has ended
    }

    std::atomic<pid_t> id_ = 0;
    std::atomic<bool> returned_ = false;
    std::thread thread_;
};

}  // namespace mu::test
