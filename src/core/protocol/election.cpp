#include "protocol/election.hpp"

#include <algorithm>

namespace mu {

Election::Election(Fabric& fabric, PeerReader& peers, Settings const& settings, Shared& shared) noexcept
    : fabric_(fabric),
      peers_(peers),
      settings_(settings),
      shared_(shared),
      own_(reinterpret_cast<BackgroundRegion*>(fabric.background().data())->own) {}

Nanoseconds Election::period(Nanoseconds now) const noexcept {
    Nanoseconds const active_at = shared_.active_at.load(std::memory_order_relaxed);
    return now - active_at < settings_.idle_after ? settings_.heartbeat_period : settings_.heartbeat_idle_period;
}

void Election::step(Nanoseconds now) noexcept {
    beat(now);
    for (ReplicaId const member : settings_.members) {
        if (member != settings_.self) {
            observe(member, now);
        }
    }
    consider_eligibility(now);
    ReplicaId const leader = lowest_candidate();
    if (leader != kNobody || led_at_ == 0) {
        led_at_ = now;
    }
    shared_.leader.store(leader, std::memory_order_release);
    store_word(own_.leader, leader);
}

// Fate sharing: a heartbeat says that the *replication* plane works, so a stuck one must silence it. Being busy
// inside the state machine (a snapshot, say) is not being stuck.
void Election::beat(Nanoseconds now) noexcept {
    std::uint64_t const steps = shared_.steps.load(std::memory_order_acquire);
    if (steps != steps_seen_ || shared_.busy.load(std::memory_order_acquire)) {
        steps_seen_ = steps;
        stepped_at_ = now;
    }
    if (now < beat_at_) {
        return;
    }
    Nanoseconds const every = period(now);
    beat_at_ = now + every;
    stuck_ = now - stepped_at_ > settings_.stuck_limit;
    if (stuck_ || shared_.paused.load(std::memory_order_acquire) || shared_.halted.load(std::memory_order_acquire)) {
        return;
    }
    store_word(own_.heartbeat_period_ns, static_cast<std::uint64_t>(every));
    count_word(own_.heartbeat);
}

void Election::observe(ReplicaId peer, Nanoseconds now) noexcept {
    Pulse& pulse = pulses_[peer];
    PeerState const state = fabric_.peer(peer);
    Channel& channel = fabric_.channel(Plane::background);
    if (state.incarnation == 0) {
        return;
    }
    if (state.gone) {
        // The fabric vouches for the death: no need to wait until the heartbeat is stale.
        pulse.score = 0;
        set_alive(peer, false);
        return;
    }
    if (channel.connected(peer) != state.incarnation || pulse.incarnation != state.incarnation) {
        peers_.reset(peer);
        pulse = Pulse{};
        set_alive(peer, false);
        if (!channel.connect(peer)) {
            return;
        }
        pulse.incarnation = channel.connected(peer);
        pulse.answers = peers_.answers(peer);
        pulse.moved_at = now;
        // It has just appeared: presumed alive, or each newcomer would begin by electing itself.
        pulse.score = kAliveFrom;
        set_alive(peer, true);
    }
    judge(peer, now);
    if (now >= pulse.read_at) {
        // Never read more often than the peer beats: an unmoved counter would mean nothing.
        auto const theirs = static_cast<Nanoseconds>(load_word(peers_.view(peer).heartbeat_period_ns));
        pulse.read_at = now + std::max(settings_.heartbeat_period, std::min(theirs, settings_.stale_limit));
        peers_.refresh(peer);
    }
}

void Election::judge(ReplicaId peer, Nanoseconds now) noexcept {
    Pulse& pulse = pulses_[peer];
    if (pulse.answers == peers_.answers(peer)) {
        return;  // nothing new was read: no opinion
    }
    pulse.answers = peers_.answers(peer);
    std::uint64_t const heartbeat = peers_.view(peer).heartbeat;
    if (heartbeat != pulse.heartbeat) {
        pulse.heartbeat = heartbeat;
        pulse.moved_at = now;
        pulse.score = std::min(pulse.score + 1, kMaxScore);
    } else if (pulse.score > 0) {
        --pulse.score;
    }
    shared_.scores[peer].store(pulse.score, std::memory_order_relaxed);
    auto const theirs = static_cast<Nanoseconds>(peers_.view(peer).heartbeat_period_ns);
    if (pulse.score >= kAliveFrom) {
        set_alive(peer, true);
    } else if (pulse.score < kDeadBelow && is_stale(peer, now - pulse.moved_at - theirs)) {
        set_alive(peer, false);
    }
}

// On a crowded machine a replica may wait for a processor longer than another one cares to wait for it; electing the
// other would help nobody. Where the fabric can tell that from a stop, it may wait longer.
bool Election::is_stale(ReplicaId peer, Nanoseconds silence) noexcept {
    return silence > settings_.stale_limit && (silence > settings_.starved_limit || !fabric_.is_runnable(peer));
}

void Election::set_alive(ReplicaId peer, bool alive) noexcept {
    pulses_[peer].alive = alive;
    shared_.scores[peer].store(pulses_[peer].score, std::memory_order_relaxed);
    std::uint32_t const bit = 1U << peer;
    if (alive) {
        shared_.alive.fetch_or(bit, std::memory_order_acq_rel);
    } else {
        shared_.alive.fetch_and(~bit, std::memory_order_acq_rel);
    }
}

// A replica that has not even accepted what others have applied cannot lead: it would read, find that it cannot
// connect, and step down, while everybody waits for it because its id is the lowest. It is given a while to catch up,
// because what it publishes about itself trails. But if nobody else can lead it has to try: it reads what it lacks, or finds
// that it is lapped, and says so.
void Election::consider_eligibility(Nanoseconds now) noexcept {
    bool eligible = shared_.eligible.load(std::memory_order_acquire);
    Offset const reached = load_word(own_.chain_end);
    bool const joined = shared_.joined.load(std::memory_order_acquire);
    bool const able = joined && !shared_.aside.load(std::memory_order_acquire);
    if (!able || !was_able_) {
        able_since_ = now;
    }
    was_able_ = able;
    if (!able && shared_.leader.load(std::memory_order_relaxed) == kNobody) {
        shared_.active_at.store(now, std::memory_order_relaxed);  // what comes next the others should learn soon
    }
    if (!joined) {
        eligible = false;
    } else if (load_word(own_.leading) != 0) {
        // A leader's log has all there is, however far behind it publishes: a crowded processor must not unseat it.
        eligible = true;
        must_reach_by_ = 0;
    } else if (now - able_since_ <= settings_.stale_limit && hears_one_to_wait_for()) {
        eligible = false;
    } else if (reached >= most_applied() || now - led_at_ > settings_.stale_limit) {
        eligible = true;
        must_reach_by_ = 0;
    } else if (must_reach_by_ == 0) {
        must_reach_ = most_applied();
        must_reach_by_ = now + settings_.stale_limit;
    } else if (now > must_reach_by_) {
        eligible = reached >= must_reach_ && eligible;
        must_reach_by_ = 0;
    }
    // The length of a chain does not tell whether it is the right one: a takeover has found that this one is not, and
    // somebody who has the right one leads meanwhile. If nobody does, try again.
    if (!shared_.lapped.load(std::memory_order_acquire)) {
        lapped_since_ = now;
    } else if (now - lapped_since_ > settings_.transfer_timeout) {
        shared_.lapped.store(false, std::memory_order_release);
    }
    eligible =
        eligible && !shared_.lapped.load(std::memory_order_acquire) && !shared_.unheard.load(std::memory_order_acquire);
    shared_.eligible.store(eligible, std::memory_order_release);
    store_word(own_.eligible, eligible && may_lead() && !stuck_ ? 1 : 0);
    store_word(own_.lapped, shared_.lapped.load(std::memory_order_acquire) ? 1 : 0);
}

// The members of a new cluster learn one after another that it is formed, and the programs around them become able to
// lead one after another. Whoever is first would lead for a moment, only to be deposed by the lowest one.
bool Election::hears_one_to_wait_for() const noexcept {
    for (ReplicaId const member : settings_.members) {
        if (member == settings_.self) {
            return false;
        }
        if (pulses_[member].alive) {
            return peers_.view(member).eligible == 0;
        }
    }
    return false;
}

Offset Election::most_applied() const noexcept {
    Offset most = 0;
    for (ReplicaId const member : settings_.members) {
        if (member != settings_.self && pulses_[member].alive) {
            most = std::max(most, peers_.applied(member));
        }
    }
    return most;
}

bool Election::may_lead() const noexcept {
    return !shared_.paused.load(std::memory_order_acquire) && !shared_.halted.load(std::memory_order_acquire) &&
           !shared_.aside.load(std::memory_order_acquire);
}

ReplicaId Election::lowest_candidate() const noexcept {
    for (ReplicaId const member : settings_.members) {
        if (member == settings_.self) {
            if (shared_.eligible.load(std::memory_order_acquire) && may_lead()) {
                return member;
            }
        } else if (pulses_[member].alive && peers_.view(member).eligible != 0) {
            return member;
        }
    }
    return kNobody;
}

}  // namespace mu
