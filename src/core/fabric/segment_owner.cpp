#include "fabric/segment_owner.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace mu {

namespace {

Incarnation clock_now() noexcept {
    timespec now = {};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<Incarnation>(now.tv_sec) * 1'000'000'000U + static_cast<Incarnation>(now.tv_nsec);
}

// Tells whoever still uses a dead run's segment that there will be another. The kernel has told most of them already.
void mark_superseded(int file) noexcept {
    void* const mapped = ::mmap(nullptr, sizeof(SegmentHeader), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) return;
    auto& header = *static_cast<SegmentHeader*>(mapped);
    std::atomic_ref<std::uint32_t>(header.ended.superseded).store(1, std::memory_order_seq_cst);
    for (LifeLine& line : header.life) {
        futex_wake_all(line.word);
    }
    for (Doorbell& bell : header.doorbells) {
        ring_doorbell(bell);
    }
    ::munmap(mapped, sizeof(SegmentHeader));
}

// The latest life of `replica` that its neighbours have met, the dead ones, too. Those that live would take no earlier one
// for alive.
Incarnation met_by_neighbours(std::string const& directory, std::string const& cluster, ReplicaId replica,
                              SegmentShape const& shape) noexcept {
    Incarnation latest = 0;
    for (ReplicaId const member : shape.members) {
        if (member == replica) continue;
        std::string const path = segment_path(directory, cluster, member);
        int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (file < 0) continue;
        struct stat status = {};
        SegmentHeader found = {};
        bool const read = ::fstat(file, &status) == 0 && is_own_file(status) &&
                          ::pread(file, &found, sizeof found, 0) == static_cast<ssize_t>(sizeof found);
        ::close(file);
        SegmentIdentity const& its = found.identity;
        bool const ours = read && its.magic == kSegmentMagic && its.layout == kSegmentLayout &&
                          its.cluster_key == shape.cluster_key && its.replica == member;
        if (ours) latest = std::max(latest, found.seen.latest[replica]);
    }
    return latest;
}

// Takes all the memory now: later, a store without memory behind it would be a SIGBUS.
int allocate(int file, std::size_t bytes) noexcept {
    rlimit limit = {};
    // Beyond this limit the system would send SIGXFSZ, which kills.
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur) {
        return EFBIG;
    }
    int error = EINTR;
    while (error == EINTR) {
        error = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
    }
    return error;
}

}  // namespace

SegmentOwner::SegmentOwner(std::string const& directory, std::string const& cluster, ReplicaId replica,
                           SegmentShape const& shape)
    : path_(segment_path(directory, cluster, replica)),
      lock_(path_ + ".lock", "replica " + std::to_string(replica) + " of cluster " + cluster) {
    Incarnation const before = std::max(
        {retire_predecessor(), lock_.earlier().incarnation, met_by_neighbours(directory, cluster, replica, shape)});
    Incarnation const incarnation = later_than(before);
    lock_.write({static_cast<std::int32_t>(::getpid()), incarnation});
    create(shape, replica, incarnation);
}

// An incarnation is the time of its start, unless the clock has been put back since an earlier one.
Incarnation SegmentOwner::later_than(Incarnation before) {
    Incarnation const now = clock_now();
    if (now > before) return now;
    notice_ += notice_.empty() ? "" : "; ";
    notice_ += "the clock stands before the start of an earlier life of this replica, which its incarnation follows: " +
               std::to_string(before + 1);
    return before + 1;
}

std::string SegmentOwner::lost() const {
    if (lock_.has_a_name()) return {};
    return "the lock file " + path_ +
           ".lock was removed, so another life of this replica could begin beside it. This one has stopped; what it "
           "executed is still in its state machine. Find out who removed the file (systemd does, where RemoveIPC=yes, "
           "when the user logs out), then start it again";
}

// Removes what an earlier life left, which must not count against the memory that this one takes. Returns its
// incarnation, 0 if there is none that can be read.
Incarnation SegmentOwner::retire_predecessor() {
    std::string const temporary = path_ + ".tmp";
    ::unlink(temporary.c_str());
    int const file = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) {
        if (errno == ENOENT) return 0;
        refuse_system(errno, "cannot replace the stale segment " + path_);
    }
    struct stat status = {};
    if (::fstat(file, &status) != 0 || !is_own_file(status)) {
        ::close(file);
        refuse_system(EACCES, "cannot replace " + path_ + ", which is another user's, or not a file");
    }
    SegmentIdentity found;
    bool const ours = ::pread(file, &found, sizeof found, 0) == static_cast<ssize_t>(sizeof found) &&
                      found.magic == kSegmentMagic && found.layout == kSegmentLayout &&
                      status.st_size >= static_cast<off_t>(sizeof(SegmentHeader));
    if (ours) mark_superseded(file);
    ::close(file);
    if (::unlink(path_.c_str()) != 0) refuse_system(errno, "cannot remove the stale segment " + path_);
    std::int32_t const pid = ours ? found.pid : lock_.earlier().pid;
    notice_ = "removed the stale segment of a dead run (pid " + std::to_string(pid) + "): " + path_;
    return ours ? found.incarnation : 0;
}

void SegmentOwner::create(SegmentShape const& shape, ReplicaId replica, Incarnation incarnation) {
    std::string const temporary = path_ + ".tmp";
    int const file = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) refuse_system(errno, "cannot make " + temporary);
    int const error = allocate(file, shape.bytes());
    try {
        if (error != 0) refuse_system(error, "cannot take " + std::to_string(shape.bytes()) + " bytes for " + path_);
        segment_ = std::make_shared<Segment>(file, shape, path_);
    } catch (...) {
        ::close(file);
        ::unlink(temporary.c_str());
        throw;
    }
    ::close(file);
    // The file is zeros; the header begins to live in it here.
    auto* const header = new (&segment_->header()) SegmentHeader();
    header->identity = shape.identity(replica, incarnation);
}

void SegmentOwner::publish() {
    std::string const temporary = path_ + ".tmp";
    if (::rename(temporary.c_str(), path_.c_str()) != 0) refuse_system(errno, "cannot name " + path_);
}

SegmentOwner::~SegmentOwner() {
    if (!keep_) leave();
}

void SegmentOwner::leave() noexcept {
    if (std::exchange(keep_, true)) return;  // from here on the names may be a successor's
    if (lock_.has_a_name()) {
        ::unlink((path_ + ".tmp").c_str());
        ::unlink(path_.c_str());
    } else {
        lock_.abandon();  // what is called so now is a successor's
    }
    lock_.release();
}

void SegmentOwner::abandon() noexcept {
    keep_ = true;
    lock_.abandon();
}

}  // namespace mu
