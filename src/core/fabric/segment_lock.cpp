#include "fabric/segment_lock.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <mutex>

#include "fabric/segment.hpp"

namespace mu {

namespace {

// The descriptors of held locks, for the children of fork(). Fixed, because the handler may only use what is safe
// between fork and exec; a process with more replicas than this has children that keep a lock until they exec or end.
constexpr std::size_t kForkAware = 64;
std::array<std::atomic<int>, kForkAware> g_held;  // descriptor + 1; 0 is a free place

void close_in_child() noexcept {
    for (std::atomic<int>& held : g_held) {
        int const descriptor = held.exchange(0) - 1;
        if (descriptor >= 0) ::close(descriptor);
    }
}

void remember(int descriptor) noexcept {
    static std::once_flag once;
    std::call_once(once, [] { ::pthread_atfork(nullptr, nullptr, close_in_child); });
    for (std::atomic<int>& held : g_held) {
        int free = 0;
        if (held.compare_exchange_strong(free, descriptor + 1)) return;
    }
}

void forget(int descriptor) noexcept {
    for (std::atomic<int>& held : g_held) {
        int expected = descriptor + 1;
        if (held.compare_exchange_strong(expected, 0)) return;
    }
}

LockNote read_note(int file) noexcept {
    std::array<char, 96> text{};
    LockNote note;
    if (::pread(file, text.data(), text.size() - 1, 0) <= 0) return note;
    if (std::sscanf(text.data(), "pid %" SCNd32 " incarnation %" SCNu64, &note.pid, &note.incarnation) != 2) return {};
    return note;
}

// A lock for writing, of everything.
struct flock whole_file() noexcept {
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

bool has_the_name(int file, std::string const& path) noexcept {
    struct stat opened = {};
    struct stat named = {};
    return ::fstat(file, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

// Whether it is a plain file of that user's.
bool belongs_to(uid_t owner, int file) noexcept {
    struct stat status = {};
    return ::fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == owner;
}

// Whoever owns the file may remove its name under the lock, sticky directory or not, and so let in a second life.
[[noreturn]] void refuse_foreign(std::string const& path) {
    throw FabricError(FabricError::Code::permission_denied,
                      "the lock file " + path +
                          " is another user's, or not a plain file, so it guards nothing. Nothing was changed. Run all "
                          "replicas as one user; if none runs as that one, remove the file, or choose another name or "
                          "directory");
}

}  // namespace

std::string segment_path(std::string const& directory, std::string const& cluster, ReplicaId replica) {
    return directory + "/mu." + cluster + "." + std::to_string(replica);
}

LockFile::LockFile(std::string const& path, std::string const& whose) : path_(path) {
    for (;;) {
        file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (file_ < 0) refuse_system(errno, "cannot open the lock file " + path);
        if (!belongs_to(::geteuid(), file_)) {
            ::close(file_);
            refuse_foreign(path);
        }
        struct flock whole = whole_file();
        if (::fcntl(file_, F_OFD_SETLK, &whole) != 0) {
            int const error = errno;
            LockNote const holder = read_note(file_);
            ::close(file_);
            if (error == EINTR) continue;
            if (error != EAGAIN && error != EACCES) refuse_system(error, "cannot lock " + path);
            throw FabricError(FabricError::Code::id_in_use,
                              whose + " already runs as pid " + std::to_string(holder.pid) +
                                  ". It goes on undisturbed. Stop it first, or start another replica");
        }
        if (has_the_name(file_, path)) break;
        ::close(file_);  // its holder has just removed it: this lock guards nothing
    }
    remember(file_);
    earlier_ = read_note(file_);
}

LockFile::~LockFile() { release(); }

void LockFile::release() noexcept {
    if (file_ < 0) return;
    // Named as long as it is locked: whoever opens the file from here on finds that it has lost its name.
    if (!keep_) ::unlink(path_.c_str());
    forget(file_);
    ::close(file_);
    file_ = -1;
}

bool LockFile::has_a_name() const noexcept {
    struct stat status = {};
    return ::fstat(file_, &status) != 0 || status.st_nlink != 0;
}

void LockFile::write(LockNote const& note) {
    std::array<char, 96> text{};
    int const length = std::snprintf(text.data(), text.size(), "pid %" PRId32 " incarnation %" PRIu64 "\n", note.pid,
                                     note.incarnation);
    if (::pwrite(file_, text.data(), static_cast<std::size_t>(length), 0) != length ||
        ::ftruncate(file_, length) != 0) {
        refuse_system(errno, "cannot write " + path_);
    }
}

LockState look_at_lock(std::string const& path) noexcept { return look_at_lock(path, ::geteuid()); }

LockState look_at_lock(std::string const& path, uid_t owner) noexcept {
    LockState state;
    // O_NONBLOCK: somebody's FIFO of that name must not hold up whoever only looks.
    int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return state;
    if (belongs_to(owner, file)) {
        struct flock whole = whole_file();
        state.held = ::fcntl(file, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
        state.note = read_note(file);
    }
    ::close(file);
    return state;
}

}  // namespace mu
