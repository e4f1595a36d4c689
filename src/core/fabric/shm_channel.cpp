#include "fabric/shm_channel.hpp"

#include <algorithm>
#include <atomic>

#include "common/assert.hpp"
#include "common/ordered_copy.hpp"
#include "fabric/shm_peers.hpp"

namespace mu {

namespace {

// Room for operations between two polls without an allocation. More than any plane has outstanding.
constexpr std::size_t kExpectedPending = 1024;

// Logs are written one slot after the other, so what the write after the next one will touch is fetched while nobody
// waits. Not if it is longer than this: string moves write whole lines without fetching them, and faster so.
constexpr std::size_t kFetchedAhead = 2048;

// Fetches a line for writing: a reader that has it elsewhere loses it now rather than when somebody waits for the
// store. The compiler's own builtin fetches for reading only, unless it is told the exact processor.
inline void prefetch_to_write(std::byte* at) noexcept {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*at));
#else
    __builtin_prefetch(at, 1, 3);
#endif
}

}  // namespace

ShmChannel::ShmChannel(ShmPeers& peers, SegmentShape const& shape, ReplicaId self)
    : peers_(peers), shape_(shape), own_area_(shape.area_of(self)) {
    pending_.resize(kExpectedPending);
}

inline ShmChannel::Link& ShmChannel::link(ReplicaId peer) noexcept {
    MU_ASSERT(peer <= kMaxReplicaId);
    return links_[peer];
}

// Makes room for one more: by closing up, or, if a caller posts more than anybody expected, by growing.
void ShmChannel::make_room() noexcept {
    if (delivered_ == 0) {
        pending_.resize(2 * pending_.size());
        return;
    }
    std::copy(pending_.begin() + static_cast<std::ptrdiff_t>(delivered_),
              pending_.begin() + static_cast<std::ptrdiff_t>(posted_), pending_.begin());
    posted_ -= delivered_;
    settled_ -= delivered_;
    delivered_ = 0;
}

inline void ShmChannel::push(Operation operation, ReplicaId peer, std::uint64_t id, Verdict verdict) noexcept {
    if (posted_ == pending_.size()) [[unlikely]]
        make_room();
    pending_[posted_++] = {id, peer, operation, verdict};
}

bool ShmChannel::connect(ReplicaId peer) noexcept {
    std::shared_ptr<Segment> found = peers_.segment(peer);
    if (found == nullptr) return false;
    Link& it = link(peer);
    if (it.segment == found) return true;
    settle();  // what is open was posted to the incarnation left behind
    it = Link();
    it.background = found->background();
    it.permission = &found->header().permission.word;
    it.segment = std::move(found);
    return true;
}

Incarnation ShmChannel::connected(ReplicaId peer) const noexcept {
    if (peer > kMaxReplicaId || links_[peer].segment == nullptr) return 0;
    return links_[peer].segment->incarnation();
}

void ShmChannel::begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept {
    settle();  // what is open was written by the tenure before
    Link& it = link(peer);
    it.proposal = tenure.proposal;
    // A key comes from another process: anything but one's own area would break the contract for others.
    it.writable = it.segment != nullptr && key == own_area_ && tenure.proposal != kNoProposal;
    it.log = it.writable ? it.segment->area(own_area_) : nullptr;
}

void ShmChannel::write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes, std::uint64_t id) noexcept {
    Link const& it = link(to);
    bool const to_log = region == Region::log;
    std::size_t const length = ordered_bytes(bytes.head, bytes.body, bytes.tail);
    // A write does not wrap: the protocol fills the end of the ring.
    MU_ASSERT(at <= (to_log ? shape_.ring_bytes : shape_.background_bytes) &&
              length <= (to_log ? shape_.ring_bytes : shape_.background_bytes) - at);
    std::byte* const base = to_log ? (it.writable ? it.log : nullptr) : it.background;
    if (base == nullptr) {
        push(Operation::write, to, id, Verdict::failed);
        return;
    }
    ordered_copy(base + at, bytes.head, bytes.body, bytes.tail);
    push(Operation::write, to, id, to_log ? Verdict::by_permission : Verdict::by_life);
}

