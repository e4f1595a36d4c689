#include "protocol/replica.hpp"

#include <algorithm>

#include "common/assert.hpp"

namespace mu {

Replica::Replica(Fabric& fabric, LogFormat const& format, Settings settings, StateMachine& machine,
                 Incarnation incarnation)
    : settings_(std::move(settings)),
      format_(format),
      incarnation_(incarnation),
      own_(reinterpret_cast<BackgroundRegion*>(fabric.background().data())->own),
      background_(fabric.channel(Plane::background)),
      background_peers_(background_),
      election_(fabric, background_peers_, settings_, shared_),
      formation_(fabric, background_peers_, settings_, shared_, incarnation),
      permission_(fabric, format, settings_, shared_, incarnation),
      executor_(machine, settings_.max_sessions),
      replayer_(fabric, format, executor_, shared_),
      replicator_(fabric, format, settings_, shared_, permission_, executor_, replayer_, incarnation),
      transfer_(fabric, settings_, shared_, executor_, replicator_),
      learner_(fabric, settings_, shared_, executor_, permission_, replayer_, incarnation) {
    MU_ASSERT(fabric.background().size() >= sizeof(BackgroundRegion));
    store_position(own_.applied, Position{});
    store_word(own_.incarnation, incarnation);
}

void Replica::step_background(Nanoseconds now) {
    std::array<Completion, 2 * kMaxReplicas> done;
    std::size_t count = 0;
    do {
        count = background_.poll(done);
        for (std::size_t i = 0; i < count; ++i) {
            if (done[i].operation == Operation::read) {
                background_peers_.completed(done[i]);
            }
        }
    } while (count == done.size());
    obey();
    election_.step(now);
    formation_.step();
    permission_.step(now);
}

// The artifact's fifo, as a word: an operator on this machine silences the heartbeat, or lets it go on.
void Replica::obey() {
    auto const wish = static_cast<Control>(load_word(own_.control));
    if (wish != Control::none) {
        store_word(own_.control, static_cast<std::uint64_t>(Control::none));
        shared_.paused.store(wish == Control::pause, std::memory_order_release);
    }
    store_word(own_.paused, shared_.paused.load(std::memory_order_acquire) ? 1 : 0);
}

bool Replica::step_replication(Nanoseconds now, ReplySink* sink) {
    shared_.steps.fetch_add(1, std::memory_order_acq_rel);
    if (shared_.halted.load(std::memory_order_acquire)) {
        replicator_.abort();
        return false;
    }
    beat(now);
    if (!join()) {
        return learner_.step();
    }
    Replicator::Stage const before = replicator_.stage();
    replicator_.step(now);
    bool busy = replicator_.stage() != before || replicator_.stage() == Replicator::Stage::requesting;
    if (replicator_.leading() || replicator_.sealing()) {
        execute_decided(sink);
        busy = transfer_.step(now) || busy;
    } else if (replicator_.stage() == Replicator::Stage::follower) {
        busy = learner_.step() || busy;
        busy = replayer_.step(now) || busy;
        busy = transfer_.step(now) || busy;
    }
    return busy;
}

// What a heartbeat vouches for is this plane, so it beats too: on a crowded machine one thread of a replica may have to
// wait for the processor for long, but seldom all of them.
void Replica::beat(Nanoseconds now) noexcept {
    if (now - beaten_at_ >= settings_.heartbeat_period && !shared_.paused.load(std::memory_order_acquire)) {
        beaten_at_ = now;
        count_word(own_.heartbeat);
    }
}

// Takes in that this replica has become a voter: by first formation, or by having been brought up.
bool Replica::join() {
    if (!joined_ && shared_.joined.load(std::memory_order_acquire)) {
        if (executor_.applied().offset == 0) {
            Incarnations vector{};
            for (ReplicaId const member : settings_.members) {
                vector[member] = shared_.formation[member].load(std::memory_order_relaxed);
            }
            executor_.form(vector);
        }
        joined_ = true;
    }
    return joined_;
}

void Replica::execute_decided(ReplySink* sink) {
    // A majority may have what one's own store has not brought to one's own log yet.
    Offset const until = std::min(replicator_.decided(), replicator_.follower(settings_.self).accepted);
    if (replicator_.leading() && executor_.applied().offset < until) {
        replayer_.execute_own(until, sink);
    }
}

void Replica::begin_read() {
    read_at_ = replicator_.decided();
    read_under_ = replicator_.leading() ? replicator_.proposal() : kNoProposal;
    replicator_.begin_confirm();
}

std::optional<Outcome> Replica::poll_read(ReplySink* sink) {
    advance();
    execute_decided(sink);
    if (!replicator_.leading() || replicator_.proposal() != read_under_) {
        return Outcome::not_leader;
    }
    if (!replicator_.confirmed() || executor_.applied().offset < read_at_) {
        return std::nullopt;
    }
    return Outcome::ok;
}

}  // namespace mu
