// Threads that take no signals of the host program: it may wait for them itself, or have handlers that expect a thread of
// its own. What a thread does to itself (a fault, abort) still reaches it.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace mu {

// For as long as it lives, in this thread and in those that it starts.
class NoSignals {
public:
    NoSignals() noexcept {
        sigset_t none;
        sigfillset(&none);
        for (int const number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
            sigdelset(&none, number);
        }
        pthread_sigmask(SIG_SETMASK, &none, &before_);
    }
    ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    NoSignals(NoSignals const&) = delete;
    NoSignals& operator=(NoSignals const&) = delete;

private:
    sigset_t before_;
};

template <class Body>
[[nodiscard]] std::thread quiet_thread(Body body) {
    NoSignals const here;
    return std::thread(std::move(body));
}

}  // namespace mu
