#include "protocol/transfer.hpp"

#include <algorithm>

#include "common/assert.hpp"
#include "common/ordered_copy.hpp"

namespace mu {

Transfer::Transfer(Fabric& fabric, Settings const& settings, Shared& shared, Executor& executor, Replicator& replicator)
    : fabric_(fabric),
      settings_(settings),
      shared_(shared),
      executor_(executor),
      replicator_(replicator),
      region_(*reinterpret_cast<BackgroundRegion*>(fabric.background().data())),
      side_(fabric.channel(Plane::learner)) {}

bool Transfer::step(Nanoseconds now) {
    if (learner_ != kNobody && piece_.proposal != tenure()) {
        finish(false);  // begun before this tenure, or in one that is over and holds the ring no more
    }
    if (led_at_ == 0 || shared_.leader.load(std::memory_order_acquire) != kNobody) {
        led_at_ = now;
    }
    if (learner_ != kNobody) {
        await_piece(now);
    } else if (now >= look_at_ && tenure() != kNoProposal) {
        look_at_ = now + settings_.joiner_retry;
        look_for_learner(now);
    } else if (now >= look_at_ && now - led_at_ > settings_.stale_limit) {
        look_at_ = now + settings_.joiner_retry;
        look_for_lapped(now);
    }
    return learner_ != kNobody;
}

// Under which a snapshot is given.
Proposal Transfer::tenure() const noexcept {
    return replicator_.leading() || replicator_.sealing() ? replicator_.proposal() : kNoProposal;
}

void Transfer::look_for_learner(Nanoseconds now) {
    for (ReplicaId const member : settings_.members) {
        PeerState const state = fabric_.peer(member);
        if (member == settings_.self || state.incarnation == 0 || state.gone || !replicator_.is_wanted(member)) {
            continue;
        }
        Incarnation const counted = replicator_.configuration_at_tail().incarnations[member];
        if (state.incarnation > counted) {
            // (a) has happened: followers of another incarnation are not counted. (b):
            static_cast<void>(replicator_.append_admission(member, state.incarnation));
        } else if (state.incarnation == counted && needs_snapshot(member, counted)) {
            if (begin(member, counted, now)) {
                return;
            }
        }
    }
}

// Nobody has led for a while. What is read here is of the look before.
void Transfer::look_for_lapped(Nanoseconds now) {
    for (ReplicaId const member : settings_.members) {
        OwnCells const* const view = member == settings_.self ? nullptr : replicator_.look_at(member);
        if (view == nullptr || view->lapped == 0 || view->admitted != view->incarnation ||
            view->incarnation != executor_.configuration().incarnations[member]) {
            continue;
        }
        std::optional<Position> const applied = load_position(view->applied);
        if (applied && applied->offset < executor_.applied().offset) {
            if (begin(member, view->incarnation, now)) {
                return;
            }
        }
    }
}

bool Transfer::needs_snapshot(ReplicaId replica, Incarnation incarnation) const noexcept {
    if (executor_.configuration().incarnations[replica] != incarnation) {
        return false;  // the record is not executed here yet: a snapshot would not stand for it
    }
    if (replicator_.leading()) {
        return replicator_.follower(replica).stage == Follower::Stage::behind || replicator_.unadmitted(replica);
    }
    // A lapped voter may be what the seal waits for. If it is not, a fail-over must not wait for its snapshot; and a
    // fresh one is brought up by a sealed leader only.
    return replicator_.follower(replica).stage == Follower::Stage::behind && !replicator_.enough_counted();
}

bool Transfer::take_snapshot(Nanoseconds now) {
    shared_.busy.store(true, std::memory_order_release);
    bool const taken = executor_.snapshot(snapshot_);
    shared_.busy.store(false, std::memory_order_release);
    give_at_ = taken ? 0 : now + settings_.transfer_timeout;
    return taken;
}

bool Transfer::begin(ReplicaId replica, Incarnation incarnation, Nanoseconds now) {
    bool const connected = side_.connected(replica) == incarnation || side_.connect(replica);
    if (!connected || now < std::max(give_at_, shunned_until_[replica]) || !take_snapshot(now)) {
        return false;
    }
    learner_ = replica;
    restores_ = false;
    stands_for_ = executor_.applied().offset;
    replicator_.hold_for_joiner(replica, stands_for_);
    piece_ = Piece{tenure(), replicator_.incarnation(), incarnation, ++transfers_, 1, snapshot_.size(), 0, 0};
    send_piece(now);
    // The snapshot has taken its time, and `now` is from before: the learner's time begins with the next step.
    sent_at_ = 0;
    return true;
}

void Transfer::send_piece(Nanoseconds now) {
    std::size_t const at = (piece_.number - 1) * kPieceBytes;
    piece_.bytes = std::min(kPieceBytes, snapshot_.size() - at);
    std::span<std::byte const> const bytes = std::span(snapshot_).subspan(at, piece_.bytes);
    piece_.digest = digest_of(bytes);
    // The piece lands before the cell that announces it: one channel, in posting order.
    side_.write(learner_, Region::background, peer_cell_at(settings_.self, &PeerCells::piece_bytes), {bytes}, 0);
    outgoing_ = Checked<Piece>::of(piece_);
    side_.write(learner_, Region::background, peer_cell_at(settings_.self, &PeerCells::piece),
                {std::as_bytes(std::span(&outgoing_, 1))}, 0);
    side_.ring(learner_, Plane::replication);
    sent_at_ = now;
}

void Transfer::await_piece(Nanoseconds now) {
    if (sent_at_ == 0) {
        sent_at_ = now;
    }
    PeerState const state = fabric_.peer(learner_);
    if (state.gone || state.incarnation != piece_.target) {
        finish(false);
        return;
    }
    if (now - sent_at_ > patience()) {
        shunned_until_[learner_] = now + kShunnedFor * settings_.transfer_timeout;
        finish(false);
        return;
    }
    if (restores_) {
        OwnCells const* const view = replicator_.look_at(learner_);
        std::optional<Position> const applied = view == nullptr ? std::nullopt : load_position(view->applied);
        if (applied && applied->offset >= stands_for_) {
            finish(true);
        }
        return;
    }
    std::optional<PieceTaken> const taken = load_cell(region_.peers[learner_].taken);
    if (!taken || taken->learner != piece_.target || taken->giver != piece_.giver ||
        taken->transfer != piece_.transfer || taken->number != piece_.number) {
        return;
    }
    if (piece_.number * kPieceBytes >= piece_.total_bytes) {
        restores_ = true;
        sent_at_ = now;
    } else {
        ++piece_.number;
        send_piece(now);
    }
}

// To restore takes as long as it takes, and the learner beats meanwhile. But nobody is waited for for ever.
Nanoseconds Transfer::patience() const noexcept {
    return restores_ && shared_.is_alive(learner_) ? kRestoresWithin * settings_.transfer_timeout
                                                   : settings_.transfer_timeout;
}

void Transfer::finish(bool delivered) noexcept {
    if (delivered && piece_.proposal != kNoProposal) {
        replicator_.retry_now(learner_);
    } else {
        replicator_.release_joiner();
    }
    replicator_.forget(learner_);  // what was read of it is from before
    learner_ = kNobody;
    snapshot_ = OwnedBytes{};
}

// --- The learner ----------------------------------------------------------------------------------------------------

Learner::Learner(Fabric& fabric, Settings const& settings, Shared& shared, Executor& executor, Permission& permission,
                 Replayer& replayer, Incarnation incarnation)
    : fabric_(fabric),
      settings_(settings),
      shared_(shared),
      executor_(executor),
      permission_(permission),
      replayer_(replayer),
      incarnation_(incarnation),
      region_(*reinterpret_cast<BackgroundRegion*>(fabric.background().data())),
      side_(fabric.channel(Plane::learner)) {}

bool Learner::step() {
    if (admitted_by_.proposal != kNoProposal) {
        become_admitted();
        return true;
    }
    bool taken = false;
    for (ReplicaId const member : settings_.members) {
        std::optional<Piece> const piece = load_cell(region_.peers[member].piece);
        if (member != settings_.self && piece && piece->target == incarnation_ && take(member, *piece)) {
            taken = true;
        }
    }
    return taken;
}

bool Learner::take(ReplicaId from, Piece const& piece) {
    Arriving& arriving = arriving_[from];
    if (piece.transfer != arriving.transfer || piece.giver != arriving.giver) {
        arriving = Arriving{piece.giver, piece.transfer, 0, {}};
    }
    if (piece.number != arriving.taken + 1 || piece.bytes > kPieceBytes) {
        return false;
    }
    std::size_t const at = arriving.bytes.size();
    arriving.bytes.resize(at + piece.bytes);
    racy_copy_out(arriving.bytes.data() + at, region_.peers[from].piece_bytes.data(), piece.bytes);
    // The giver overwrites a piece only after it was taken, or to begin another transfer: then this one is void.
    std::optional<Piece> const still = load_cell(region_.peers[from].piece);
    if (!still || still->giver != piece.giver || still->transfer != piece.transfer || still->number != piece.number) {
        arriving = Arriving{};
        return false;
    }
    if (digest_of(std::span(arriving.bytes).subspan(at)) != piece.digest) {
        arriving.bytes.resize(at);  // not all of it is here, or something late came in between
        return false;
    }
    ++arriving.taken;
    acknowledge(from, piece);  // before it is restored, which may take long
    if (arriving.bytes.size() >= piece.total_bytes) {
        arrived(from, piece, arriving.bytes);
        arriving.bytes = OwnedBytes{};
    }
    return true;
}

void Learner::acknowledge(ReplicaId to, Piece const& piece) {
    Incarnation const present = fabric_.peer(to).incarnation;
    if (side_.connected(to) != present && !side_.connect(to)) {
        return;
    }
    outgoing_[to] = Checked<PieceTaken>::of(PieceTaken{incarnation_, piece.giver, piece.transfer, piece.number});
    side_.write(to, Region::background, peer_cell_at(settings_.self, &PeerCells::taken),
                {std::as_bytes(std::span(&outgoing_[to], 1))}, 0);
    side_.ring(to, Plane::replication);
}

void Learner::arrived(ReplicaId from, Piece const& piece, OwnedBytes const& snapshot) {
    bool const joined = shared_.joined.load(std::memory_order_acquire);
    if (!joined && piece.proposal == kNoProposal) {
        return;  // whoever does not lead has no promise to give with it
    }
    shared_.busy.store(true, std::memory_order_release);
    bool const restored = executor_.restore(snapshot);
    shared_.busy.store(false, std::memory_order_release);
    if (!restored) {
        return;  // unsound, or not ahead of what was executed here: nothing has changed
    }
    replayer_.restored();
    if (!joined) {
        admitted_by_ = Tenure{from, piece.giver, piece.proposal};
        become_admitted();
    }
}

void Learner::become_admitted() {
    MU_ASSERT(executor_.configuration().incarnations[settings_.self] == incarnation_);
    if (permission_.admit(admitted_by_)) {
        admitted_by_ = Tenure{};
        shared_.joined.store(true, std::memory_order_release);
    }
}

}  // namespace mu
