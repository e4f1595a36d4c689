// A segment: the memory that one replica shares with its peers on one machine.
//
//     | header | background region | area 0 | … | area n-1 | spare page, if asked for |
//       identity, ended, permission, live, doorbells, life, seen      each `ring_bytes` long, page aligned
//
// Where memory is shared each member stores log writes into a landing area of its own (why: shm.hpp); other fabrics
// have one area, the log, and use the segment for its lock, and so that people can look into it. The identity is written before the
// segment gets its name and never changes; every other word is shared and goes through std::atomic_ref.
//
// Invariant: a segment is mapped only after its identity was found to be of this layout, this cluster and these sizes;
// and its file is fully allocated before it has a name, so no access to a mapping can fail.
#pragma once

#include <linux/futex.h>
#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/types.hpp"
#include "fabric/error.hpp"
#include "fabric/fabric.hpp"

namespace mu {

inline constexpr std::uint64_t kSegmentMagic = 0x31'6d'68'73'2e'75'6d'00;  // "\0mu.shm1"
inline constexpr std::uint32_t kSegmentLayout = 4;  // raise it with every change of this file's structures
inline constexpr std::size_t kSegmentPage = 4096;   // bytes; areas begin on pages so that no two writers share one

struct SegmentIdentity {
    std::uint64_t magic = 0;
    std::uint32_t layout = 0;
    std::uint32_t replica = 0;
    std::uint64_t cluster_key = 0;
    std::uint64_t incarnation = 0;
    std::uint64_t ring_bytes = 0;
    std::uint64_t background_bytes = 0;
    std::int32_t pid = 0;  // it may mean nothing, or another process, in another pid namespace
    std::uint32_t member_count = 0;
    std::uint64_t process_started_at = 0;  // with the pid: which process (ProcessState)
    std::uint32_t members[kMaxReplicas] = {};
};
static_assert(sizeof(SegmentIdentity) == 128 && offsetof(SegmentIdentity, members) == kCacheLine);

struct alignas(kCacheLine) EndedLine {
    std::uint32_t closed;      // its owner took its leave
    std::uint32_t superseded;  // its owner died and a later incarnation has taken its place
    std::uint32_t processor;   // on which its replication plane was last worked on, plus 1; 0: unknown
};

struct alignas(kCacheLine) PermissionLine {
    Proposal word;  // the only tenure whose writes count, and the promise to grant nothing lower
};

// Which landing area is the log. `proposal` alone says it: the area is that of its proposer. The floor of an area is
// rewritten only while that area is not live, so a reader that finds the same proposal afterwards has read its floor.
struct alignas(kCacheLine) LiveLine {
    Proposal proposal;
    std::uint64_t unused[7];
    Offset floor[kMaxReplicas];  // by area
};

struct alignas(kCacheLine) Doorbell {
    std::uint32_t count;     // a futex word: how often it was rung
    std::uint32_t sleeping;  // whether a ring must wake somebody
};

// One word per peer, held by the life thread of the owner: the kernel marks it when that thread ends (shm_life.hpp).
struct alignas(kCacheLine) LifeLine {
    robust_list node;  // links the lines in the owner's address space; the kernel follows it there
    std::uint32_t word;
};

// Of each peer, the latest life that the owner has met. A peer that starts anew looks here: whatever the clock says, its
// incarnation must be a later one, or it would be taken for one that has ended.
struct alignas(kCacheLine) SeenLine {
    Incarnation latest[kMaxReplicas];
};

struct SegmentHeader {
    SegmentIdentity identity;
    EndedLine ended;
    PermissionLine permission;
    LiveLine live;
    Doorbell doorbells[2];  // replication, background; the learner channel is part of the replication plane
    LifeLine life[kMaxReplicas];
    SeenLine seen;
};
static_assert(offsetof(SegmentHeader, ended) == 128);
static_assert(offsetof(SegmentHeader, permission) == 192);
static_assert(offsetof(SegmentHeader, live) == 256 && offsetof(LiveLine, floor) == 64);
static_assert(offsetof(SegmentHeader, doorbells) == 448 && sizeof(Doorbell) == 64);
static_assert(offsetof(SegmentHeader, life) == 576 && sizeof(LifeLine) == 64 && offsetof(LifeLine, word) == 8);
static_assert(offsetof(SegmentHeader, seen) == 1600 && sizeof(SeenLine) == 128);
static_assert(sizeof(SegmentHeader) == 1728 && sizeof(SegmentHeader) <= kSegmentPage);

// What every segment of one cluster has in common, and where things lie in it.
struct SegmentShape {
    std::uint64_t cluster_key = 0;
    std::vector<ReplicaId> members;
    std::uint64_t ring_bytes = 0;
    std::uint64_t background_bytes = 0;
    std::size_t areas = 0;
    std::size_t spare_bytes = 0;  // after the last area, in the same mapping

