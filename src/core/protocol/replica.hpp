// One replica: an acceptor, a follower, and at times the leader. Two planes that are *stepped*; nothing here blocks,
// sleeps, or knows the time but by argument. Production gives each plane a thread; the simulator owns many replicas
// and chooses which plane steps next. It is the same code.
//
//     background plane    heartbeat, scores, formation, permission requests of peers
//     replication plane   replaying as a follower; taking over, proposing and recycling as the leader; bring-up
#pragma once

#include "fabric/fabric.hpp"
#include "log.hpp"
#include "protocol/election.hpp"
#include "protocol/executor.hpp"
#include "protocol/formation.hpp"
#include "protocol/permission.hpp"
#include "protocol/replayer.hpp"
#include "protocol/replicator.hpp"
#include "protocol/settings.hpp"
#include "protocol/transfer.hpp"

namespace mu {

class Replica {
public:
    Replica(Fabric& fabric, LogFormat const& format, Settings settings, StateMachine& machine, Incarnation incarnation);

    // --- Background plane ---
    void step_background(Nanoseconds now);
    // When its next timer is due; a ring may come earlier.
    [[nodiscard]] Nanoseconds background_due() const noexcept { return election_.due(); }
    // Everything of this plane that waits for a peer's word (formation) wants to look again soon.
    [[nodiscard]] bool forming() const noexcept { return !shared_.joined.load(std::memory_order_acquire); }
    [[nodiscard]] bool cluster_exists() const noexcept { return formation_.cluster_exists(); }

    // --- Replication plane ---
    // Whether there was anything to do. Replies to commands decided by this leader go to `sink`.
    bool step_replication(Nanoseconds now, ReplySink* sink);

    // Offers one slot of commands (see commands.hpp). On ok it was written; it is decided once decided() >= tail().
    Outcome propose(std::span<std::byte const> prefix, std::span<std::byte const> body) {
        return replicator_.append(SlotKind::commands, prefix, body);
    }
    // Takes in completions: decided() may have grown, or the tenure may have ended.
    void advance() {
        shared_.steps.store(shared_.steps.load(std::memory_order_relaxed) + 1, std::memory_order_release);
        replicator_.poll();
    }
    // Executes what has been decided, if this replica leads.
    void execute_decided(ReplySink* sink);
    // Linearizable reads: begin_read(), then poll_read() until it no longer says nothing. After `ok` whatever was
    // decided when the read began is executed here, and this replica was the leader then.
    void begin_read();
    [[nodiscard]] std::optional<Outcome> poll_read(ReplySink* sink);

    // May be asked from any thread.
    [[nodiscard]] bool leads() const noexcept { return load_word(own_.leading) != 0; }
    [[nodiscard]] Replicator const& replicator() const noexcept { return replicator_; }
    [[nodiscard]] Executor const& executor() const noexcept { return executor_; }
    [[nodiscard]] Replayer const& replayer() const noexcept { return replayer_; }
    [[nodiscard]] Settings const& settings() const noexcept { return settings_; }
    [[nodiscard]] Shared& shared() noexcept { return shared_; }
    [[nodiscard]] Shared const& shared() const noexcept { return shared_; }
    [[nodiscard]] Incarnation incarnation() const noexcept { return incarnation_; }
    [[nodiscard]] LogFormat const& format() const noexcept { return format_; }

private:
    void obey();
    void beat(Nanoseconds now) noexcept;
    [[nodiscard]] bool join();

    Settings settings_;
    LogFormat const& format_;
    Incarnation incarnation_;
    Shared shared_;
    OwnCells& own_;
    Channel& background_;
    PeerReader background_peers_;
    Election election_;
    Formation formation_;
    Permission permission_;
    Executor executor_;
    Replayer replayer_;
    Replicator replicator_;
    Transfer transfer_;
    Learner learner_;
    bool joined_ = false;  // as the replication plane has taken it in
    Offset read_at_ = 0;
    Nanoseconds beaten_at_ = 0;
    Proposal read_under_ = kNoProposal;
};

}  // namespace mu
