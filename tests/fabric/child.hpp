// A process beside the test's own: runs a body, says when it is ready, and can be stopped and killed.
//
// Fork before anything in the test starts threads: ThreadSanitizer allows no other order.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <exception>
#include <stdexcept>

namespace mu::test {

class Child {
public:
    // `body(ready)` runs in the child, calls ready() once, and never comes back to the test.
    template <class Body>
    explicit Child(Body const& body) {
        int ends[2];
        if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(ends[0]);
            try {
                body([&] { static_cast<void>(!::write(ends[1], "r", 1)); });
            } catch (std::exception const&) {
                ::_exit(1);
            }
            ::_exit(0);
        }
        ::close(ends[1]);
        ready_ = ends[0];
    }
    ~Child() {
        kill();
        ::close(ready_);
    }
    Child(Child const&) = delete;
    Child& operator=(Child const&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    // Waits until the child is ready; false if it ended before.
    [[nodiscard]] bool ready() {
        char byte = 0;
        return ::read(ready_, &byte, 1) == 1;
    }
    // Returns once the child has stopped.
    void stop() {
        ::kill(pid_, SIGSTOP);
        int status = 0;
        ::waitpid(pid_, &status, WUNTRACED);
    }
    void go_on() { ::kill(pid_, SIGCONT); }
    // Returns once nothing of the child is left.
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

private:
    pid_t pid_ = -1;
    int ready_ = -1;
};

[[noreturn]] inline void sleep_for_ever() {
    for (;;) {
        ::pause();
    }
}

}  // namespace mu::test
