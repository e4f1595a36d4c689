// Taking over (paper, section 4.1–4.2, with DESIGN's corrections): permission, catch up, adopt, seal.
#include <algorithm>
#include <cstring>

#include "common/assert.hpp"
#include "protocol/replicator.hpp"

namespace mu {

// 1. Permission: a proposal above everything seen is posted to all. The request is posted by the plane that also
// stores, after its last store of any earlier tenure: that is what lets an acceptor reuse this replica's landing area.
void Replicator::start_takeover(Nanoseconds now) {
    Proposal const seen = std::max(shared_.highest_seen.load(std::memory_order_acquire), fabric_.permission());
    tenure_ = Tenure{settings_.self, incarnation_, make_proposal(round_of(seen) + 1, settings_.self)};
    shared_.saw(tenure_.proposal);
    stage_ = Stage::requesting;
    started_at_ = now;
    seal_end_ = 0;
    write_limit_ = 0;
    behind_.reset();
    decided_ = std::max(replayer_.decided(), executor_.applied().offset);
    replayer_.publish();
    for (ReplicaId const member : settings_.members) {
        followers_[member].stage = Follower::Stage::idle;
        followers_[member].accepted = 0;
        followers_[member].retry_at = 0;
        peers_.reset(member);  // what was read of it while nobody led may be long ago
        if (member != settings_.self && reachable(member)) {
            ask(member, now);
        }
    }
    ask_self(now);
    adopt_if_majority(now);  // a cluster of one is done already
}

bool Replicator::reachable(ReplicaId replica) const noexcept {
    PeerState const state = fabric_.peer(replica);
    return state.incarnation != 0 && !state.gone;
}

// Connections may break by themselves, one by one.
bool Replicator::connected(ReplicaId replica) const noexcept {
    Incarnation const present = fabric_.peer(replica).incarnation;
    return log_.connected(replica) == present && side_.connected(replica) == present;
}

void Replicator::ask(ReplicaId replica, Nanoseconds now) {
    Follower& follower = followers_[replica];
    Incarnation const present = fabric_.peer(replica).incarnation;
    for (Channel* const channel : {&log_, &side_}) {
        if (channel->connected(replica) != present && !channel->connect(replica)) {
            follower.retry_at = now + settings_.joiner_retry;
            return;
        }
    }
    peers_.expect(replica, present);
    follower.stage = Follower::Stage::requested;
    follower.nonce = ++nonce_;
    follower.asked_at = now;
    outgoing_[replica] = Checked<Request>::of(Request{tenure_.proposal, incarnation_, follower.nonce});
    side_.write(replica, Region::background, peer_cell_at(settings_.self, &PeerCells::request),
                {std::as_bytes(std::span(&outgoing_[replica], 1))}, 0);
    side_.ring(replica, Plane::background);
}

// A request that nobody stands behind any more would depose whoever leads as soon as the minimum hold is over.
void Replicator::withdraw_requests() {
    for (ReplicaId const member : settings_.members) {
        if (followers_[member].stage != Follower::Stage::requested || side_.connected(member) == 0) {
            continue;
        }
        outgoing_[member] = Checked<Request>::of(Request{kNoProposal, incarnation_, ++nonce_});
        side_.write(member, Region::background, peer_cell_at(settings_.self, &PeerCells::request),
                    {std::as_bytes(std::span(&outgoing_[member], 1))}, 0);
    }
}

// One's own log is granted by this plane itself, here, at one of its step boundaries.
void Replicator::ask_self(Nanoseconds now) {
    ReplicaId const self = settings_.self;
    if (log_.connected(self) == 0 && !log_.connect(self)) {
        return;
    }
    Request const request{tenure_.proposal, incarnation_, ++nonce_};
    followers_[self].nonce = request.nonce;
    std::optional<Grant> const grant = permission_.grant_self(request, now);
    if (grant && grant->word > request.proposal) {
        shared_.saw(grant->word);
        abort();
    } else if (grant) {
        granted(self, *grant);
    }
}

void Replicator::read_grants(Nanoseconds now) {
    for (ReplicaId const member : settings_.members) {
        Follower& follower = followers_[member];
        if (member == settings_.self || follower.stage != Follower::Stage::requested) {
            continue;
        }
        std::optional<Grant> const grant = load_cell(region_.peers[member].grant);
        if (!grant || grant->proposal != tenure_.proposal || grant->nonce != follower.nonce ||
            grant->incarnation != log_.connected(member)) {
            continue;
        }
        if (grant->word > tenure_.proposal) {
            shared_.saw(grant->word);
            abort();  // somebody else has been promised more: give up at once
            return;
        }
        granted(member, *grant);
    }
    if (stage_ == Stage::requesting && followers_[settings_.self].stage == Follower::Stage::idle) {
        ask_self(now);
    }
}

// 2. Catch up: the chain is read only after the grant, when nobody else can change it any more.
void Replicator::granted(ReplicaId replica, Grant const& grant) {
    Follower& follower = followers_[replica];
    follower.grant = grant;
    follower.applied = grant.from.offset;
    follower.accepted = 0;
    follower.chain_read = false;
    follower.stage = Follower::Stage::known;
    log_.begin_tenure(replica, tenure_, grant.key);
    Follower const& self = followers_[settings_.self];
    bool const same_as_own = stage_ == Stage::requesting && self.is_granted() && grant.end == self.grant.end;
    // Equal ends mean equal chains (a position fixes everything below it): nothing to read.
    if (replica != settings_.self && !same_as_own) {
        read_chain(replica);
    }
}

void Replicator::read_chain(ReplicaId replica) {
    Follower& follower = followers_[replica];
    follower.chain.resize(format_.ring_bytes());
    Offset at = follower.grant.from.offset;
    Offset const end = follower.grant.end.offset;
    if (at == end) {
        follower.chain_read = true;
        return;
    }
    follower.stage = Follower::Stage::reading;
    follower.reads_left = 0;
    while (at < end) {
        std::uint64_t const part = std::min(end - at, format_.room_to_end(at));
        ++follower.reads_left;
        log_.read(replica, Region::log, format_.place(at), std::span(follower.chain).subspan(format_.place(at), part),
                  follower.nonce);
        at += part;
    }
}

// 3. Adopt the chain whose last slot has the highest proposal; among equals the longest.
ReplicaId Replicator::best_chain() const noexcept {
    ReplicaId best = settings_.self;
    for (ReplicaId const member : settings_.members) {
        Position const& here = followers_[member].grant.end;
        Position const& there = followers_[best].grant.end;
        if (followers_[member].stage == Follower::Stage::known &&
            (here.previous > there.previous || (here.previous == there.previous && here.offset > there.offset))) {
            best = member;
        }
    }
    return best;
}

void Replicator::adopt_if_majority(Nanoseconds now) {
    if (stage_ != Stage::requesting) {
        return;
    }
    std::size_t known = 0;
    for (ReplicaId const member : settings_.members) {
        known += followers_[member].stage == Follower::Stage::known ? 1 : 0;
    }
    if (known < settings_.majority() || followers_[settings_.self].stage != Follower::Stage::known) {
        return;
    }
    ReplicaId const best = best_chain();
    if (followers_[best].grant.end.previous >= tenure_.proposal) {
        abort();
        return;
    }
    execute_what_granters_have();
    configuration_ = executor_.configuration();
    Adoption const adoption = copy_adopted(best);
    if (adoption == Adoption::behind) {
        behind_ = followers_[best].grant.from.offset;
        if (awaits_grants(now)) {
            return;  // another one's log may begin lower
        }
        become_lapped();
    }
    if (adoption != Adoption::done) {
        abort();
        return;
    }
    lacks_ = 0;
    shared_.lapped.store(false, std::memory_order_release);
    if (!incarnations_agree() || tail_.offset + kSlotAlignment > executor_.applied().offset + format_.ring_bytes()) {
        abort();  // (the latter: a seal would overwrite what is not executed here yet)
        return;
    }
    stage_ = Stage::adopting;
    poll();
    seal_if_adopted(now);
}

bool Replicator::awaits_grants(Nanoseconds now) const noexcept {
    bool const early = now - started_at_ <= settings_.grant_timeout / kAnswersWithin;
    return std::ranges::any_of(settings_.members, [&](ReplicaId member) {
        Follower::Stage const stage = followers_[member].stage;
        bool const may_answer = stage == Follower::Stage::requested && early;
        return (may_answer || stage == Follower::Stage::reading) && reachable(member);
    });
}

// The time for adopting something is over.
void Replicator::give_up() {
    if (behind_) {
        become_lapped();
    } else if (++asked_in_vain_ >= kPatience) {
        give_way();
    }
    abort();
}

// The others' logs begin above what this replica has: it needs a snapshot first.
void Replicator::become_lapped() noexcept {
    lacks_ = *behind_;
    shared_.lapped.store(true, std::memory_order_release);
}

// What a granter has applied is decided. Executing it here makes room in one's own ring for the adopted chain.
void Replicator::execute_what_granters_have() {
    Offset const end = followers_[settings_.self].grant.end.offset;
    for (ReplicaId const member : settings_.members) {
        Position const& from = followers_[member].grant.from;
        Position const& applied = executor_.applied();
        if (followers_[member].stage == Follower::Stage::known && from.offset > applied.offset && from.offset <= end &&
            walk(fabric_.own_log(), applied, from.offset, end) == from) {
            replayer_.execute_own(from.offset, nullptr);
        }
    }
    decided_ = std::max(decided_, executor_.applied().offset);
}

// A granter shows its log from what it has applied on. What lies below, others may show, and it is the same there: a
// position fixes everything below it. Puts it into the chain, and says from where that goes now.
Position Replicator::extend_down(Follower& best) noexcept {
    Position from = best.grant.from;
    for (bool found = true; found;) {
        found = false;
        for (ReplicaId const member : settings_.members) {
            Follower const& lower = followers_[member];
            Position const begin = lower.grant.from;
            if (lower.stage != Follower::Stage::known || !lower.chain_read || begin.offset >= from.offset ||
                best.grant.end.offset - begin.offset > format_.ring_bytes() ||
                walk(lower.chain, begin, from.offset, lower.grant.end.offset) != from) {
                continue;
            }
            for (Offset at = begin.offset; at < from.offset;) {
                std::uint64_t const part = std::min(from.offset - at, format_.room_to_end(at));
                std::memcpy(best.chain.data() + format_.place(at), lower.chain.data() + format_.place(at), part);
                at += part;
            }
            from = begin;
            found = true;
        }
    }
    return from;
}

// Brings one's own log to the adopted chain: byte for byte, keeping the original proposals, from the first slot that
// differs. A slot that matches already is never written again.
Replicator::Adoption Replicator::copy_adopted(ReplicaId from) {
    Grant const& own = followers_[settings_.self].grant;
    std::span<std::byte const> const ring = fabric_.own_log();
    Follower& source = followers_[from];
    adopted_from_ = own.end;
    tail_ = own.end;
    bool const other = from != settings_.self && source.chain_read;
    if (other) {
        Grant shown = source.grant;
        std::optional<Position> common = common_point(shown, source.chain);
        if (!common) {
            shown.from = extend_down(source);
            common = common_point(shown, source.chain);
        }
        if (!common) {
            return Adoption::behind;
        }
        // Its owner may have granted more since, and then what was read may be half overwritten.
        Offset const end = source.grant.end.offset;
        if (walk(source.chain, *common, end, end) != source.grant.end) {
            return Adoption::lost;
        }
        adopted_from_ = first_difference(source, *common);
    }
    for (Position at = executor_.applied(); at.offset < adopted_from_.offset;) {
        std::optional<Slot> const slot = format_.parse(ring, at);
        if (!slot) {
            return Adoption::lost;  // another writer has just begun to replace what is undecided of one's own log
        }
        configuration_.take(slot->header, slot->value);
        at = slot->after();
    }
    if (other) {
        tail_ = source.grant.end;
        for (Position at = adopted_from_; at.offset < tail_.offset;) {
            std::optional<Slot> const slot = format_.parse(source.chain, at);
            MU_ASSERT(slot.has_value());
            configuration_.take(slot->header, slot->value);
            write_copy(settings_.self, *slot);
            at = slot->after();
        }
    }
    return Adoption::done;
}

// 4. A grant of an incarnation that the adopted chain has replaced was given by somebody without memory of what it
// promised or accepted before: the takeover is void.
bool Replicator::incarnations_agree() noexcept {
    for (ReplicaId const member : settings_.members) {
        Follower const& follower = followers_[member];
        if (follower.stage == Follower::Stage::known &&
            follower.grant.incarnation != configuration_.incarnations[member]) {
            return false;
        }
    }
    return true;
}

// 6. Seal: an empty slot with one's own proposal ends the adopted chain. (5, teaching the followers, is in
// followers.cpp.)
void Replicator::seal_if_adopted(Nanoseconds now) {
    Follower& self = followers_[settings_.self];
    if (stage_ != Stage::adopting || (adopted_from_ != tail_ && self.accepted < tail_.offset)) {
        return;  // own stores are still on their way
    }
    self.stage = Follower::Stage::confirmed;
    self.accepted = tail_.offset;
    stage_ = Stage::sealing;
    release_joiner();
    blocked_since_ = 0;
    rebuild_writers();
    work_end_ = tail_.offset;  // what was adopted becomes decided with the seal: followers have to hear of it too
    if (tail_.offset == 0) {
        append_slot(SlotKind::formation, std::as_bytes(std::span(configuration_.incarnations)), {});
    }
    append_pad_if_needed(kSlotAlignment);
    append_slot(SlotKind::empty, {}, {});
    seal_end_ = tail_.offset;
    poll();
    tend_followers(now);
    poll();
}

// Failed attempts space themselves out, so that two candidates do not take the permissions from each other for ever.
void Replicator::back_off(Nanoseconds now) {
    backoff_ = backoff_ == 0 ? settings_.backoff_first : std::min(2 * backoff_, settings_.backoff_limit);
    // Different replicas wait differently, or they would meet again each time.
    next_attempt_ = now + backoff_ + backoff_ * settings_.self / static_cast<Nanoseconds>(2 * kMaxReplicas);
}

}  // namespace mu
