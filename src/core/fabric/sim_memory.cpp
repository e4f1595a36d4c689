// permit() step by step, as shm does it, with room between the steps for late writes to land.
#include "fabric/sim_memory.hpp"

#include <algorithm>
#include <cstring>

#include "common/assert.hpp"

namespace mu {

namespace {

constexpr std::size_t kEndMarkBytes = 8;  // zeroes the stamp of whatever slot followed the kept range

void reach(SimMemory::Interruption const& interrupt, PermitStage stage) {
    if (interrupt) interrupt(stage);
}

}  // namespace

SimMemory::SimMemory(ReplicaId self, Revocation revocation, std::size_t log_bytes, std::size_t background_bytes)
    : self_(self), revocation_(revocation), background_(background_bytes) {
    MU_ASSERT(log_bytes >= kEndMarkBytes && (log_bytes & (log_bytes - 1)) == 0);
    areas_[kFirstArea].ring.resize(log_bytes);
    areas_[area_of(self)].ring.resize(log_bytes);  // own_log() may be asked for before any grant
}

bool SimMemory::same_log(LogView const& view) const noexcept {
    LogView const now = log();
    return view.bytes.data() == now.bytes.data() && view.proposal == now.proposal && view.floor == now.floor;
}

std::uint64_t SimMemory::permit(Tenure const& tenure, Keeper& keeper, Interruption const& interrupt) {
    MU_ASSERT(tenure.proposal != kNoProposal && tenure.replica != kNobody && tenure.replica <= kMaxReplicaId);
    MU_ASSERT(tenure.proposal >= word_);  // the promise
    MU_ASSERT(!permitting_);              // one thread permits: the replication plane of this replica
    if (tenure.proposal == word_) {
        MU_ASSERT(tenure == holder_);  // a proposal names one tenure
        return key_;
    }
    permitting_ = true;
    std::size_t const area = area_of(tenure.replica);
    word_ = tenure.proposal;
    holder_ = tenure;
    // A key says which grant and, for people, which area. With it the area changes hands: what an earlier tenure of
    // the same replica still has pending finds no area any more.
    key_ = (++grants_ << 8U) | tenure.replica;
    areas_[area].key = key_;
    Offset const floor = revocation_ == Revocation::by_area ? carry_over(area, keeper, interrupt) : 0;
    live_ = {area, tenure.proposal, floor, key_};
    permitting_ = false;
    return key_;
}

Offset SimMemory::carry_over(std::size_t area, Keeper& keeper, Interruption const& interrupt) {
    std::size_t const old_area = live_.area;
    areas_[area].ring.resize(log_bytes());
    reach(interrupt, PermitStage::word_set);
    Keeper::Range const range = keeper.keep(areas_[old_area].ring);
    MU_ASSERT(range.from <= range.to && range.to - range.from <= log_bytes());
    Offset const middle = range.from + (range.to - range.from) / 2;
    copy(old_area, area, range.from, middle);
    reach(interrupt, PermitStage::half_copied);
    copy(old_area, area, middle, range.to);
    reach(interrupt, PermitStage::copied);
    Offset const end = keeper.verify(areas_[old_area].ring, areas_[area].ring, range);
    MU_ASSERT(range.from <= end && end <= range.to && end % kEndMarkBytes == 0);
    reach(interrupt, PermitStage::verified);
    // A full ring has no room for a mark and needs none: the slot after it would have to begin where another begins.
    if (end - range.from < log_bytes()) {
        std::memset(areas_[area].ring.data() + (end & (log_bytes() - 1)), 0, kEndMarkBytes);
    }
    return range.from;
}

void SimMemory::copy(std::size_t from_area, std::size_t to_area, Offset from, Offset to) noexcept {
    if (from_area == to_area) return;  // the same replica once more: what it kept is in place
    while (from < to) {
        std::size_t const place = from & (log_bytes() - 1);
        std::size_t const bytes = std::min<std::size_t>(to - from, log_bytes() - place);
        std::memcpy(areas_[to_area].ring.data() + place, areas_[from_area].ring.data() + place, bytes);
        from += bytes;
    }
}

std::span<std::byte> SimMemory::landing(ReplicaId writer, std::uint64_t key) noexcept {
    Area& area = areas_[area_of(writer)];
    if (key == 0 || area.key != key) return {};
    return area.ring;
}

std::span<std::byte const> SimMemory::readable(ReplicaId reader, std::uint64_t key) const noexcept {
    if (key == 0 || revocation_ == Revocation::by_refusal) return areas_[live_.area].ring;
    Area const& area = areas_[area_of(reader)];
    if (area.key != key) return {};
    return area.ring;
}

}  // namespace mu
