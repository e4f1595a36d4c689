#include "runtime/peek.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fabric/segment.hpp"
#include "fabric/segment_lock.hpp"
#include "protocol/regions.hpp"

namespace mu {
namespace {

// A segment's header and background region, mapped for as long as this lives.
class Window {
public:
    explicit Window(std::string const& path) {
        int const file = open(path.c_str(), O_RDWR | O_CLOEXEC);
        if (file < 0) {
            return;
        }
        struct stat status{};
        constexpr std::size_t kNeeded = kSegmentPage + sizeof(BackgroundRegion);
        if (fstat(file, &status) == 0 && static_cast<std::size_t>(status.st_size) >= kNeeded) {
            void* const base = mmap(nullptr, kNeeded, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            base_ = base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
            bytes_ = kNeeded;
        }
        ::close(file);
    }
    ~Window() {
        if (base_ != nullptr) {
            munmap(base_, bytes_);
        }
    }
    Window(Window const&) = delete;
    Window& operator=(Window const&) = delete;

    [[nodiscard]] SegmentIdentity const* identity() const noexcept {
        auto const* const identity = reinterpret_cast<SegmentIdentity const*>(base_);
        bool const readable = base_ != nullptr && identity->magic == kSegmentMagic &&
                              identity->layout == kSegmentLayout && identity->member_count <= kMaxReplicas &&
                              identity->background_bytes == sizeof(BackgroundRegion);
        return readable ? identity : nullptr;
    }
    [[nodiscard]] OwnCells& cells() const noexcept {
        return reinterpret_cast<BackgroundRegion*>(base_ + kSegmentPage)->own;
    }

private:
    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace

std::optional<Glimpse> peek(std::string const& directory, std::string const& cluster, ReplicaId replica) {
    std::string const path = segment_path(directory, cluster, replica);
    Window const window(path);
    SegmentIdentity const* const identity = window.identity();
    if (identity == nullptr) {
        return std::nullopt;
    }
    OwnCells const& cells = window.cells();
    Glimpse glimpse;
    glimpse.replica = identity->replica;
    glimpse.incarnation = identity->incarnation;
    glimpse.pid = identity->pid;
    glimpse.alive = look_at_lock(path + ".lock").held;
    glimpse.heartbeat = load_word(cells.heartbeat);
    glimpse.admitted = load_word(cells.admitted) == identity->incarnation;
    glimpse.eligible = load_word(cells.eligible) != 0;
    glimpse.leader = static_cast<ReplicaId>(load_word(cells.leader));
    glimpse.leading = load_word(cells.leading) != 0;
    glimpse.fuo = load_word(cells.fuo);
    glimpse.chain_end = load_word(cells.chain_end);
    glimpse.propose_p50_ns = load_word(cells.propose_p50_ns);
    glimpse.propose_p99_ns = load_word(cells.propose_p99_ns);
    glimpse.paused = load_word(cells.paused) != 0;
    glimpse.members.assign(identity->members, identity->members + identity->member_count);
    if (std::optional<Position> const applied = load_position(cells.applied)) {
        glimpse.applied = applied->offset;
    }
    return glimpse;
}

bool ask_pause(std::string const& directory, std::string const& cluster, ReplicaId replica, bool paused) {
    std::string const path = segment_path(directory, cluster, replica);
    Window const window(path);
    if (window.identity() == nullptr || !look_at_lock(path + ".lock").held) {
        return false;
    }
    store_word(window.cells().control, static_cast<std::uint64_t>(paused ? Control::pause : Control::resume));
    return true;
}

}  // namespace mu
