// How the planes' threads wait. On dedicated cores they spin. On shared ones they must not starve each other: three
// replicas on two cores, so a thread without work sleeps, and a follower looks at its log now and then rather than at
// every slot (facts: a follower that stares at the head of its log makes every propose dearer).
#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>

#include "common/prompt_thread.hpp"
#include "runtime/clock.hpp"
#include "runtime/node.hpp"

namespace mu {
namespace {

constexpr Nanoseconds kLeaderNap = 200 * kMicrosecond;  // while callers do the leader's work
constexpr Nanoseconds kIdleSleep = 10 * kMillisecond;   // until the doorbell rings, or for a look anyway
constexpr Nanoseconds kFormingSleep = 2 * kMillisecond;
constexpr Nanoseconds kTellLatenciesEvery = kSecond;
constexpr Nanoseconds kLookAtPlaceEvery = 100 * kMillisecond;  // a system call
constexpr Offset kTurnBytes = 128 * 1024;
constexpr Nanoseconds kTurnLasts = 200 * kMicrosecond;
constexpr int kRoundsBeforeIdle = 60;  // naps without work before sleeping on the doorbell

void prepare_thread(char const* name) noexcept {
    prctl(PR_SET_NAME, name);
    become_prompt();
}

}  // namespace

void Node::run_replication() {
    prepare_thread("mu-replication");
    processors_.settle();
    while (!stopping_.load(std::memory_order_acquire)) {
        std::uint32_t const ticket = fabric_.ticket(Plane::replication);
        bool busy = false;
        // A leader's callers step the plane when they are asked to: what it works on then stays near their core. This
        // thread does it only if nobody came since it last asked.
        bool const callers_came = replica_.leads() && !step_wanted_.exchange(true, std::memory_order_relaxed);
        if (!callers_came && lock_.try_lock()) {
            Held const held(*this, std::adopt_lock);
            step_wanted_.store(false, std::memory_order_relaxed);
            try {
                busy = replica_.step_replication(monotonic_now(), this);
            } catch (std::exception const& error) {
                halt(error.what());
                if (is_copy_) {
                    return;  // the child of fork() has no other thread: it ends
                }
            }
            announce_leadership();
            if (!in_flight_.empty()) {
                settle();
            }
            stage_seen_ = replica_.replicator().stage();
            backlog_seen_ = replica_.replayer().more();
            executed_seen_ = replica_.executor().applied().offset;
        } else if (callers_came) {
            stage_seen_ = Replicator::Stage::leading;
        } else {
            step_wanted_.store(true, std::memory_order_relaxed);  // whoever holds the plane steps it for us
            idle_rounds_ = 0;  // or does not, being a reader, say: then what the doorbell rang for is still to be done
        }
        if (options_.cores == Cores::shared) {
            ReplicaId const leader = replica_.shared().leader.load(std::memory_order_relaxed);
            processors_.keep_off(leader == options_.settings.self ? -1 : fabric_.processor_of(leader));
        }
        rest(ticket, busy);
    }
    processors_.leave();
}

void Node::rest(std::uint32_t ticket, bool busy) {
    Replicator::Stage const stage = stage_seen_;
    bool const taking_over = stage == Replicator::Stage::requesting || stage == Replicator::Stage::adopting ||
                             stage == Replicator::Stage::sealing;
    idle_rounds_ = busy ? 0 : idle_rounds_ + 1;
    if (options_.cores == Cores::dedicated) {
        for (int i = 0; i < 32; ++i) {
            cpu_relax();
        }
    } else if (taking_over) {
        // Others have to run for us to go on: give way, but be back soon.
        fabric_.wait(Plane::replication, ticket, 20 * kMicrosecond);
    } else if (stage == Replicator::Stage::leading) {
        fabric_.wait(Plane::replication, ticket, idle_rounds_ < 4 * kRoundsBeforeIdle ? kLeaderNap : kIdleSleep);
    } else if (busy && backlog_seen_) {
        take_turns();  // and go on at once: a step is bounded, the backlog is not
    } else if (idle_rounds_ < kRoundsBeforeIdle) {
        std::this_thread::sleep_for(std::chrono::nanoseconds(options_.follower_nap));
    } else {
        fabric_.wait(Plane::replication, ticket, kIdleSleep);
    }
}

// A leader at full speed waits for its slowest follower. Where there are fewer processors than replicas, followers that
// execute quickly therefore give way to one another now and then. One whose commands take long needs all of its processor,
// or it would lag by a log when its leader dies; the kernel interrupts it anyway.
void Node::take_turns() noexcept {
    if (executed_seen_ - turn_from_ < kTurnBytes) {
        return;
    }
    if (monotonic_now() - turn_began_ < kTurnLasts) {
        sched_yield();
    }
    turn_from_ = executed_seen_;
    turn_began_ = monotonic_now();
}

void Node::run_background() {
    prepare_thread("mu-background");
    ReplicaId leader = kNobody;
    while (!stopping_.load(std::memory_order_acquire)) {
        std::uint32_t const ticket = fabric_.ticket(Plane::background);
        Nanoseconds const now = monotonic_now();
        replica_.step_background(now);
        ReplicaId const present = replica_.shared().leader.load(std::memory_order_acquire);
        if (present != leader) {
            leader = present;
            fabric_.channel(Plane::background).ring(options_.settings.self, Plane::replication);
        }
        wake_followers(now);
        publish_latencies(now);
        watch_place(now);
        if (options_.cores == Cores::dedicated) {
            for (int i = 0; i < 32; ++i) {
                cpu_relax();
            }
            continue;
        }
        Nanoseconds const due = replica_.forming() ? kFormingSleep : replica_.background_due() - now;
        fabric_.wait(Plane::background, ticket, std::clamp(due, 20 * kMicrosecond, kIdleSleep));
    }
}

// The leader's callers never pay for waking a sleeping follower: this plane does it, a moment later.
void Node::wake_followers(Nanoseconds now) {
    Shared const& shared = replica_.shared();
    if (shared.leader.load(std::memory_order_relaxed) != options_.settings.self ||
        now - shared.active_at.load(std::memory_order_relaxed) > 2 * kIdleSleep) {
        return;
    }
    Channel& channel = fabric_.channel(Plane::background);
    for (ReplicaId const member : options_.settings.members) {
        if (member != options_.settings.self && channel.connected(member) != 0) {
            channel.ring(member, Plane::replication);
        }
    }
}

// For whoever looks from outside (peek). Seldom: it is for people, and quantiles cost microseconds.
void Node::publish_latencies(Nanoseconds now) noexcept {
    std::uint64_t const noted = latencies_.noted();
    if (noted == latencies_told_ || now - told_at_ < kTellLatenciesEvery) {
        return;
    }
    latencies_told_ = noted;
    told_at_ = now;
    OwnCells& own = reinterpret_cast<BackgroundRegion*>(fabric_.background().data())->own;
    Latencies::Quantiles const found = latencies_.quantiles();
    store_word(own.propose_p50_ns, found.p50);
    store_word(own.propose_p99_ns, found.p99);
}

// Who has lost his place must stop before another one has begun in it.
void Node::watch_place(Nanoseconds now) {
    if (now - place_seen_at_ < kLookAtPlaceEvery) {
        return;
    }
    place_seen_at_ = now;
    std::string const why = fabric_.lost();
    if (why.empty() || failed_.load(std::memory_order_acquire)) {
        return;
    }
    if (!lock_.try_lock()) {
        place_seen_at_ = 0;  // look again at once: the heart beats meanwhile
        return;
    }
    halt(why.c_str());
    fail_in_flight(Outcome::indeterminate);
    release();
}

}  // namespace mu
