#include "protocol/replicator.hpp"

#include <algorithm>
#include <cstring>

#include "common/assert.hpp"

namespace mu {

Replicator::Replicator(Fabric& fabric, LogFormat const& format, Settings const& settings, Shared& shared,
                       Permission& permission, Executor& executor, Replayer& replayer, Incarnation incarnation)
    : fabric_(fabric),
      format_(format),
      settings_(settings),
      shared_(shared),
      permission_(permission),
      executor_(executor),
      replayer_(replayer),
      incarnation_(incarnation),
      region_(*reinterpret_cast<BackgroundRegion*>(fabric.background().data())),
      log_(fabric.channel(Plane::replication)),
      side_(fabric.channel(Plane::learner)),
      peers_(side_) {
    writers_.reserve(kMaxReplicas);
    counted_.reserve(kMaxReplicas);
    head_.reserve(format.max_value() + sizeof(SlotHeader));
}

void Replicator::step(Nanoseconds now) {
    now_ = now;
    poll_side();
    poll();
    switch (stage_) {
        case Stage::follower:
            if (lacks_ != 0 && executor_.applied().offset >= lacks_) {
                lacks_ = 0;
                shared_.lapped.store(false, std::memory_order_release);
            }
            heed_deaths();
            if (now >= gives_way_until_) {
                shared_.unheard.store(false, std::memory_order_release);
            }
            if (should_lead() && now >= next_attempt_) {
                start_takeover(now);
            }
            break;
        case Stage::requesting:
            if (!should_lead() || (followers_[settings_.self].is_granted() && lost_own_permission())) {
                abort();
                break;
            }
            read_grants(now);  // first: the last one may have come while this plane had no processor
            adopt_if_majority(now);
            if (stage_ == Stage::requesting && now - started_at_ > settings_.grant_timeout) {
                give_up();
            }
            break;
        case Stage::adopting:
            if (lost_own_permission()) {
                abort();
            } else {
                seal_if_adopted(now);
            }
            break;
        case Stage::sealing:
        case Stage::leading:
            if (lost_own_permission()) {
                abort();
                break;
            }
            if (alone_for_too_long()) {
                give_way();
                abort();
                break;
            }
            read_grants(now);
            tend_followers(now);
            watch_recycling(now);
            carry_commit_when_idle(now);
            poll();
            break;
    }
}

// Election's opinion. But when the fabric has just vouched for the leader's death, this plane draws the same conclusion
// by itself: waiting for the other plane to wake would cost as much as the takeover.
bool Replicator::should_lead() const noexcept {
    ReplicaId const leader = shared_.leader.load(std::memory_order_acquire);
    if (leader == settings_.self || leader == kNobody || !fabric_.peer(leader).gone) {
        return leader == settings_.self;
    }
    bool const able = shared_.eligible.load(std::memory_order_acquire) &&
                      !shared_.paused.load(std::memory_order_acquire) &&
                      !shared_.aside.load(std::memory_order_acquire) && !shared_.halted.load(std::memory_order_acquire);
    for (ReplicaId const member : settings_.members) {
        if (member == settings_.self) {
            return able;
        }
        if (member != leader && shared_.is_alive(member) && !fabric_.peer(member).gone) {
            return false;  // a lower one lives: it is its turn
        }
    }
    return false;
}

// A leader that its followers do not answer may be the only one who does not know that another one leads, or who keeps
// others from leading: they still see its heartbeat. Whoever takes a snapshot does answer, however long that takes.
bool Replicator::alone_for_too_long() noexcept {
    if (counted_.size() + (joiner_learns_ ? 1 : 0) >= settings_.majority()) {
        alone_since_ = 0;
    } else if (alone_since_ == 0) {
        alone_since_ = now_;
    }
    return alone_since_ != 0 && now_ - alone_since_ > kPatience * settings_.grant_timeout;
}

// For a while this replica is not eligible: if anybody else is heard, it is his turn. If nobody is, nothing is lost.
void Replicator::give_way() noexcept {
    asked_in_vain_ = 0;
    alone_since_ = 0;
    gives_way_until_ = now_ + kGivesWayFor * settings_.grant_timeout;
    shared_.unheard.store(true, std::memory_order_release);
}

// A death is news: whatever made earlier attempts fail, this one should not wait for it. A return is none.
void Replicator::heed_deaths() noexcept {
    if (learn_deaths()) {
        backoff_ = 0;
        next_attempt_ = 0;
    }
}

bool Replicator::learn_deaths() noexcept {
    bool is_new = false;
    for (ReplicaId const member : settings_.members) {
        PeerState const state = fabric_.peer(member);
        Incarnation const dead = member != settings_.self && state.gone ? state.incarnation : 0;
        is_new = is_new || (dead != 0 && known_dead_[member] != dead);
        known_dead_[member] = dead;  // one that was only cut off may be gone again
    }
    return is_new;
}

// --- Steady state ---------------------------------------------------------------------------------------------------

Outcome Replicator::append(SlotKind kind, std::span<std::byte const> prefix, std::span<std::byte const> body) {
    if (!leading()) {
        return Outcome::not_leader;
    }
    if (prefix.size() + body.size() > format_.max_value()) {
        return Outcome::too_large;
    }
    if (!enough_confirmed()) {
        return Outcome::no_majority;
    }
    std::uint64_t const bytes = slot_bytes(static_cast<std::uint32_t>(prefix.size() + body.size()));
    if (!make_room(bytes, reserve())) {
        return Outcome::no_room;
    }
    append_pad_if_needed(bytes);
    append_slot(kind, prefix, body);
    return Outcome::ok;
}

// A slot never wraps: if it does not fit before the end of the ring, a pad fills that.
void Replicator::append_pad_if_needed(std::uint64_t bytes) {
    if (format_.room_to_end(tail_.offset) < bytes) {
        append_slot(SlotKind::pad, {}, {});
    }
}

void Replicator::append_slot(SlotKind kind, std::span<std::byte const> prefix, std::span<std::byte const> body) {
    // One command behind its header, as nearly always, and put together where it is copied from.
    struct {
        SlotHeader header;
        std::uint64_t prefix = 0;
    } head;
    SlotHeader& header = head.header;
    header.offset = tail_.offset;
    header.proposal = tenure_.proposal;
    header.previous = tail_.previous;
    header.commit = decided_;
    header.kind = kind;
    header.length = kind == SlotKind::pad ? format_.pad_length(tail_.offset)
                                          : static_cast<std::uint32_t>(prefix.size() + body.size());
    Offset const end = tail_.offset + slot_bytes(header.length);
    if (prefix.size() != sizeof head.prefix || format_.integrity() == Integrity::checksum) [[unlikely]] {
        write_assembled(header, prefix, body, end);
    } else {
        std::memcpy(&head.prefix, prefix.data(), sizeof head.prefix);
        std::uint64_t const canary = format_.seal(header, {});
        write_to_all({std::as_bytes(std::span(&head, 1)), body, std::as_bytes(std::span(&canary, 1))}, header.offset,
                     end);
    }
    tail_ = Position{end, header.proposal};
    commit_written_ = header.commit;
    work_end_ = kind == SlotKind::empty || kind == SlotKind::pad ? work_end_ : end;
    configuration_.take(header, prefix);
}

void Replicator::write_assembled(SlotHeader& header, std::span<std::byte const> prefix, std::span<std::byte const> body,
                                 Offset end) {
    head_.assign(sizeof header, std::byte{0});
    head_.insert(head_.end(), prefix.begin(), prefix.end());
    if (format_.integrity() == Integrity::checksum) {  // the checksum is over the value in one piece
        head_.insert(head_.end(), body.begin(), body.end());
        body = {};
    }
    std::span<std::byte> const head(head_);
    std::uint64_t const canary = format_.seal(header, head.subspan(sizeof header));
    std::memcpy(head.data(), &header, sizeof header);
    write_to_all({head, body, std::as_bytes(std::span(&canary, 1))}, header.offset, end);
}

void Replicator::write_to_all(Gather const& slot, Offset at, Offset end) {
    std::uint32_t const succeeded = log_.write_at_once(writers_, format_.place(at), slot);
    for (ReplicaId const writer : writers_) {
        if (succeeded == Channel::kNotAtOnce) {
            log_.write(writer, Region::log, format_.place(at), slot, followers_[writer].completion_id(end));
        } else if (((succeeded >> writer) & 1U) != 0) {
            followers_[writer].accepted = end;
        } else {
            refused_ |= 1U << writer;  // taken in by poll(), like any other failure
        }
    }
}

void Replicator::poll() {
    std::size_t count = 0;
    do {
        count = log_.poll(completions_);
        for (std::size_t i = 0; i < count; ++i) {
            completed(completions_[i]);
        }
    } while (count == completions_.size());
    if (refused_ != 0) [[unlikely]] {
        take_in_refusals();
    }
    if (!counted_.empty()) {
        count_decided();
    }
}

void Replicator::take_in_refusals() {
    std::uint32_t const refused = refused_;
    refused_ = 0;
    for (ReplicaId const member : settings_.members) {
        if (((refused >> member) & 1U) != 0 && stage_ != Stage::follower) {
            write_failed(member);
        }
    }
}

void Replicator::write_failed(ReplicaId replica) {
    if (replica == settings_.self) {
        abort();
    } else if (followers_[replica].is_written()) {
        lose(replica, now_ + settings_.joiner_retry);
    }
}

void Replicator::completed(Completion const& completion) {
    Follower& follower = followers_[completion.peer];
    if (completion.operation == Operation::read) {
        if (follower.stage != Follower::Stage::reading || completion.id != follower.nonce) {
            return;  // of an attempt that is over
        }
        if (!completion.success) {
            lose(completion.peer, now_ + settings_.joiner_retry);
        } else if (--follower.reads_left == 0) {
            follower.stage = Follower::Stage::known;
            follower.chain_read = true;
        }
        return;
    }
    if (completion.operation == Operation::confirm) {
        if (completion.success) {
            confirms_ += completion.id == confirm_round_ ? 1 : 0;
            return;
        }
    } else if (!follower.owns(completion.id)) {
        return;
    }
    if (stage_ == Stage::follower) {
        return;
    }
    if (!completion.success) {
        write_failed(completion.peer);
    } else {
        follower.accepted = std::max(follower.accepted, Follower::end_named(completion.id));
    }
}

// The largest offset that a majority has accepted. It counts only from the seal on: a slot of an earlier tenure is
// decided by a slot of this tenure at or after it, never by itself (paper, section 4.1; Raft's figure 8 is the same).
void Replicator::count_decided() {
    std::size_t have_all = 0;
    for (ReplicaId const writer : counted_) {
        have_all += followers_[writer].accepted == tail_.offset ? 1U : 0U;
    }
    if (have_all >= settings_.majority()) [[likely]] {
        decide(tail_.offset);
        return;
    }
    std::array<Offset, kMaxReplicas> accepted;
    std::size_t count = 0;
    for (ReplicaId const writer : counted_) {
        std::size_t at = count++;
        Offset const here = followers_[writer].accepted;
        for (; at > 0 && accepted[at - 1] < here; --at) {
            accepted[at] = accepted[at - 1];
        }
        accepted[at] = here;
    }
    if (count < settings_.majority()) {
        return;
    }
    decide(accepted[settings_.majority() - 1]);
}

void Replicator::decide(Offset by_majority) {
    if (by_majority <= decided_ || seal_end_ == 0 || by_majority < seal_end_) {
        return;
    }
    decided_ = by_majority;
    if (stage_ == Stage::sealing) {
        stage_ = Stage::leading;
        backoff_ = 0;
        asked_in_vain_ = 0;
        took_over_in_ = now_ - started_at_;
        ++takeovers_;
        store_word(region_.own.leading, tenure_.proposal);
    }
}

void Replicator::begin_confirm() {
    ++confirm_round_;
    confirms_ = 0;
    for (ReplicaId const writer : writers_) {
        log_.confirm(writer, confirm_round_);
    }
}

bool Replicator::lost_own_permission() const noexcept { return fabric_.permission() != tenure_.proposal; }

void Replicator::abort() {
    if (stage_ == Stage::follower) {
        return;
    }
    if (leading()) {
        // Whoever took over took this replica for dead. It has to see it alive again before it yields; asking sooner
        // would only take the permissions from one another in turn.
        backoff_ = std::max(backoff_, kDeposedBeats * settings_.heartbeat_period);
        // Deaths before it was deposed change nothing about that; but that of whoever has deposed it does.
        learn_deaths();
        known_dead_[proposer_of(fabric_.permission())] = 0;
    }
    if (sealing() || leading()) {
        // A majority may have decided what one's own log does not hold.
        replayer_.learned_decided(std::min(decided_, followers_[settings_.self].accepted));
    }
    withdraw_requests();
    stage_ = Stage::follower;
    refused_ = 0;
    ++aborts_;
    store_word(region_.own.leading, 0);
    writers_.clear();
    counted_.clear();
    for (Follower& follower : followers_) {
        follower.stage = Follower::Stage::idle;
        follower.accepted = 0;
    }
    seal_end_ = 0;
    release_joiner();
    blocked_since_ = 0;
    back_off(now_);
}

// An idle leader appends one empty slot, so that followers execute the last command too; never two without new work
// between.
void Replicator::carry_commit_when_idle(Nanoseconds now) {
    if (tail_.offset != tail_seen_) {
        tail_seen_ = tail_.offset;
        tail_moved_at_ = now;
        shared_.active_at.store(now, std::memory_order_relaxed);
        return;
    }
    bool const idle = settings_.commit_idle_after > 0 && now - tail_moved_at_ >= settings_.commit_idle_after;
    bool const carry = idle && commit_written_ < work_end_ && decided_ == tail_.offset;
    // Nobody can apply, and so make room, before he knows what is decided.
    bool const blocked = blocked_since_ != 0 && commit_written_ < std::min(decided_, work_end_);
    if ((carry || blocked) && enough_confirmed() && make_room(kSlotAlignment, 0)) {
        append_slot(SlotKind::empty, {}, {});
    }
}

// --- Recycling ------------------------------------------------------------------------------------------------------

// The ring is reused up to what all confirmed followers have applied. Nobody is asked as long as there is room by
// what is known already.
bool Replicator::make_room(std::uint64_t bytes, std::uint64_t reserve) {
    std::uint64_t const room = format_.room_to_end(tail_.offset);
    Offset const end = tail_.offset + bytes + (room < bytes ? room : 0) + reserve;
    if (end <= write_limit_) {
        return true;
    }
    for (ReplicaId const writer : counted_) {
        if (writer != settings_.self) {
            peers_.refresh(writer);
        }
    }
    poll_side();
    write_limit_ = recycle_bound() + format_.ring_bytes();
    if (end <= write_limit_) {
        blocked_since_ = 0;
        return true;
    }
    for (ReplicaId const writer : counted_) {
        side_.ring(writer, Plane::replication);  // it may sleep while we wait for it
    }
    return false;
}

Offset Replicator::recycle_bound() const noexcept {
    Offset bound = replayer_.published();
    for (ReplicaId const writer : counted_) {
        if (writer != settings_.self) {
            bound = std::min(bound, followers_[writer].applied);
        }
    }
    return joiner_holds_ == 0 ? bound : std::min(bound, joiner_holds_);
}

void Replicator::poll_side() {
    std::array<Completion, 2 * kMaxReplicas> done;
    std::size_t count = 0;
    do {
        count = side_.poll(done);
        for (std::size_t i = 0; i < count; ++i) {
            if (done[i].operation != Operation::read) {
                continue;
            }
            ReplicaId const peer = done[i].peer;
            peers_.completed(done[i]);
            if (followers_[peer].is_written() && peers_.view(peer).incarnation == followers_[peer].grant.incarnation) {
                followers_[peer].applied = std::max(followers_[peer].applied, peers_.applied(peer));
            }
        }
    } while (count == done.size());
}

// Nobody waits for a dead or stalled follower for ever: it is dropped, notices that it was lapped, and rejoins. A joiner
// that was outrun before it was up is waited for longer the next time: else, where commands come fast, it would be brought
// up in vain for ever.
void Replicator::watch_recycling(Nanoseconds now) {
    replayer_.publish();
    if (make_room(slot_bytes(format_.max_value()), reserve())) {
        blocked_since_ = 0;
        return;
    }
    if (blocked_since_ == 0) {
        blocked_since_ = now;
    }
    bool const by_joiner = joiner_holds_ != 0;
    if (now - blocked_since_ <= (by_joiner ? settings_.stall_limit << outrun_ : settings_.stall_limit)) {
        return;
    }
    blocked_since_ = 0;
    if (by_joiner) {
        outrun_ = std::min(outrun_ + 1, kMostOutrun);
        release_joiner();
        return;
    }
    Offset const bound = recycle_bound();
    std::vector<ReplicaId> const counted = counted_;
    for (ReplicaId const writer : counted) {
        if (writer != settings_.self && followers_[writer].applied == bound && counted_.size() > settings_.majority()) {
            lose(writer, now + settings_.stall_limit);
        }
    }
}

}  // namespace mu
