// The replicas' side of the sim fabric: channels post, and their own memory is at hand.
#include "fabric/sim.hpp"

#include <algorithm>
#include <cstring>

#include "common/assert.hpp"

namespace mu {

namespace {

// Appends `part` at `at` of `bytes`; returns where it ends.
std::size_t lay(std::vector<std::byte>& bytes, std::size_t at, std::span<std::byte const> part) noexcept {
    if (!part.empty()) std::memcpy(bytes.data() + at, part.data(), part.size());
    return at + part.size();
}

void lay_out(Gather const& gather, std::vector<std::byte>& bytes) {
    std::size_t const before_tail = gather.head.size() + gather.body.size();
    std::size_t const tail_at = gather.tail.empty() ? before_tail : align_up(before_tail, kSimWord);
    bytes.resize(tail_at + gather.tail.size());
    std::size_t const end = lay(bytes, lay(bytes, 0, gather.head), gather.body);
    std::fill_n(bytes.data() + end, tail_at - end, std::byte{0});
    lay(bytes, tail_at, gather.tail);
}

}  // namespace

QueueId SimChannel::queue_to(ReplicaId peer) const noexcept {
    MU_ASSERT(peer != kNobody && peer <= world_.replicas());  // F6: there is nobody else
    return first_queue_ + peer;
}

bool SimChannel::connect(ReplicaId peer) noexcept { return world_.connect(queue_to(peer)); }

Incarnation SimChannel::connected(ReplicaId peer) const noexcept { return world_.queues_[queue_to(peer)].connected(); }

void SimChannel::begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept {
    world_.queues_[queue_to(peer)].begin_tenure(tenure, key);
}

void SimChannel::write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes, std::uint64_t id) noexcept {
    QueueId const queue = queue_to(to);
    SimOperation& operation = world_.queues_[queue].push();
    operation.kind = Operation::write;
    operation.region = region;
    operation.at = at;
    operation.id = id;
    operation.source = bytes;
    lay_out(bytes, operation.bytes);
    operation.length = operation.bytes.size();
    world_.posted(queue);
}

void SimChannel::read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
                      std::uint64_t id) noexcept {
    QueueId const queue = queue_to(from);
    SimOperation& operation = world_.queues_[queue].push();
    operation.kind = Operation::read;
    operation.region = region;
    operation.at = at;
    operation.id = id;
    operation.into = into;
    operation.length = into.size();
    world_.posted(queue);
}

void SimChannel::confirm(ReplicaId to, std::uint64_t id) noexcept {
    QueueId const queue = queue_to(to);
    SimOperation& operation = world_.queues_[queue].push();
    operation.kind = Operation::confirm;
    operation.region = Region::log;
    operation.at = 0;
    operation.id = id;
    operation.length = 0;
    world_.posted(queue);
}

std::size_t SimChannel::poll(std::span<Completion> completions) noexcept {
    std::size_t const count = std::min(completions.size(), unpolled());
    std::copy_n(completions_.begin() + static_cast<std::ptrdiff_t>(polled_), count, completions.begin());
    polled_ += count;
    // Moves the rest to the front once more than half was taken: constant cost per completion, bounded memory.
    if (polled_ * 2 >= completions_.size()) {
        completions_.erase(completions_.begin(), completions_.begin() + static_cast<std::ptrdiff_t>(polled_));
        polled_ = 0;
    }
    return count;
}

void SimChannel::ring(ReplicaId peer, Plane plane) noexcept {
    MU_ASSERT(peer != kNobody && peer <= world_.replicas());
    world_.ring(peer, plane);
}

void SimChannel::drop_completions() noexcept {
    completions_.clear();
    polled_ = 0;
}

void SimChannel::coalesce_completions() noexcept {
    std::array<bool, kMaxReplicas> covered{};  // a later write to that peer has succeeded
    std::size_t kept = completions_.size();    // [kept, end) stays; walks backwards
    for (std::size_t i = completions_.size(); i-- > polled_;) {
        Completion const completion = completions_[i];
        bool const success = completion.operation == Operation::write && completion.success;
        if (success && covered[completion.peer]) continue;
        if (success) covered[completion.peer] = true;
        completions_[--kept] = completion;
    }
    polled_ = kept;
}

SimFabric::SimFabric(SimWorld& world, ReplicaId self, Incarnation incarnation, QueueId first_queue)
    : world_(world),
      self_(self),
      incarnation_(incarnation),
      first_queue_(first_queue),
      memory_(self, world.options().revocation, world.options().log_bytes, world.options().background_bytes),
      channels_{SimChannel(world, first_queue),
                SimChannel(world, first_queue + static_cast<QueueId>(world.replicas() + 1)),
                SimChannel(world, first_queue + static_cast<QueueId>(2 * (world.replicas() + 1)))} {
    static_assert(kPlanes == 3);
    peers_[self] = {incarnation, false};
}

std::uint64_t SimFabric::permit(Tenure const& tenure, Keeper& keeper) noexcept {
    MU_ASSERT(alive_);
    if (!world_.permit_hook_) return memory_.permit(tenure, keeper, {});
    return memory_.permit(tenure, keeper, [this](PermitStage stage) { world_.permit_hook_(self_, stage); });
}

bool SimFabric::same_log(LogView const& view) noexcept {
    if (world_.moment_hook_) world_.moment_hook_(self_, Plane::replication);
    bool const same = memory_.same_log(view);
    if (world_.moment_hook_) world_.moment_hook_(self_, Plane::replication);
    return same;
}

PeerState SimFabric::peer(ReplicaId peer) noexcept {
    MU_ASSERT(peer != kNobody && peer <= world_.replicas());
    return peers_[peer];
}

bool SimFabric::is_runnable(ReplicaId peer) noexcept { return ((world_.runnable_ >> peer) & 1U) != 0; }

bool SimFabric::ordered_writes() const noexcept { return world_.options().ordered_writes; }

}  // namespace mu
