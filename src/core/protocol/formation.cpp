#include "protocol/formation.hpp"

namespace mu {

Formation::Formation(Fabric& fabric, PeerReader& peers, Settings const& settings, Shared& shared,
                     Incarnation incarnation) noexcept
    : fabric_(fabric),
      peers_(peers),
      settings_(settings),
      shared_(shared),
      incarnation_(incarnation),
      own_(reinterpret_cast<BackgroundRegion*>(fabric.background().data())->own) {}

void Formation::step() noexcept {
    if (shared_.joined.load(std::memory_order_acquire)) {
        return;
    }
    cluster_exists_ = false;
    for (ReplicaId const member : settings_.members) {
        OwnCells const& view = peers_.view(member);
        if (member == settings_.self || fabric_.peer(member).gone) {
            continue;
        }
        if (view.formed != 0 && view.formed == prepared_ && own_.abandoned != prepared_) {
            form();  // it saw everybody prepared, this replica included
            return;
        }
        cluster_exists_ = cluster_exists_ || view.formed != 0 || view.admitted != 0;
    }
    Incarnations vector{};
    if (cluster_exists_ || !see_everybody(vector)) {
        return;
    }
    std::uint64_t const digest = digest_of(vector);
    if (prepared_ == 0) {
        prepare(vector);
    } else if (prepared_ != digest) {
        store_word(own_.abandoned, prepared_);
        if (abandoned_by_majority()) {
            prepare(vector);
        }
    }
    if (prepared_ == digest && own_.abandoned != digest && prepared_by_all()) {
        form();
    }
}

bool Formation::see_everybody(Incarnations& vector) const noexcept {
    for (ReplicaId const member : settings_.members) {
        if (member == settings_.self) {
            vector[member] = incarnation_;
            continue;
        }
        PeerState const state = fabric_.peer(member);
        if (state.gone || state.incarnation == 0 || peers_.view(member).incarnation != state.incarnation) {
            return false;
        }
        vector[member] = state.incarnation;
    }
    return true;
}

bool Formation::prepared_by_all() const noexcept {
    for (ReplicaId const member : settings_.members) {
        if (member != settings_.self && peers_.view(member).prepared != prepared_) {
            return false;
        }
    }
    return true;
}

bool Formation::abandoned_by_majority() const noexcept {
    std::size_t abandoned = 1;  // oneself
    for (ReplicaId const member : settings_.members) {
        OwnCells const& view = peers_.view(member);
        if (member == settings_.self || view.incarnation != prepared_vector_[member]) {
            continue;  // another incarnation cannot speak for the one that prepared
        }
        // Whoever has prepared a later vector will never form this one. (One who has prepared an earlier one may.)
        bool const gone_on =
            view.prepared_order != 0 && static_cast<std::int64_t>(view.prepared_order - order_of(prepared_vector_)) > 0;
        abandoned += view.abandoned == prepared_ || gone_on ? 1 : 0;
    }
    return abandoned >= settings_.majority();
}

// The vectors that one replica prepares grow in every place, so their sums grow too; a difference tells which is later
// even if the sums wrap.
std::uint64_t Formation::order_of(Incarnations const& vector) const noexcept {
    std::uint64_t sum = 0;
    for (ReplicaId const member : settings_.members) {
        sum += vector[member];
    }
    return sum == 0 ? 1 : sum;
}

std::uint64_t Formation::digest_of(Incarnations const& vector) const noexcept {
    std::uint64_t digest = settings_.cluster_key | 1;
    for (ReplicaId const member : settings_.members) {
        digest = (digest ^ vector[member] ^ (static_cast<std::uint64_t>(member) << 56U)) * 0x9e3779b97f4a7c15ULL;
        digest ^= digest >> 31U;
    }
    return digest == 0 ? 1 : digest;
}

void Formation::prepare(Incarnations const& vector) noexcept {
    prepared_vector_ = vector;
    prepared_ = digest_of(vector);
    store_word(own_.prepared_order, order_of(vector));
    store_word(own_.prepared, prepared_);
}

void Formation::form() noexcept {
    for (ReplicaId const member : settings_.members) {
        shared_.formation[member].store(prepared_vector_[member], std::memory_order_relaxed);
    }
    store_word(own_.formed, prepared_);
    store_word(own_.admitted, incarnation_);
    shared_.joined.store(true, std::memory_order_release);
}

}  // namespace mu
