#include "fabric/shm.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "common/assert.hpp"
#include "common/ordered_copy.hpp"
#include "fabric/segment_owner.hpp"
#include "fabric/shm_life.hpp"
#include "fabric/shm_peers.hpp"

namespace mu {

namespace {

// The permission word of a closed replica: no proposal, and above all of them, so nothing succeeds any more.
constexpr Proposal kClosed = ~Proposal{0};

std::atomic_ref<std::uint64_t> shared(std::uint64_t& word) noexcept { return std::atomic_ref<std::uint64_t>(word); }

SegmentShape checked_shape(EndpointOptions const& options) {
    check_options(options);
    return {options.cluster_key, options.members, options.ring_bytes, options.background_bytes, options.members.size()};
}

// Carries ring offsets [from, to) over; it may wrap.
void copy_range(std::byte* into, std::byte const* from_ring, std::uint64_t ring_bytes, Keeper::Range const& range) {
    std::uint64_t const length = range.to - range.from;
    std::uint64_t const place = range.from & (ring_bytes - 1);
    std::uint64_t const first = std::min(length, ring_bytes - place);
    racy_copy(into + place, from_ring + place, first);
    racy_copy(into, from_ring, length - first);
}

}  // namespace

// In the order in which they are needed; taken apart in the reverse order.
struct ShmFabric::Parts {
    explicit Parts(EndpointOptions const& options)
        : shape(checked_shape(options)),
          self(options.replica),
          own_area(shape.area_of(self)),
          owner(options.directory, options.cluster, self, shape),
          life(owner.segment()->header()),
          peers(shape, options.directory, options.cluster, self, owner.segment(), options.on_departure),
          channels{ShmChannel(peers, shape, self), ShmChannel(peers, shape, self), ShmChannel(peers, shape, self)} {}

    [[nodiscard]] SegmentHeader& header() const noexcept { return owner.segment()->header(); }
    // The area that shows the log of `proposal`; before the first tenure one's own, which is empty.
    [[nodiscard]] std::size_t area_of(Proposal proposal) const noexcept {
        return proposal == kNoProposal ? own_area : shape.area_of(proposer_of(proposal));
    }
    [[nodiscard]] std::span<std::byte const> ring(std::size_t area) const noexcept {
        return {owner.segment()->area(area), shape.ring_bytes};
    }
    Offset carry_over(std::size_t from_area, std::size_t to_area, Keeper& keeper) noexcept;
    void take_leave() noexcept;

