#include "attach/redis_link.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/quiet_thread.hpp"

namespace mu::redis {
namespace {

constexpr std::size_t kGroupBytes = 128U << 10U;  // of batches between two marks
constexpr int kIdleMarkSeconds = 5;               // well below redis's repl-timeout

// Under load batches are gathered for so long, and sent at once: each time costs this process and redis ten
// microseconds, which on few cores the leader would lack.
constexpr long kGatherNanoseconds = 300'000;

std::string what_failed(char const* what) { return std::string(what) + ": " + std::strerror(errno); }

void append(OwnedBytes& to, std::string const& text) {
    auto const bytes = std::as_bytes(std::span(text));
    to.insert(to.end(), bytes.begin(), bytes.end());
}

// The first complete request in `received`, in redis's array form, as words; empty if there is none yet.
std::vector<std::string> take_request(std::string& received) {
    std::vector<std::string> words;
    std::size_t at = 0;
    auto const number = [&](char mark) -> long {
        std::size_t const end = received.find("\r\n", at);
        if (end == std::string::npos || received[at] != mark) {
            return -1;
        }
        long const value = std::strtol(received.c_str() + at + 1, nullptr, 10);
        at = end + 2;
        return value;
    };
    long const count = received.empty() ? -1 : number('*');
    for (long i = 0; i < count; ++i) {
        long const length = at < received.size() ? number('$') : -1;
        if (length < 0 || at + static_cast<std::size_t>(length) + 2 > received.size()) {
            return {};
        }
        words.push_back(received.substr(at, static_cast<std::size_t>(length)));
        at += static_cast<std::size_t>(length) + 2;
    }
    received.erase(0, at);
    return words;
}

}  // namespace

std::string Link::start() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    waker_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || waker_ < 0 || bind(listener_, generic, length) != 0 || listen(listener_, 4) != 0 ||
        getsockname(listener_, generic, &length) != 0) {
        return what_failed("the link cannot listen on the loopback");
    }
    port_ = ntohs(address.sin_port);
    thread_ = quiet_thread([this] { run(); });
    return {};
}

void Link::stop() noexcept {
    stopping_.store(true, std::memory_order_release);
    wake();
    if (thread_.joinable()) {
        thread_.join();
    }
    for (int* const descriptor : {&listener_, &waker_, &connection_}) {
        if (*descriptor >= 0) {
            close(*descriptor);
            *descriptor = -1;
        }
    }
}

void Link::wake() const noexcept {
    std::uint64_t const one = 1;
    [[maybe_unused]] ssize_t const written = write(waker_, &one, sizeof one);
}

void Link::open(std::uint64_t number) {
    std::lock_guard const lock(mutex_);
    lost_.store(false, std::memory_order_release);
    open_ = true;
    sent_ = number;
    if (asked_) {
        begin_feeding();
        send_for_thread();
    }
}

void Link::shut() {
    std::lock_guard const lock(mutex_);
    open_ = false;
    disconnect();
    lost_.store(false, std::memory_order_release);
}

void Link::pump() {
    if (feeding_.load(std::memory_order_acquire) && idle_.load(std::memory_order_seq_cst) &&
        idle_.exchange(false, std::memory_order_seq_cst)) {
        wake();
    }
}

void Link::mark() {
    std::lock_guard const lock(mutex_);
    if (feeding_.load(std::memory_order_relaxed) && out_.empty()) {
        append_mark();
        send_for_thread();
    }
}

// By any thread. What redis does not take at once the link's own sends when there is room.
void Link::send_for_thread() {
    send_all();
    if (!out_.empty()) {
        wake();
    }
}

void Link::append_mark() {
    std::string const number = std::to_string(sent_);
    append(out_, "*2\r\n$5\r\nMU.AT\r\n$" + std::to_string(number.size()) + "\r\n" + number + "\r\n");
}

bool Link::send_all() {
    for (bool any = false;; any = true) {
        if (out_.empty()) {
            std::uint64_t const last = ledger_.take(sent_, kGroupBytes, out_);
            if (last == sent_) {
                return any;
            }
            sent_ = last;
            append_mark();
        }
        while (sent_of_out_ < out_.size()) {
            ssize_t const sent =
                send(connection_, out_.data() + sent_of_out_, out_.size() - sent_of_out_, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
                    disconnect();
                }
                return true;
            }
            sent_of_out_ += static_cast<std::size_t>(sent);
        }
        out_.clear();
        sent_of_out_ = 0;
    }
}

