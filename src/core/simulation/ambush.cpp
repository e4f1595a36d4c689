// Faults that lie in wait: moments that chance alone would meet once in hours, provoked.
#include <algorithm>
#include <functional>

#include "simulation/walk.hpp"

namespace mu::simulation {

// Nothing goes wrong for a while, and little time passes, until it is enough.
void Walk::quiet_steps(std::uint64_t most, std::function<bool()> const& enough) {
    static constexpr std::uint64_t kTick = 30;
    for (std::uint64_t i = 0; i < most && judge_.content() && !enough(); ++i) {
        trouble_ = 0;
        slow_links_ = {};
        ++step_;
        now_ += static_cast<Nanoseconds>(dice_.below(kTick));
        one_step();
    }
}

// Looks for somebody who asks for permissions while another one leads.
void Walk::ambush() {
    ReplicaId const leader = this->leader();
    if (leader == kNobody) return;
    for (ReplicaId id = 1; id <= cluster_.size(); ++id) {
        if (id == leader || !cluster_.alive(id) || lives_[id].frozen) continue;
        Replicator const& requester = cluster_.replica(id).replicator();
        if (requester.stage() != Replicator::Stage::requesting) continue;
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            bool const granted = cluster_.alive(other) && admitted(other) && may_crash(other) &&
                                 cluster_.world.fabric(other).permission() == requester.proposal();
            if (other == id || other == leader || !granted) continue;
            lying_in_wait_ = true;
            forget_a_grant(id, other, leader);
            lying_in_wait_ = false;
            return;
        }
    }
}

// A takeover is stopped with a grant in hand whose grantor starts anew, is admitted, and helps decide what the takeover
// does not know: then it goes on.
void Walk::forget_a_grant(ReplicaId requester, ReplicaId granter, ReplicaId leader) {
    Replicator const& takeover = cluster_.replica(requester).replicator();
    auto const waits = [&] { return takeover.stage() == Replicator::Stage::requesting; };
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        if (other != requester && other != granter) cut(requester, other);
    }
    quiet_steps(600, [&] { return takeover.follower(granter).is_granted() || !waits(); });
    if (waits() && takeover.follower(granter).is_granted() && may_crash(granter)) {
        freeze(requester, true);
        crash(granter, true);
        restart(granter);
        for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
            if (other == granter || !cluster_.alive(other)) continue;
            cluster_.world.discover(other, granter);
            cluster_.world.discover(granter, other);
        }
        quiet_steps(8'000, [&] { return admitted(granter); });
        // Whoever is read next must not have what is decided from here on.
        ReplicaId witness = requester;
        for (int tries = 0; tries < 8 && (witness == requester || witness == granter || witness == leader); ++tries)
            witness = cluster_.size() == 3 ? requester : any();
        if (witness != leader) cut(leader, witness);
        std::uint64_t const before = judge_.acknowledged();
        quiet_steps(2'000, [&] { return judge_.acknowledged() > before + 2; });
        freeze(requester, false);
        if (witness != requester) heal(requester, witness);
        quiet_steps(1'000, [&] { return !waits(); });
        if (witness != leader) heal(leader, witness);
    }
    for (ReplicaId other = 1; other <= cluster_.size(); ++other) {
        if (other != requester) heal(requester, other);
    }
}

// --- A minority fails -----------------------------------------------------------------------------------------------

void Walk::cripple(ReplicaId id) {
    auto const other = static_cast<ReplicaId>(1 + (id + dice_.below(cluster_.size() - 1)) % cluster_.size());
    switch (dice_.below(5)) {
        case 0:
            crash(id, dice_.one_in(2));
            break;
        case 1:
            freeze(id, true);
            break;
        case 2:
            pause(id, true);
            break;
        case 3:  // two cannot hear each other
            cut(id, other);
            cut(other, id);
            break;
        default:
            for (ReplicaId each = 1; each <= cluster_.size(); ++each) {
                if (each == id) continue;
                cut(id, each);
                cut(each, id);
            }
    }
}

// What cannot get through is not waited for: it completes with an error (F5).
void Walk::time_out_cut_operations() {
    SimWorld& world = cluster_.world;
    for (std::size_t i = 0; i < world.ready().size();) {
        QueueId const queue = world.ready()[i];
        if (world.can_land(queue)) {
            ++i;
            continue;
        }
        while (world.fail(queue)) {
        }
    }
}

// A minority is dead, stopped or cut off, and stays so: the others must decide more than a ring holds.
bool Walk::limp() {
    static constexpr int kRounds = 6000;
    static constexpr int kTimeOutRounds = 10;
    static constexpr std::uint64_t kCommands = 80;
    std::size_t const minority = cluster_.size() - majority_of(cluster_.size());
    if (minority == 0) return true;
    for (std::size_t i = 1 + dice_.below(minority); i > 0; --i)
        cripple(any());
    std::uint64_t const enough = judge_.acknowledged() + kCommands;
    for (int round = 0; round < kRounds && judge_.content() && judge_.acknowledged() < enough; ++round) {
        calm_round();
        client_step();
        if (round % kTimeOutRounds == 0) time_out_cut_operations();
    }
    if (judge_.acknowledged() < enough) judge_.fail("not live: a minority has failed, and the others do not go on");
    return judge_.content();
}

}  // namespace mu::simulation
