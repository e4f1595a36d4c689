#include "fabric/segment.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "common/assert.hpp"
#include "fabric/process.hpp"

namespace mu {

namespace {

std::atomic_ref<std::uint32_t> shared(std::uint32_t& word) noexcept { return std::atomic_ref<std::uint32_t>(word); }

// Why a segment with this identity must not be used; empty if it may be.
std::string mismatch(SegmentIdentity const& found, SegmentIdentity const& expected) {
    if (found.magic != kSegmentMagic) return "it is not a segment of Mu";
    if (found.layout != kSegmentLayout) {
        return "it has layout " + std::to_string(found.layout) + ", this version of Mu uses layout " +
               std::to_string(kSegmentLayout) + ": run one version everywhere";
    }
    if (found.cluster_key != expected.cluster_key) return "it belongs to a cluster with another key";
    if (found.replica != expected.replica) return "it belongs to replica " + std::to_string(found.replica);
    if (found.member_count != expected.member_count ||
        !std::equal(std::begin(found.members), std::end(found.members), std::begin(expected.members))) {
        return "its list of members is another one";
    }
    if (found.ring_bytes != expected.ring_bytes || found.background_bytes != expected.background_bytes) {
        return "its log or background region has another size";
    }
    return {};
}

// An open file descriptor that is closed at the end of the scope.
struct OpenFile {
    explicit OpenFile(int opened) noexcept : descriptor(opened) {}
    ~OpenFile() {
        if (descriptor >= 0) ::close(descriptor);
    }
    OpenFile(OpenFile const&) = delete;
    OpenFile& operator=(OpenFile const&) = delete;
    int descriptor;
};

}  // namespace

void refuse_system(int error, std::string const& what) {
    std::string const message = what + ": " + std::strerror(error);
    switch (error) {
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
        case EFBIG:
            throw FabricError(FabricError::Code::no_space,
                              message +
                                  ". Nothing was left behind. Free memory there, remove the remains of dead "
                                  "runs with `mu clean`, or use a smaller log");
        case EACCES:
        case EPERM:
        case EROFS:
            throw FabricError(FabricError::Code::permission_denied,
                              message + ". Nothing was changed. Run all replicas as one user who may write there");
        default:
            throw FabricError(FabricError::Code::system, message + ". Nothing was left behind");
    }
}

std::size_t SegmentShape::area_of(ReplicaId replica) const noexcept {
    return static_cast<std::size_t>(std::find(members.begin(), members.end(), replica) - members.begin());
}

SegmentIdentity SegmentShape::identity(ReplicaId replica, Incarnation incarnation) const noexcept {
    SegmentIdentity identity;
    identity.magic = kSegmentMagic;
    identity.layout = kSegmentLayout;
    identity.replica = replica;
    identity.cluster_key = cluster_key;
    identity.incarnation = incarnation;
    identity.ring_bytes = ring_bytes;
    identity.background_bytes = background_bytes;
    identity.pid = static_cast<std::int32_t>(::getpid());
    identity.process_started_at = look_at_process(identity.pid).started_at;
    identity.member_count = static_cast<std::uint32_t>(members.size());
    std::copy(members.begin(), members.end(), std::begin(identity.members));
    return identity;
}

Segment::Segment(int file, SegmentShape const& shape, std::string const& path)
    : ring_bytes_(shape.ring_bytes), bytes_(shape.bytes()) {
    // Populated: the first store into a page must not cost a fault on the hot path.
    void* const mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (mapped == MAP_FAILED) refuse_system(errno, "cannot map " + path);
    // A forked child must not be able to store anything: nobody would know that it lives on.
    if (::madvise(mapped, bytes_, MADV_DONTFORK) != 0) {
        int const error = errno;
        ::munmap(mapped, bytes_);
        refuse_system(error, "cannot keep " + path + " from forked children");
    }
    base_ = static_cast<std::byte*>(mapped);
    background_ = base_ + shape.background_at();
    areas_ = base_ + shape.area_at(0);
}

Segment::~Segment() { ::munmap(base_, bytes_); }

bool is_own_file(struct stat const& status) noexcept { return S_ISREG(status.st_mode) && status.st_uid == ::geteuid(); }

FoundSegment find_segment(std::string const& path, SegmentShape const& shape, ReplicaId replica,
                          Incarnation later_than) {
    using Code = FabricError::Code;
    OpenFile const file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (file.descriptor < 0) {
        if (errno == ENOENT) return {};
        Code const kind = errno == EACCES || errno == EPERM ? Code::permission_denied : Code::system;
        return {nullptr, path + " cannot be opened: " + std::strerror(errno), kind};
    }
    struct stat status = {};
    if (::fstat(file.descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
        return {nullptr, path + " is not a file", Code::system};
    }
    if (!is_own_file(status)) return {nullptr, path + " belongs to another user", Code::permission_denied};
    SegmentIdentity found;
    if (::pread(file.descriptor, &found, sizeof found, 0) != static_cast<ssize_t>(sizeof found)) found.magic = 0;
    std::string why = mismatch(found, shape.identity(replica, 0));
    if (why.empty() && static_cast<std::uint64_t>(status.st_size) < shape.bytes()) why = "it is cut short";
    if (!why.empty()) {
        bool const other_layout = found.magic == kSegmentMagic && found.layout != kSegmentLayout;
        return {nullptr, path + " is not used: " + why, other_layout ? Code::other_layout : Code::other_cluster};
    }
    if (found.incarnation <= later_than) return {};
    return {std::make_shared<Segment>(file.descriptor, shape, path), {}};
}

void ring_doorbell(Doorbell& bell) noexcept {
    // The sleeper sets its flag before it compares the count; this adds to the count before it looks at the flag. So
    // one of the two sees the other.
    shared(bell.count).fetch_add(1, std::memory_order_seq_cst);
    if (shared(bell.sleeping).load(std::memory_order_seq_cst) != 0) futex_wake_all(bell.count);
}

std::uint32_t doorbell_ticket(Doorbell& bell) noexcept { return shared(bell.count).load(std::memory_order_acquire); }

void sleep_on_doorbell(Doorbell& bell, std::uint32_t ticket, Nanoseconds timeout) noexcept {
    if (timeout <= 0) return;
    shared(bell.sleeping).store(1, std::memory_order_seq_cst);
    futex_sleep(bell.count, ticket, timeout);
    shared(bell.sleeping).store(0, std::memory_order_relaxed);
}

void futex_sleep(std::uint32_t& word, std::uint32_t expected, Nanoseconds timeout) noexcept {
    constexpr Nanoseconds kSecond = 1'000'000'000;
    timespec const relative{static_cast<time_t>(timeout / kSecond), static_cast<long>(timeout % kSecond)};
    ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, timeout < 0 ? nullptr : &relative, nullptr, 0);
}

void futex_wake_all(std::uint32_t& word) noexcept {
    ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace mu