    SegmentShape shape;
    ReplicaId self;
    std::size_t own_area;
    SegmentOwner owner;
    LifeThread life;
    ShmPeers peers;
    std::array<ShmChannel, kPlanes> channels;
    pid_t process = ::getpid();
};

// Copies what the keeper wants kept and returns the offset from which the new area is the log.
Offset ShmFabric::Parts::carry_over(std::size_t from_area, std::size_t to_area, Keeper& keeper) noexcept {
    std::span<std::byte const> const old = ring(from_area);
    std::byte* const into = owner.segment()->area(to_area);
    Keeper::Range const range = keeper.keep(old);
    MU_ASSERT(range.from <= range.to && range.to - range.from <= old.size());
    MU_ASSERT(range.from % kWord == 0 && range.to % kWord == 0);
    copy_range(into, old.data(), old.size(), range);
    std::atomic_thread_fence(std::memory_order_acquire);  // the check below judges the copy above
    Offset const to = keeper.verify(old, ring(to_area), range);
    MU_ASSERT(range.from <= to && to <= range.to && to % kWord == 0);
    // The end mark: what this area held in an earlier tenure must not continue the chain.
    if (to - range.from < old.size()) {
        racy::word(into + (to & (old.size() - 1))).store(0, std::memory_order_relaxed);
    }
    return range.from;
}

void ShmFabric::Parts::take_leave() noexcept {
    shared(header().permission.word).store(kClosed, std::memory_order_seq_cst);
    std::atomic_ref<std::uint32_t>(header().ended.closed).store(1, std::memory_order_seq_cst);
}

ShmFabric::ShmFabric(EndpointOptions const& options) : parts_(std::make_unique<Parts>(options)) {
    parts_->owner.publish();
    parts_->peers.start();
}

ShmFabric::~ShmFabric() {
    if (parts_ == nullptr) return;
    if (parts_->process != ::getpid()) {
        // In a forked child neither the threads nor the mappings exist, and the files are the parent's.
        static_cast<void>(parts_.release());
        return;
    }
    leave();
}

void ShmFabric::leave() noexcept {
    if (parts_ == nullptr || parts_->process != ::getpid()) return;
    parts_->take_leave();
    parts_->peers.stop();
    parts_->life.leave();
    parts_->owner.leave();
}

void ShmFabric::abandon() noexcept {
    parts_->life.abandon();
    parts_->peers.stop();
    parts_->owner.abandon();
    // The lock goes with the rest; channels of others keep the memory.
    auto const dead = std::move(parts_);
}

ShmChannel& ShmFabric::channel(Plane plane) noexcept { return parts_->channels[static_cast<std::size_t>(plane)]; }

std::span<std::byte> ShmFabric::background() noexcept {
    return {parts_->owner.segment()->background(), parts_->shape.background_bytes};
}

LogView ShmFabric::log() noexcept {
    LiveLine& live = parts_->header().live;
    Proposal const proposal = shared(live.proposal).load(std::memory_order_acquire);
    std::size_t const area = parts_->area_of(proposal);
    return {parts_->ring(area), proposal, shared(live.floor[area]).load(std::memory_order_relaxed)};
}

bool ShmFabric::same_log(LogView const& view) noexcept {
    std::atomic_thread_fence(std::memory_order_acquire);
    return shared(parts_->header().live.proposal).load(std::memory_order_relaxed) == view.proposal;
}

std::span<std::byte const> ShmFabric::own_log() noexcept { return parts_->ring(parts_->own_area); }

Proposal ShmFabric::permission() const noexcept {
    return shared(parts_->header().permission.word).load(std::memory_order_acquire);
}

std::uint64_t ShmFabric::permit(Tenure const& tenure, Keeper& keeper) noexcept {
    SegmentHeader& header = parts_->header();
    std::size_t const area = parts_->shape.area_of(tenure.replica);
    MU_ASSERT(area < parts_->shape.members.size());  // F6
    MU_ASSERT(proposer_of(tenure.proposal) == tenure.replica && tenure.proposal < kClosed);
    Proposal const before = permission();
    if (tenure.proposal == before) return area;
    MU_ASSERT(tenure.proposal > before);  // the promise

    shared(header.permission.word).store(tenure.proposal, std::memory_order_relaxed);
    // Whoever finds the old word after its fence has its bytes in what is copied below.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    std::size_t const live = parts_->area_of(shared(header.live.proposal).load(std::memory_order_relaxed));
    if (area != live) {
        Offset const floor = parts_->carry_over(live, area, keeper);
        shared(header.live.floor[area]).store(floor, std::memory_order_relaxed);
    }
    shared(header.live.proposal).store(tenure.proposal, std::memory_order_release);
    return area;
}

PeerState ShmFabric::peer(ReplicaId peer) noexcept { return parts_->peers.state(peer); }

bool ShmFabric::is_runnable(ReplicaId peer) noexcept { return parts_->peers.is_runnable(peer); }

void ShmFabric::works_on(int processor) noexcept {
    std::atomic_ref<std::uint32_t> const word(parts_->header().ended.processor);
    auto const value = static_cast<std::uint32_t>(processor + 1);
    if (word.load(std::memory_order_relaxed) != value) {
        word.store(value, std::memory_order_relaxed);
    }
}

int ShmFabric::processor_of(ReplicaId peer) noexcept {
    std::shared_ptr<Segment> const found = parts_->peers.segment(peer);
    if (found == nullptr) return -1;
    std::atomic_ref<std::uint32_t> const word(found->header().ended.processor);
    return static_cast<int>(word.load(std::memory_order_relaxed)) - 1;
}

Incarnation ShmFabric::incarnation() const noexcept { return parts_->owner.segment()->incarnation(); }

std::uint32_t ShmFabric::ticket(Plane plane) noexcept {
    return doorbell_ticket(parts_->header().doorbells[doorbell_of(plane)]);
}

void ShmFabric::wait(Plane plane, std::uint32_t ticket, Nanoseconds timeout) noexcept {
    sleep_on_doorbell(parts_->header().doorbells[doorbell_of(plane)], ticket, timeout);
}

std::string ShmFabric::lost() const { return parts_->owner.lost(); }

void ShmFabric::refuse_strangers() const { parts_->peers.refuse_strangers(); }

std::string ShmFabric::notice() const { return parts_->owner.notice(); }

std::string ShmFabric::peer_problem(ReplicaId peer) const { return parts_->peers.problem(peer); }

}  // namespace mu