    [[nodiscard]] std::size_t background_at() const noexcept { return kSegmentPage; }
    [[nodiscard]] std::size_t area_at(std::size_t area) const noexcept {
        return background_at() + align_up(background_bytes, kSegmentPage) + area * ring_bytes;
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return area_at(areas) + spare_bytes; }
    // The area of `replica`, or members.size() if it is not a member.
    [[nodiscard]] std::size_t area_of(ReplicaId replica) const noexcept;
    [[nodiscard]] SegmentIdentity identity(ReplicaId replica, Incarnation incarnation) const noexcept;
};

// A segment in this process's address space. Shared by all that use it; the last one unmaps it.
class Segment {
public:
    // Maps `shape.bytes()` of an open file, whose identity has been checked.
    Segment(int file, SegmentShape const& shape, std::string const& path);
    ~Segment();
    Segment(Segment const&) = delete;
    Segment& operator=(Segment const&) = delete;

    [[nodiscard]] SegmentHeader& header() const noexcept { return *reinterpret_cast<SegmentHeader*>(base_); }
    [[nodiscard]] Incarnation incarnation() const noexcept { return header().identity.incarnation; }
    [[nodiscard]] std::byte* background() const noexcept { return background_; }
    [[nodiscard]] std::byte* area(std::size_t index) const noexcept { return areas_ + index * ring_bytes_; }

    // Whether its owner has ended, as far as this process knows.
    [[nodiscard]] bool gone() const noexcept { return gone_.load(std::memory_order_acquire); }
    void set_gone() noexcept { gone_.store(true, std::memory_order_release); }

private:
    std::byte* base_ = nullptr;
    std::byte* background_ = nullptr;
    std::byte* areas_ = nullptr;
    std::size_t ring_bytes_ = 0;
    std::size_t bytes_ = 0;
    std::atomic<bool> gone_ = false;
};

// Whether what was opened is a plain file of this user's: what others own they may change, cut short or remove.
[[nodiscard]] bool is_own_file(struct stat const& status) noexcept;

// Looks for the segment of `replica` at `path`. Null with an empty problem: there is none. Null with a problem: there
// is one that must not be used, and the problem says why.
struct FoundSegment {
    std::shared_ptr<Segment> segment;
    std::string problem;
    FabricError::Code kind = FabricError::Code::system;  // of the problem
};
[[nodiscard]] FoundSegment find_segment(std::string const& path, SegmentShape const& shape, ReplicaId replica,
                                        Incarnation later_than);

// Doorbells. A ring is one locked addition unless somebody sleeps.
[[nodiscard]] constexpr std::size_t doorbell_of(Plane plane) noexcept { return plane == Plane::background ? 1 : 0; }
void ring_doorbell(Doorbell& bell) noexcept;
[[nodiscard]] std::uint32_t doorbell_ticket(Doorbell& bell) noexcept;
void sleep_on_doorbell(Doorbell& bell, std::uint32_t ticket, Nanoseconds timeout) noexcept;

// Throws the FabricError that stands for a failed system call. `what` begins the message.
[[noreturn]] void refuse_system(int error, std::string const& what);

// The two futex calls, on words that other processes share. A negative timeout means for ever.
void futex_sleep(std::uint32_t& word, std::uint32_t expected, Nanoseconds timeout) noexcept;
void futex_wake_all(std::uint32_t& word) noexcept;

}  // namespace mu
