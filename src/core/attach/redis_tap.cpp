#include "attach/redis_tap.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "attach/got_patch.hpp"

namespace mu::redis {
namespace {

enum class Kind : std::uint8_t { unknown, effects, socket, other };

constexpr std::size_t kMaxDescriptors = 1U << 17U;

TapOwner* tap_owner = nullptr;
pthread_t main_thread;
bool is_child = false;  // forked: nothing is tapped there
int read_last = -1;
std::atomic<int> link_descriptor{-1};
std::uint64_t seen = 0;
std::array<std::atomic<Kind>, kMaxDescriptors> kinds{};
std::array<std::atomic<bool>, kMaxDescriptors> backlogged{};
std::atomic<bool> any_backlogged{false};

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

Kind kind_of(int descriptor) noexcept {
    if (descriptor < 0 || static_cast<std::size_t>(descriptor) >= kMaxDescriptors) {
        return Kind::unknown;
    }
    std::atomic<Kind>& kind = kinds[static_cast<std::size_t>(descriptor)];
    Kind known = kind.load(std::memory_order_relaxed);
    if (known == Kind::unknown) [[unlikely]] {
        known = classify(descriptor);
        kind.store(known, std::memory_order_relaxed);
    }
    return known;
}

void note_backlog(int descriptor, ssize_t written, std::size_t wanted) noexcept {
    std::atomic<bool>& behind = backlogged[static_cast<std::size_t>(descriptor)];
    bool const is = written < 0 || static_cast<std::size_t>(written) < wanted;
    if (is != behind.load(std::memory_order_relaxed)) {
        behind.store(is, std::memory_order_relaxed);
        if (is) {
            any_backlogged.store(true, std::memory_order_relaxed);
        }
    }
}

bool reply_refused() noexcept {
    if (!tap_owner->may_reply()) {
        errno = ECONNRESET;
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
    if (on_main_thread() && reply_refused()) {
        return -1;
    }
    ssize_t const written = write(descriptor, bytes, length);
    note_backlog(descriptor, written, length);
    return written;
}

ssize_t tapped_writev(int descriptor, iovec const* parts, int count) {
    if (kind_of(descriptor) != Kind::socket) {
        return writev(descriptor, parts, count);
    }
    if (on_main_thread() && reply_refused()) {
        return -1;
    }
    std::size_t wanted = 0;
    for (int i = 0; i < count; ++i) {
        wanted += parts[i].iov_len;
    }
    ssize_t const written = writev(descriptor, parts, count);
    note_backlog(descriptor, written, wanted);
    return written;
}

ssize_t tapped_read(int descriptor, void* bytes, std::size_t length) {
    if (on_main_thread()) {
        read_last = descriptor;
    }
    return read(descriptor, bytes, length);
}

int tapped_fdatasync(int descriptor) {
    if (kind_of(descriptor) != Kind::effects || !on_main_thread()) {
        return fdatasync(descriptor);
    }
    ++seen;
    if (tap_owner->collects()) {
        tap_owner->decide();
    }
    return 0;
}

int tapped_close(int descriptor) {
    if (descriptor == link_descriptor.load(std::memory_order_relaxed)) {
        link_descriptor.store(-1, std::memory_order_relaxed);
    }
    if (descriptor >= 0 && static_cast<std::size_t>(descriptor) < kMaxDescriptors) {
        kinds[static_cast<std::size_t>(descriptor)].store(Kind::unknown, std::memory_order_relaxed);
        backlogged[static_cast<std::size_t>(descriptor)].store(false, std::memory_order_relaxed);
    }
    return close(descriptor);
}

}  // namespace

std::string install_tap(TapOwner& owner) {
    tap_owner = &owner;
    main_thread = pthread_self();
    pthread_atfork(nullptr, nullptr, [] { is_child = true; });
    std::array<attach::Redirection, 5> redirections{{
        {"write", reinterpret_cast<void*>(tapped_write)},
        {"fdatasync", reinterpret_cast<void*>(tapped_fdatasync)},
        {"close", reinterpret_cast<void*>(tapped_close)},
        {"read", reinterpret_cast<void*>(tapped_read)},
        {"writev", reinterpret_cast<void*>(tapped_writev)},
    }};
    std::string wrong = attach::redirect(redirections);
    for (attach::Redirection const& each : redirections) {
        if (wrong.empty() && !each.found) {
            wrong = std::string("the program does not call ") + each.name + " through its offset table";
        }
    }
    return wrong;
}

int descriptor_read_last() noexcept { return read_last; }

int known_link() noexcept { return link_descriptor.load(std::memory_order_relaxed); }

void know_link(int descriptor) noexcept { link_descriptor.store(descriptor, std::memory_order_relaxed); }

void break_backlogged() noexcept {
    if (!any_backlogged.exchange(false, std::memory_order_relaxed)) {
        return;
    }
    for (std::size_t descriptor = 0; descriptor < kMaxDescriptors; ++descriptor) {
        if (backlogged[descriptor].load(std::memory_order_relaxed)) {
            shutdown(static_cast<int>(descriptor), SHUT_RDWR);
        }
    }
}

std::uint64_t batches_seen() noexcept { return seen; }

}  // namespace mu::redis
