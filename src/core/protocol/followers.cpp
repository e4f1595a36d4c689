// Teaching followers (paper: "update followers"; DESIGN section 4, steps 5 and 7): those that granted the takeover, and
// those that come late. Both are compared with the leader's own log and written from the first slot that differs;
// what matches is never written again, and nothing is written beyond the leader's own tail.
#include <algorithm>

#include "common/assert.hpp"
#include "protocol/replicator.hpp"

namespace mu {

void Replicator::tend_followers(Nanoseconds now) {
    for (ReplicaId const member : settings_.members) {
        if (member != settings_.self && (stage_ == Stage::sealing || stage_ == Stage::leading)) {
            tend_follower(member, now);
        }
    }
}

void Replicator::tend_follower(ReplicaId replica, Nanoseconds now) {
    Follower& follower = followers_[replica];
    bool const counts = fabric_.peer(replica).incarnation == configuration_.incarnations[replica];
    if (!reachable(replica) || !counts || (follower.stage != Follower::Stage::idle && !connected(replica))) {
        // Gone, or another incarnation than the one that counts: what it acknowledged is not counted any more. Or a
        // connection has broken while nothing was written: nobody would ever learn what it applies.
        if (follower.stage != Follower::Stage::idle) {
            lose(replica, now + settings_.joiner_retry);
        }
        return;
    }
    switch (follower.stage) {
        case Follower::Stage::idle:
            if (now >= follower.retry_at && is_wanted(replica)) {
                ask(replica, now);
            }
            break;
        case Follower::Stage::requested:
            peers_.refresh(replica);  // an unadmitted one does not answer, but says so
            [[fallthrough]];
        case Follower::Stage::reading:
            if (now - follower.asked_at > settings_.grant_timeout) {
                lose(replica, now + settings_.joiner_retry);
            }
            break;
        case Follower::Stage::known:
            plan_update(replica);
            if (follower.stage != Follower::Stage::updating) {
                break;  // it is behind: nothing may be written to it
            }
            [[fallthrough]];
        case Follower::Stage::updating:
            update(replica);
            break;
        case Follower::Stage::confirmed:
        case Follower::Stage::behind:
            break;
    }
}

// From here on recycling waits for this follower: it enters the bound in the same step in which its position is
// judged, so the ring cannot move on in between.
void Replicator::plan_update(ReplicaId replica) {
    Follower& follower = followers_[replica];
    if (tail_.offset > follower.grant.from.offset + format_.ring_bytes()) {
        follower.stage = Follower::Stage::behind;  // writing to it would lap what it has not applied
        return;
    }
    if (!follower.chain_read) {
        follower.cursor = adopted_from_;  // its chain was this replica's own before the adoption
    } else {
        std::optional<Position> const common = common_point(follower.grant, follower.chain);
        if (!common) {
            follower.stage = Follower::Stage::behind;
            return;
        }
        follower.cursor = first_difference(follower, *common);
        // What it holds of this very tenure it has accepted, whether or not the acknowledgement ever came: it walked its
        // log up to grant.end itself, under this tenure's promise, so whoever takes over finds that there. It is counted,
        // and no slot has to be spent on it. (What a leader only reads of a log would prove nothing.)
        if (follower.cursor.previous == tenure_.proposal) {
            follower.accepted = follower.cursor.offset;
        }
    }
    follower.stage = Follower::Stage::updating;
    rebuild_writers();
    write_limit_ = 0;
    if (replica == joiner_) {
        release_joiner();  // it is in the bound itself now
        outrun_ = 0;
    }
}

// Follows the chain in `ring` from `at` until it reaches `until`, or `end`, or breaks off.
Position Replicator::walk(std::span<std::byte const> ring, Position at, Offset until, Offset end) const noexcept {
    while (at.offset < until && at.offset < end) {
        std::optional<Slot> const slot = format_.parse(ring, at);
        if (!slot) {
            break;
        }
        at = slot->after();
    }
    return at;
}

// A position of which both chains are known to agree: what lies below is decided and the same.
std::optional<Position> Replicator::common_point(Grant const& grant, std::span<std::byte const> chain) const {
    std::span<std::byte const> const own = fabric_.own_log();
    Position const applied = executor_.applied();
    if (grant.from.offset > applied.offset) {
        Position const reached = walk(own, applied, grant.from.offset, tail_.offset);
        return reached == grant.from ? std::optional(reached) : std::nullopt;
    }
    if (walk(chain, grant.from, applied.offset, grant.end.offset) == applied) {
        return applied;
    }
    // Its chain does not reach so far: perhaps one's own log still has all that it lacks.
    if (grant.from.offset >= lowest_kept() && walk(own, grant.from, applied.offset, applied.offset) == applied) {
        return grant.from;
    }
    return std::nullopt;
}

Position Replicator::first_difference(Follower const& follower, Position at) const noexcept {
    std::span<std::byte const> const own = fabric_.own_log();
    while (at.offset < follower.grant.end.offset) {
        std::optional<Slot> const mine = format_.parse(own, at);
        std::optional<Slot> const theirs = format_.parse(follower.chain, at);
        if (!mine || !theirs || mine->header.proposal != theirs->header.proposal) {
            break;
        }
        at = theirs->after();
    }
    return at;
}

void Replicator::update(ReplicaId replica) {
    static constexpr int kSlotsPerStep = 1024;
    Follower& follower = followers_[replica];
    Offset const landed = followers_[settings_.self].accepted;  // one's own log is the source
    for (int i = 0; i < kSlotsPerStep && follower.cursor.offset < landed; ++i) {
        std::optional<Slot> const slot = format_.parse(fabric_.own_log(), follower.cursor);
        if (!slot) {
            abort();  // another writer has just begun to replace what is undecided of one's own log
            return;
        }
        write_copy(replica, *slot);
        follower.cursor = slot->after();
    }
    if (follower.cursor.offset == tail_.offset) {
        follower.stage = Follower::Stage::confirmed;
        rebuild_writers();
    }
}

// An earlier store of this very slot may have left its canary there, and then something else its head: with a canary that
// stands for the header alone, a copy that is torn behind the header would then pass for whole. So the place is cleared
// first: the head before anything else, or what is there would still be valid while its value changes.
void Replicator::write_copy(ReplicaId to, Slot const& slot) {
    Offset const at = slot.header.offset;
    if (format_.integrity() == Integrity::stamp && !slot.value.empty()) {
        static constexpr std::uint64_t kNothing = 0;
        for (std::uint64_t const cleared : {std::uint64_t{0}, canary_at(slot.header.length)}) {
            log_.write(to, Region::log, format_.place(at) + cleared, {std::as_bytes(std::span(&kNothing, 1))},
                       followers_[to].completion_id(at));
        }
    }
    std::uint64_t const canary = format_.canary(slot);
    Gather const bytes{std::as_bytes(std::span(&slot.header, 1)), slot.value, std::as_bytes(std::span(&canary, 1))};
    log_.write(to, Region::log, format_.place(at), bytes, followers_[to].completion_id(slot.end()));
}

// The follower leaves this tenure. What it acknowledged stays decided where it was counted, and counts no more.
void Replicator::lose(ReplicaId replica, Nanoseconds retry_at) {
    Follower& follower = followers_[replica];
    follower.stage = Follower::Stage::idle;
    follower.accepted = 0;
    follower.retry_at = retry_at;
    rebuild_writers();
}

bool Replicator::is_wanted(ReplicaId replica) const noexcept { return shared_.is_alive(replica) || !enough_counted(); }

OwnCells const* Replicator::look_at(ReplicaId replica) noexcept {
    Incarnation const present = fabric_.peer(replica).incarnation;
    if (!reachable(replica) || (side_.connected(replica) != present && !side_.connect(replica))) {
        return nullptr;
    }
    peers_.expect(replica, present);
    peers_.refresh(replica);
    OwnCells const& view = peers_.view(replica);
    return view.incarnation == present ? &view : nullptr;
}

void Replicator::retry_now(ReplicaId replica) noexcept {
    Follower& follower = followers_[replica];
    if (follower.is_written()) {
        release_joiner();  // it got in meanwhile: it is in the bound itself
    } else {
        follower.stage = Follower::Stage::idle;
        follower.retry_at = 0;
        joiner_learns_ = false;
    }
}

// Followers being taught count (what they accepted), but new slots reach them by their cursor only.
void Replicator::rebuild_writers() {
    writers_.clear();
    counted_.clear();
    for (ReplicaId const member : settings_.members) {
        if (followers_[member].is_written()) {
            counted_.push_back(member);
        }
        if (followers_[member].stage == Follower::Stage::confirmed) {
            writers_.push_back(member);
        }
    }
}

Offset Replicator::lowest_kept() const noexcept {
    Offset const by_ring = tail_.offset > format_.ring_bytes() ? tail_.offset - format_.ring_bytes() : 0;
    return std::max(by_ring, followers_[settings_.self].grant.from.offset);
}

Outcome Replicator::append_admission(ReplicaId replica, Incarnation incarnation) {
    if (followers_[replica].stage != Follower::Stage::idle) {
        lose(replica, now_);  // what the earlier incarnation acknowledged must not decide the record that replaces it
    }
    if (!leading() || !enough_confirmed()) {
        return leading() ? Outcome::no_majority : Outcome::not_leader;
    }
    AdmitRecord const record{replica, incarnation};
    std::uint64_t const bytes = slot_bytes(sizeof record);
    if (!make_room(bytes, 0)) {  // from what commands leave free: clients that keep the ring full keep nobody out
        return Outcome::no_room;
    }
    append_pad_if_needed(bytes);
    append_slot(SlotKind::admit, std::as_bytes(std::span(&record, 1)), {});
    return Outcome::ok;
}

}  // namespace mu
