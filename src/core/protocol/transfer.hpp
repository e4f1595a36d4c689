// Bring-up: how a replica with empty memory, or one that was lapped, gets back in.
//
// A restarted replica is not the same acceptor: it has forgotten what it promised and accepted, and letting it vote can
// lose a decided value. So it has a new incarnation and grants nothing, until a sealed leader has
//   (a) stopped counting what the old incarnation acknowledged,
//   (b) decided the record admit(replica, incarnation) on a majority without it,
//   (c) sent it a snapshot that stands for at least that record, and so for all that the old one may have helped decide,
//   (d) and with it the promise: the replica raises its permission word to the leader's proposal, and only then calls
//       itself admitted. A new leader repeats the transfer, not the record.
// A lapped replica kept its memory: it needs (c) only, and whoever has executed more may give it. Usually the leader does.
// But those who could lead may be paused, or their programs stand aside, and the only one who may lead is the one who
// was lapped: then, as long as nobody leads, they give it what it needs.
//
// A snapshot travels in numbered pieces through the learner's background region; each is acknowledged by a cell. That all
// of it is restored shows in what the learner says that it has executed.
#pragma once

#include "fabric/fabric.hpp"
#include "protocol/executor.hpp"
#include "protocol/permission.hpp"
#include "protocol/replayer.hpp"
#include "protocol/replicator.hpp"

namespace mu {

// The giver's side; one learner at a time.
class Transfer {
public:
    Transfer(Fabric& fabric, Settings const& settings, Shared& shared, Executor& executor, Replicator& replicator);

    // Whether something is under way (so that the plane does not sleep long).
    bool step(Nanoseconds now);

private:
    // In time limits for one piece:
    static constexpr int kRestoresWithin = 30;
    static constexpr int kShunnedFor = 2;

    void look_for_learner(Nanoseconds now);
    [[nodiscard]] Proposal tenure() const noexcept;
    [[nodiscard]] bool needs_snapshot(ReplicaId replica, Incarnation incarnation) const noexcept;
    void look_for_lapped(Nanoseconds now);
    [[nodiscard]] bool take_snapshot(Nanoseconds now);
    [[nodiscard]] bool begin(ReplicaId replica, Incarnation incarnation, Nanoseconds now);
    void send_piece(Nanoseconds now);
    void await_piece(Nanoseconds now);
    [[nodiscard]] Nanoseconds patience() const noexcept;
    void finish(bool delivered) noexcept;

    Fabric& fabric_;
    Settings const& settings_;
    Shared& shared_;
    Executor& executor_;
    Replicator& replicator_;
    BackgroundRegion& region_;
    Channel& side_;
    ReplicaId learner_ = kNobody;
    Piece piece_;
    bool restores_ = false;  // it has taken all pieces
    Offset stands_for_ = 0;  // the snapshot: who has executed up to here has restored it
    OwnedBytes snapshot_;
    Checked<Piece> outgoing_;
    Nanoseconds sent_at_ = 0;
    Nanoseconds look_at_ = 0;
    Nanoseconds give_at_ = 0;  // not before: the state machine has just failed to give a snapshot
    // Who took no piece in time: meanwhile others are served, and a leader without a majority finds that it is alone.
    std::array<Nanoseconds, kMaxReplicas> shunned_until_{};
    Nanoseconds led_at_ = 0;  // when somebody led last, as far as this replica knows
    std::uint64_t transfers_ = 0;
};

// The learner's side.
class Learner {
public:
    Learner(Fabric& fabric, Settings const& settings, Shared& shared, Executor& executor, Permission& permission,
            Replayer& replayer, Incarnation incarnation);

    bool step();

private:
    struct Arriving {
        Incarnation giver = 0;
        std::uint64_t transfer = 0;
        std::uint64_t taken = 0;
        OwnedBytes bytes;
    };

    [[nodiscard]] bool take(ReplicaId from, Piece const& piece);
    void acknowledge(ReplicaId to, Piece const& piece);
    void arrived(ReplicaId from, Piece const& piece, OwnedBytes const& snapshot);
    void become_admitted();

    Fabric& fabric_;
    Settings const& settings_;
    Shared& shared_;
    Executor& executor_;
    Permission& permission_;
    Replayer& replayer_;
    Incarnation incarnation_;
    BackgroundRegion& region_;
    Channel& side_;
    std::array<Arriving, kMaxReplicas> arriving_;
    std::array<Checked<PieceTaken>, kMaxReplicas> outgoing_{};
    Tenure admitted_by_;  // restored a snapshot of this tenure's, not yet admitted
};

}  // namespace mu