void ShmChannel::read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
                      std::uint64_t id) noexcept {
    Link const& it = link(from);
    std::uint64_t const size = region == Region::log ? shape_.ring_bytes : shape_.background_bytes;
    MU_ASSERT(at <= size && into.size() <= size - at && at % kWord == 0);
    std::byte const* const base = region == Region::log ? it.log : it.background;
    if (base != nullptr) racy_copy_out(into.data(), base + at, into.size());
    push(Operation::read, from, id, base != nullptr ? Verdict::by_life : Verdict::failed);
}

void ShmChannel::confirm(ReplicaId to, std::uint64_t id) noexcept {
    push(Operation::confirm, to, id, link(to).writable ? Verdict::by_permission : Verdict::failed);
}

// To be called after a fence that follows the stores. One failure ends this tenure's writing to the peer.
inline bool ShmChannel::judge_permission(Link& it) noexcept {
    std::atomic_ref<Proposal> const word(*it.permission);
    // Acquire: what follows a success must not be loaded before it.
    it.writable = word.load(std::memory_order_acquire) == it.proposal && !it.segment->gone();
    return it.writable;
}

inline bool ShmChannel::judge(Pending const& pending) noexcept {
    Link& it = links_[pending.peer];
    if (pending.verdict == Verdict::by_life) return !it.segment->gone();
    return pending.verdict != Verdict::failed && it.writable && judge_permission(it);
}

// Judges everything that is open. The one fence stands between all stores and all loads of permission words.
void ShmChannel::settle() noexcept {
    if (settled_ == posted_) return;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (; settled_ < posted_; ++settled_) {
        Pending& it = pending_[settled_];
        it.verdict = judge(it) ? Verdict::succeeded : Verdict::failed;
    }
}

std::size_t ShmChannel::poll(std::span<Completion> completions) noexcept {
    if (posted_ == 0) return 0;
    settle();
    std::size_t const count = std::min(completions.size(), settled_ - delivered_);
    for (std::size_t i = 0; i < count; ++i) {
        Pending const& it = pending_[delivered_ + i];
        completions[i] = {it.peer, it.operation, it.verdict == Verdict::succeeded, it.id};
    }
    delivered_ += count;
    if (delivered_ == posted_) delivered_ = settled_ = posted_ = 0;
    return count;
}

void ShmChannel::ring(ReplicaId peer, Plane plane) noexcept {
    Link const& it = link(peer);
    if (it.segment != nullptr) ring_doorbell(it.segment->header().doorbells[doorbell_of(plane)]);
}

// The hot path: what write() and poll() do, for all followers together and without a queue in between.
std::uint32_t ShmChannel::write_at_once(std::span<ReplicaId const> to, std::uint64_t at, Gather const& bytes) noexcept {
    if (posted_ != 0) return kNotAtOnce;  // the order of completions is the order of posting
    std::size_t const length = ordered_bytes(bytes.head, bytes.body, bytes.tail);
    MU_ASSERT(at <= shape_.ring_bytes && length <= shape_.ring_bytes - at);
    MU_ASSERT(at % kWord == 0);
    std::array<std::byte*, kMaxReplicas> places;
    std::size_t count = 0;
    for (ReplicaId const peer : to) {
        places[count] = link(peer).log + at;
        count += links_[peer].writable ? 1U : 0U;
    }
    ordered_copy_to_all({places.data(), count}, bytes.head, bytes.body, bytes.tail);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    std::uint32_t succeeded = 0;
    for (ReplicaId const peer : to) {
        Link& it = links_[peer];
        if (it.writable && judge_permission(it)) [[likely]]
            succeeded |= 1U << peer;
    }
    std::size_t const later = 2 * align_up(length, kCacheLine);
    if (length <= kFetchedAhead && at + later + length <= shape_.ring_bytes) {
        for (std::size_t k = 0; k < count; ++k) {
            for (std::size_t i = 0; i < length; i += kCacheLine) {
                prefetch_to_write(places[k] + later + i);
            }
        }
    }
    return succeeded;
}

}  // namespace mu
