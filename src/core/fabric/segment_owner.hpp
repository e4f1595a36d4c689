// One's own segment as a file: made under a temporary name, complete before it gets its name, removed at the end.
//
//     lock → mark and remove what a dead predecessor left → make `.tmp` → fill it → (caller starts its life) → rename
//
// Invariant: a file named mu.<cluster>.<replica> is complete and fully allocated, and the holder of the lock made it
// (or died after making it).
#pragma once

#include <memory>
#include <string>

#include "fabric/segment.hpp"
#include "fabric/segment_lock.hpp"

namespace mu {

class SegmentOwner {
public:
    // Makes the segment, still without its name. Throws FabricError.
    SegmentOwner(std::string const& directory, std::string const& cluster, ReplicaId replica,
                 SegmentShape const& shape);
    ~SegmentOwner();
    SegmentOwner(SegmentOwner const&) = delete;
    SegmentOwner& operator=(SegmentOwner const&) = delete;

    void publish();
    [[nodiscard]] std::shared_ptr<Segment> const& segment() const noexcept { return segment_; }
    // What a person should know about the predecessor, or the clock; else empty.
    [[nodiscard]] std::string const& notice() const noexcept { return notice_; }
    // Why this life must end, if so: its names were taken away, and another one may begin under them.
    [[nodiscard]] std::string lost() const;
    // Removes the files and lets go of the lock; the memory stays for as long as somebody uses it.
    void leave() noexcept;
    void abandon() noexcept;

private:
    [[nodiscard]] Incarnation retire_predecessor();
    [[nodiscard]] Incarnation later_than(Incarnation before);
    void create(SegmentShape const& shape, ReplicaId replica, Incarnation incarnation);

    std::string path_;
    LockFile lock_;
    std::shared_ptr<Segment> segment_;
    std::string notice_;
    bool keep_ = false;
};

}  // namespace mu
