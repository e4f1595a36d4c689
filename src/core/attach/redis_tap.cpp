#include "attach/redis_tap.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "attach/got_patch.hpp"
#include "attach/redis_transactions.hpp"

namespace mu::redis {
namespace {

enum class Kind : std::uint8_t { unknown, effects, socket, other };

constexpr std::size_t kMaxDescriptors = 1U << 17U;

TapOwner* tap_owner = nullptr;
pthread_t main_thread;
bool is_child = false;  // forked: nothing is tapped there
// Whose command is executed: the connection that was read last, or negative.
int served = -1;
int end_of_pass = -1;
bool sleeps_next = false;  // else it is in the middle of a long command that redis asks what is ready
bool is_nested = false;    // so it has in this pass
std::atomic<int> link_descriptor{-1};
std::array<std::atomic<Kind>, kMaxDescriptors> kinds{};
// Descriptors of which redis wants to know when they take bytes again: something for them is left of an earlier pass.
// Of the main thread only.
std::array<bool, kMaxDescriptors> backlogged{};

bool on_main_thread() noexcept { return !is_child && pthread_equal(pthread_self(), main_thread) != 0; }

// Redis names the file appendonly.aof.<n>.incr.aof, and temp-appendonly.aof.incr after a full synchronisation.
bool names_effects(std::string_view path) noexcept {
    return path.ends_with(".incr.aof") || path.ends_with(".aof.incr");
}

Kind classify(int descriptor) noexcept {
    struct stat status{};
    if (fstat(descriptor, &status) != 0) {
        return Kind::unknown;
    }
    if (S_ISSOCK(status.st_mode)) {
        return Kind::socket;
    }
    if (!S_ISREG(status.st_mode)) {
        return Kind::other;
    }
    std::array<char, 64> name{};
    std::array<char, 4096> path{};
    std::snprintf(name.data(), name.size(), "/proc/self/fd/%d", descriptor);
    ssize_t const length = readlink(name.data(), path.data(), path.size());
    return length > 0 && names_effects({path.data(), static_cast<std::size_t>(length)}) ? Kind::effects : Kind::other;
}

bool is_tracked(int descriptor) noexcept {
    return descriptor >= 0 && static_cast<std::size_t>(descriptor) < kMaxDescriptors;
}

Kind kind_of(int descriptor) noexcept {
    if (!is_tracked(descriptor)) {
        return classify(descriptor);
    }
    std::atomic<Kind>& kind = kinds[static_cast<std::size_t>(descriptor)];
    Kind known = kind.load(std::memory_order_relaxed);
    if (known == Kind::unknown) [[unlikely]] {
        known = classify(descriptor);
        kind.store(known, std::memory_order_relaxed);
        transaction_ends(descriptor);  // of another connection that had this number
    }
    return known;
}

bool reply_refused() noexcept {
    if (!tap_owner->may_reply()) {
        errno = ECONNRESET;
        return true;
    }
    return false;
}

// A connection that was to take more of an earlier pass's replies is written to in the middle of a pass, as soon as it
// takes bytes. Behind them may be what another client's command has just caused (it served a blocked one, say), and that
// is not decided yet: all of it waits for the next pass, in which it comes first.
bool must_wait(int descriptor) noexcept {
    if (is_tracked(descriptor) && backlogged[static_cast<std::size_t>(descriptor)] && tap_owner->has_executed()) {
        errno = EAGAIN;
        return true;
    }
    return false;
}

ssize_t tapped_write(int descriptor, void const* bytes, std::size_t length) {
    Kind const kind = kind_of(descriptor);
    if (kind == Kind::effects && on_main_thread()) {
        if (tap_owner->collects()) {
            tap_owner->collect({static_cast<std::byte const*>(bytes), length});
        }
        return static_cast<ssize_t>(length);
    }
    if (kind != Kind::socket) {
        return write(descriptor, bytes, length);
    }
    if (on_main_thread() && (must_wait(descriptor) || reply_refused())) {
        return -1;
    }
    return write(descriptor, bytes, length);
}

ssize_t tapped_writev(int descriptor, iovec const* parts, int count) {
    if (kind_of(descriptor) != Kind::socket) {
        return writev(descriptor, parts, count);
    }
    if (on_main_thread() && (must_wait(descriptor) || reply_refused())) {
        return -1;
    }
    return writev(descriptor, parts, count);
}

// Redis asks to be told of room exactly while it holds a part of a reply back, be it that the socket took no more or that
// one pass has sent enough. What it then appends leaves in a later pass, which may_reply() does not judge for this one.
int tapped_epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event) {
    if (is_tracked(descriptor) && on_main_thread()) {
        backlogged[static_cast<std::size_t>(descriptor)] =
            operation != EPOLL_CTL_DEL && event != nullptr && (event->events & EPOLLOUT) != 0;
    }
    return epoll_ctl(epoll, operation, descriptor, event);
}

// In the middle of a long command redis reads what clients send, and answers that it is busy. When it has come to the
// command's end it goes on with what it has read before, without another read: nobody can tell whose commands those are.
// So the link's bytes stay where they are until then: its commands must be known.
ssize_t tapped_read(int descriptor, void* bytes, std::size_t length) {
    if (on_main_thread() && kind_of(descriptor) == Kind::socket) {
        if (!is_nested) {
            served = descriptor;
        } else if (descriptor == known_link()) {
            errno = EAGAIN;
            return -1;
        }
    }
    return read(descriptor, bytes, length);
}

// Who takes more of an earlier pass's replies comes first: behind the first command that is executed they have to wait
// (must_wait), and beside a client that always has more commands they would for ever. Returns how many events there are then:
// one that is ready for both is told of twice, if there is room.
int serve_backlogged_first(epoll_event* events, int ready, int most) noexcept {
    epoll_event* const others = std::stable_partition(
        events, events + ready, [](epoll_event const& each) { return (each.events & EPOLLOUT) != 0; });
    int count = ready;
    for (epoll_event* each = events; each != others; ++each) {
        if ((each->events & EPOLLIN) != 0 && count < most) {
            events[count++] = {.events = EPOLLIN, .data = each->data};
            each->events &= ~static_cast<std::uint32_t>(EPOLLIN);
        }
    }
    return count;
}

// Behind the descriptors that are ready stands the marker: when redis comes to that, it has served what had come.
int tapped_epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms) {
    if (!on_main_thread() || most < 2) {
        return epoll_wait(epoll, events, most, timeout_ms);
    }
    is_nested = !sleeps_next;
    sleeps_next = false;
    served = -1;
    int const ready = epoll_wait(epoll, events, most - 1, timeout_ms);
    if (is_nested || ready <= 0) {
        return ready;
    }
    int const count = serve_backlogged_first(events, ready, most - 1);
    events[count] = {.events = EPOLLIN, .data = {.fd = end_of_pass}};
    return count + 1;
}

