#include "runtime/peek.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstddef>
#include <utility>

#include "fabric/segment.hpp"
#include "fabric/segment_lock.hpp"
#include "protocol/regions.hpp"

namespace mu {
namespace {

// A segment that is looked at from outside: of this user's, or of anybody's for root. Whoever owns it may have written
// anything there, and may change it or cut it short meanwhile. So nothing is mapped, and what is judged is a copy.
class Window {
public:
    explicit Window(std::string path) : path_(std::move(path)) {
        // O_NONBLOCK: somebody's FIFO of that name must not hold up whoever only looks.
        file_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat status{};
        readable_ = file_ >= 0 && ::fstat(file_, &status) == 0 && S_ISREG(status.st_mode) &&
                    (status.st_uid == ::geteuid() || ::geteuid() == 0) && copy(identity_, 0) &&
                    identity_.magic == kSegmentMagic && identity_.layout == kSegmentLayout &&
                    identity_.member_count <= kMaxReplicas && identity_.background_bytes == sizeof(BackgroundRegion) &&
                    copy(cells_, kCellsAt);
        owner_ = status.st_uid;
    }
    ~Window() {
        if (file_ >= 0) {
            ::close(file_);
        }
    }
    Window(Window const&) = delete;
    Window& operator=(Window const&) = delete;

    [[nodiscard]] bool readable() const noexcept { return readable_; }
    [[nodiscard]] SegmentIdentity const& identity() const noexcept { return identity_; }
    [[nodiscard]] OwnCells const& cells() const noexcept { return cells_; }
    [[nodiscard]] bool alive() const noexcept { return look_at_lock(path_ + ".lock", owner_).held; }
    static_assert(std::endian::native == std::endian::little);
    // One byte, the lowest, says what is asked for: no store of the kernel's can tear it.
    [[nodiscard]] bool ask(Control wish) const noexcept {
        auto const byte = static_cast<unsigned char>(wish);
        return ::pwrite(file_, &byte, 1, kCellsAt + static_cast<off_t>(offsetof(OwnCells, control))) == 1;
    }

private:
    static constexpr off_t kCellsAt = kSegmentPage + offsetof(BackgroundRegion, own);

    template <class Part>
    [[nodiscard]] bool copy(Part& into, off_t at) const noexcept {
        return ::pread(file_, &into, sizeof into, at) == static_cast<ssize_t>(sizeof into);
    }

    std::string path_;
    int file_ = -1;
    bool readable_ = false;
    uid_t owner_ = 0;
    SegmentIdentity identity_;
    OwnCells cells_;
};

}  // namespace

std::optional<Glimpse> peek(std::string const& directory, std::string const& cluster, ReplicaId replica) {
    Window const window(segment_path(directory, cluster, replica));
    if (!window.readable()) {
        return std::nullopt;
    }
    SegmentIdentity const& identity = window.identity();
    OwnCells const& cells = window.cells();
    Glimpse glimpse;
    glimpse.replica = identity.replica;
    glimpse.incarnation = identity.incarnation;
    glimpse.pid = identity.pid;
    glimpse.alive = window.alive();
    glimpse.heartbeat = cells.heartbeat;
    glimpse.admitted = cells.admitted == identity.incarnation;
    glimpse.eligible = cells.eligible != 0;
    glimpse.leader = static_cast<ReplicaId>(cells.leader);
    glimpse.leading = cells.leading != 0;
    glimpse.fuo = cells.fuo;
    glimpse.chain_end = cells.chain_end;
    glimpse.propose_p50_ns = cells.propose_p50_ns;
    glimpse.propose_p99_ns = cells.propose_p99_ns;
    glimpse.paused = cells.paused != 0;
    glimpse.members.assign(identity.members, identity.members + identity.member_count);
    if (std::optional<Position> const applied = load_position(cells.applied)) {
        glimpse.applied = applied->offset;
    }
    return glimpse;
}

bool ask_pause(std::string const& directory, std::string const& cluster, ReplicaId replica, bool paused) {
    Window const window(segment_path(directory, cluster, replica));
    return window.readable() && window.alive() && window.ask(paused ? Control::pause : Control::resume);
}

}  // namespace mu
