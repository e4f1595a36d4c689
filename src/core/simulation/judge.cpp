#include "simulation/judge.hpp"

namespace mu::simulation {

namespace {

std::string who(ReplicaId id) { return "replica " + std::to_string(id); }

}  // namespace

void Judge::look(Cluster const& cluster, ReplicaId id) {
    Replica const& replica = cluster.replica(id);
    Seen& seen = seen_[id];
    Position const applied = replica.executor().applied();
    look_at_admission(cluster, id);
    Offset const fuo = load_word(cluster.region(id).own.fuo);
    if (fuo < seen.fuo) fail("the FUO of " + who(id) + " went back");
    seen.fuo = fuo;
    if (applied == seen.applied) return;
    if (applied.offset <= seen.applied.offset) fail("the applied offset of " + who(id) + " went back");
    look_at_commit(cluster, id, applied);
    look_at_history(cluster.machine(id), seen, id);
    look_at_place(replica, seen.executed, id);
    seen.applied = applied;
    if (applied.offset > reached_) {
        reached_ = applied.offset;
        settle_owed();
    }
}

void Judge::look_at_history(Recorder const& machine, Seen& seen, ReplicaId id) {
    if (machine.restored != seen.restored) {
        seen.restored = machine.restored;
        if (machine.history.size() < seen.executed) fail(who(id) + " was restored to an older state");
        seen.executed = 0;  // what was restored is compared from its beginning
    }
    for (; seen.executed < machine.history.size(); ++seen.executed) {
        std::uint64_t const command = machine.history[seen.executed];
        if (seen.executed == history_.size()) {
            extend(command);
        } else if (history_[seen.executed] != command) {
            fail("disagreement: " + who(id) + " executed command " + std::to_string(command) + " as number " +
                 std::to_string(seen.executed) + ", others " + std::to_string(history_[seen.executed]));
            return;
        }
    }
}

void Judge::extend(std::uint64_t command) {
    if (command >= commands_.size() || !commands_[command].proposed) {
        fail("invalid: command " + std::to_string(command) + " was never proposed");
        return;
    }
    if (commands_[command].executed) fail("duplicate: command " + std::to_string(command) + " was executed twice");
    commands_[command].executed = true;
    history_.push_back(command);
}

void Judge::look_at_place(Replica const& replica, std::size_t executed, ReplicaId id) {
    Position const& applied = replica.executor().applied();
    std::size_t const at = applied.offset / kSlotAlignment;
    if (marks_.size() <= at) marks_.resize(std::max(at + 1, marks_.size() * 2));
    Mark& mark = marks_[at];
    Mark const now{true, executed, applied.previous, replica.executor().configuration()};
    if (!mark.set) {
        mark = now;
    } else if (mark.executed != now.executed || mark.previous != now.previous ||
               !(mark.configuration == now.configuration)) {
        fail("disagreement: " + who(id) + " at offset " + std::to_string(applied.offset) + " has executed " +
             std::to_string(now.executed) + " commands, others " + std::to_string(mark.executed) + "; last proposal " +
             std::to_string(now.previous) + ", others " + std::to_string(mark.previous));
    }
}

void Judge::look_at_commit(Cluster const& cluster, ReplicaId id, Position const& applied) {
    if (applied.offset <= held_.executed() || held_.by_majority(cluster, applied)) return;
    fail("not decided: " + who(id) + " has executed up to " + std::to_string(applied.offset) +
         ", which no majority has held; others up to " + std::to_string(held_.executed()));
}

void Judge::look_at_admission(Cluster const& cluster, ReplicaId id) {
    SimWorld const& world = cluster.world;
    if (world.fabric(id).permission() != kNoProposal && cluster.region(id).own.admitted != world.incarnation(id)) {
        fail(who(id) + " has granted before it was admitted");
    }
    Replicator const& replicator = cluster.replica(id).replicator();
    for (ReplicaId of = 1; of <= cluster.size(); ++of) {
        Follower const& follower = replicator.follower(of);
        if (follower.accepted == 0 || !world.alive(of) || follower.grant.incarnation != world.incarnation(of)) continue;
        if (cluster.region(of).own.admitted != world.incarnation(of)) {
            fail(who(id) + " counts " + who(of) + ", which was not admitted");
        }
    }
}

void Judge::accepted(ReplicaId id, Tenure const& writer) {
    Tenure& latest = seen_[id].writer;
    bool const other = writer.proposal == latest.proposal && writer != latest;
    if (writer.proposal < latest.proposal || other) {
        fail("two writers: the log of " + who(id) + " accepted a write of " + who(writer.replica) + " under proposal " +
             std::to_string(writer.proposal) + " after one of " + who(latest.replica) + " under " +
             std::to_string(latest.proposal));
    }
    latest = writer;
}

void Judge::settle_owed() {
    std::erase_if(owed_, [&](Owed const& owed) {
        if (owed.end > reached_) return false;
        if (!commands_[owed.command].executed) {
            fail("lost: command " + std::to_string(owed.command) + " was acknowledged to end at " +
                 std::to_string(owed.end) + ", and is not among what was executed up to " + std::to_string(reached_));
        }
        return true;
    });
}

void Judge::leads(Replicator const& replicator, ReplicaId id) {
    for (auto const& [under, end] : acknowledged_under_) {
        if (under < replicator.proposal() && end > replicator.decided()) {
            fail("lost: " + who(id) + " leads with proposal " + std::to_string(replicator.proposal()) +
                 " from offset " + std::to_string(replicator.decided()) + ", but up to " + std::to_string(end) +
                 " was acknowledged under " + std::to_string(under));
        }
    }
}

void Judge::read_done(Cluster const& cluster, ReplicaId id, Offset must_cover) {
    ++reads_;
    Offset const applied = cluster.replica(id).executor().applied().offset;
    if (applied < must_cover) {
        fail("stale read: " + who(id) + " read at " + std::to_string(applied) + " what had been seen up to " +
             std::to_string(must_cover) + " before the read began");
    }
    read_end_ = std::max(read_end_, applied);
}

}  // namespace mu::simulation