void Link::disconnect() {
    if (connection_ < 0) {
        return;
    }
    close(connection_);
    connection_ = -1;
    asked_ = false;
    received_.clear();
    out_.clear();
    sent_of_out_ = 0;
    if (feeding_.exchange(false, std::memory_order_acq_rel) && open_) {
        open_ = false;
        lost_.store(true, std::memory_order_release);
    }
}

void Link::run() {
    prctl(PR_SET_NAME, "mu-link");
    bool sent = false;
    while (!stopping_.load(std::memory_order_acquire)) {
        std::array<pollfd, 3> wanted{{{waker_, POLLIN, 0}, {listener_, POLLIN, 0}, {-1, POLLIN, 0}}};
        bool full = false;  // redis is behind, and takes no more for now
        {
            std::lock_guard const lock(mutex_);
            full = !out_.empty();
            wanted[2].fd = connection_;
            wanted[2].events = static_cast<short>(full ? POLLIN | POLLOUT : POLLIN);
        }
        bool const idle = full || (!sent && become_idle());
        timespec const time = idle ? timespec{kIdleMarkSeconds, 0} : timespec{0, kGatherNanoseconds};
        int const ready = ppoll(wanted.data(), wanted.size(), &time, nullptr);
        idle_.store(false, std::memory_order_seq_cst);
        if (ready == 0 && idle) {
            mark();
        }
        if (wanted[0].revents != 0) {
            std::uint64_t ignored = 0;
            [[maybe_unused]] ssize_t const taken = read(waker_, &ignored, sizeof ignored);
        }
        std::lock_guard const lock(mutex_);
        if (wanted[2].revents != 0 && wanted[2].fd == connection_) {
            receive();
        }
        sent = feeding_.load(std::memory_order_relaxed) && send_all();
        if (wanted[1].revents != 0) {
            accept_one();
        }
    }
}

// Nothing was to be sent: from now on pump() has to wake this thread. Unless something came just before.
bool Link::become_idle() {
    idle_.store(true, std::memory_order_seq_cst);
    std::lock_guard const lock(mutex_);
    return !(feeding_.load(std::memory_order_relaxed) && ledger_.view().batches > sent_ && out_.empty());
}

void Link::accept_one() {
    int const accepted = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted < 0) {
        return;
    }
    if (!is_own_process(accepted)) {
        close(accepted);
        return;
    }
    disconnect();
    int const on = 1;
    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection_ = accepted;
}

// Whether the other end is a descriptor of this process: anybody on this machine can connect to a loopback port.
bool Link::is_own_process(int connection) const {
    sockaddr_in theirs{};
    socklen_t length = sizeof theirs;
    if (getpeername(connection, reinterpret_cast<sockaddr*>(&theirs), &length) != 0) {
        return false;
    }
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    for (int descriptor = 0; descriptor < static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1U << 17U)); ++descriptor) {
        sockaddr_in mine{};
        length = sizeof mine;
        if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&mine), &length) == 0 && mine.sin_family == AF_INET &&
            mine.sin_port == theirs.sin_port && mine.sin_addr.s_addr == theirs.sin_addr.s_addr) {
            return true;
        }
    }
    return false;
}

void Link::receive() {
    std::array<char, 4096> bytes{};
    ssize_t const length = recv(connection_, bytes.data(), bytes.size(), 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (length <= 0) {
        disconnect();
        return;
    }
    received_.append(bytes.data(), static_cast<std::size_t>(length));
    for (auto words = take_request(received_); !words.empty() && connection_ >= 0; words = take_request(received_)) {
        std::string& command = words[0];
        std::transform(command.begin(), command.end(), command.begin(),
                       [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
        if (command == "PING") {
            answer("+PONG\r\n");
        } else if (command == "PSYNC") {
            asked_ = true;
            // Without an offset redis would not know how to continue: it has to begin anew as its own leader.
            if (words.size() < 2 || words[1] == "?") {
                disconnect();
                lost_.store(true, std::memory_order_release);
            } else if (open_) {
                begin_feeding();
            }
        } else if (command != "REPLCONF" || (words.size() > 1 && words[1] != "ACK" && words[1] != "ack")) {
            answer("+OK\r\n");
        }
    }
}

void Link::answer(std::string const& line) {
    if (send(connection_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
        disconnect();
    }
}

void Link::begin_feeding() {
    asked_ = false;
    out_.clear();
    sent_of_out_ = 0;
    append(out_, "+CONTINUE\r\n");
    append_mark();
    feeding_.store(true, std::memory_order_release);
}

}  // namespace mu::redis