int tapped_connect(int descriptor, sockaddr const* address, socklen_t length) {
    if (on_main_thread() && !tap_owner->may_connect()) {
        errno = EAGAIN;
        return -1;
    }
    return connect(descriptor, address, length);
}

int tapped_fdatasync(int descriptor) {
    if (kind_of(descriptor) != Kind::effects || !on_main_thread()) {
        return fdatasync(descriptor);
    }
    if (tap_owner->collects()) {
        tap_owner->decide();
    }
    return 0;
}

int tapped_close(int descriptor) {
    if (descriptor == link_descriptor.load(std::memory_order_relaxed)) {
        link_descriptor.store(-1, std::memory_order_relaxed);
    }
    if (is_tracked(descriptor)) {
        kinds[static_cast<std::size_t>(descriptor)].store(Kind::unknown, std::memory_order_relaxed);
    }
    return close(descriptor);
}

}  // namespace

std::string install_tap(TapOwner& owner, int marker) {
    tap_owner = &owner;
    end_of_pass = marker;
    main_thread = pthread_self();
    pthread_atfork(nullptr, nullptr, [] { is_child = true; });
    std::array<attach::Redirection, 8> redirections{{
        {"write", reinterpret_cast<void*>(tapped_write)},
        {"fdatasync", reinterpret_cast<void*>(tapped_fdatasync)},
        {"close", reinterpret_cast<void*>(tapped_close)},
        {"read", reinterpret_cast<void*>(tapped_read)},
        {"writev", reinterpret_cast<void*>(tapped_writev)},
        {"epoll_ctl", reinterpret_cast<void*>(tapped_epoll_ctl)},
        {"connect", reinterpret_cast<void*>(tapped_connect)},
        {"epoll_wait", reinterpret_cast<void*>(tapped_epoll_wait)},
    }};
    std::string wrong = attach::redirect(redirections);
    for (attach::Redirection const& each : redirections) {
        if (wrong.empty() && !each.found) {
            wrong = std::string("the program does not call ") + each.name + " through its offset table";
        }
    }
    return wrong;
}

int descriptor_served() noexcept { return served; }

void pass_ends() noexcept { served = -1; }

void before_sleep() noexcept { sleeps_next = true; }

int known_link() noexcept { return link_descriptor.load(std::memory_order_relaxed); }

void know_link(int descriptor) noexcept { link_descriptor.store(descriptor, std::memory_order_relaxed); }

void break_backlogged() noexcept {
    for (std::size_t descriptor = 0; descriptor < kMaxDescriptors; ++descriptor) {
        if (backlogged[descriptor] && kind_of(static_cast<int>(descriptor)) == Kind::socket) {
            shutdown(static_cast<int>(descriptor), SHUT_RDWR);
        }
    }
}

}  // namespace mu::redis
