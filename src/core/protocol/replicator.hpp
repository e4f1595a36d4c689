// The leader's side (paper, section 4): takes over, then decides each slot by one write to every confirmed follower.
//
// A tenure goes through these stages; aborting at any of them is harmless:
//
//     follower -> requesting -> adopting -> sealing -> leading
//
//     requesting  permission is asked of everybody under one new proposal p; grants are promises (takeover.cpp);
//     adopting    of a majority's chains the one whose last slot has the highest proposal is copied, byte for byte,
//                 into one's own log, with what other granters show of the slots before it, where these lead up to it;
//     sealing     followers are taught the same (followers.cpp), and an empty slot with p follows. Nothing is decided
//                 in this tenure before a slot with p has succeeded on a majority;
//     leading     a propose is one write to each confirmed follower: prepare is omitted.
//
// The leader is an acceptor like the others: its own store counts only if its own permission still is p afterwards.
// A failed write removes that follower from the tenure; it may come back later under the same proposal.
#pragma once

#include <array>
#include <optional>

#include "fabric/fabric.hpp"
#include "log.hpp"
#include "protocol/executor.hpp"
#include "protocol/peers.hpp"
#include "protocol/permission.hpp"
#include "protocol/replayer.hpp"
#include "protocol/settings.hpp"

namespace mu {

enum class [[nodiscard]] Outcome : std::uint8_t {
    ok,
    not_leader,     // nothing was proposed
    no_majority,    // nothing was proposed: too few followers are confirmed
    no_room,        // nothing was proposed: followers have not applied enough of the ring yet
    too_large,      // nothing was proposed
    busy,           // nothing was proposed: this replica did not come to it in time
    no_memory,      // nothing was proposed: this process has none left to put it together
    indeterminate,  // proposed, and then the tenure ended: a later leader may yet adopt it
};

// One acceptor as the present tenure sees it; oneself is one of them.
struct Follower {
    enum class Stage : std::uint8_t {
        idle,       // not asked
        requested,  // permission asked
        reading,    // granted; its chain is being read
        known,      // chain known, waiting for the adoption
        updating,   // being taught from `cursor` on
        confirmed,  // every new slot is written to it
        behind,     // needs a snapshot first
    };
    Stage stage = Stage::idle;
    std::uint64_t nonce = 0;
    Nanoseconds asked_at = 0;
    Nanoseconds retry_at = 0;
    Grant grant;
    bool chain_read = false;  // `chain` holds [grant.from, grant.end)
    std::uint32_t reads_left = 0;
    OwnedBytes chain;     // ring-shaped
    Position cursor;      // the next slot to teach
    Offset accepted = 0;  // end of the last slot that is known to be there under this tenure
    Offset applied = 0;   // recycling waits for this

    // Completions name the grant they were made under, so that a late one of an earlier grant counts for nothing.
    static constexpr unsigned kGrantShift = 52;
    [[nodiscard]] std::uint64_t completion_id(Offset end) const noexcept {
        return (nonce << kGrantShift) | (end / kSlotAlignment);
    }
    [[nodiscard]] bool owns(std::uint64_t id) const noexcept {
        return (id ^ (nonce << kGrantShift)) >> kGrantShift == 0;
    }
    [[nodiscard]] static Offset end_named(std::uint64_t id) noexcept {
        return (id & ((1ULL << kGrantShift) - 1)) * kSlotAlignment;
    }

    [[nodiscard]] bool is_written() const noexcept { return stage == Stage::updating || stage == Stage::confirmed; }
    [[nodiscard]] bool is_granted() const noexcept { return stage == Stage::known || is_written(); }
};

class Replicator {
public:
    enum class Stage : std::uint8_t { follower, requesting, adopting, sealing, leading };

    Replicator(Fabric& fabric, LogFormat const& format, Settings const& settings, Shared& shared,
               Permission& permission, Executor& executor, Replayer& replayer, Incarnation incarnation);

    // Everything but proposing: takeover, followers that join, recycling, loss of permission.
    void step(Nanoseconds now);

    // Appends one slot and writes it to all confirmed followers. The value is `prefix`, then `body`.
    Outcome append(SlotKind kind, std::span<std::byte const> prefix, std::span<std::byte const> body);
    // Takes in completions; decided() may have grown, or the tenure may have ended.
    void poll();

    // Whether this tenure still holds its permissions on a majority (linearizable reads): begin, then poll until
    // confirmed() says so or the stage is no longer leading.
    void begin_confirm();
    [[nodiscard]] bool confirmed() const noexcept { return confirms_ >= settings_.majority(); }

    [[nodiscard]] Stage stage() const noexcept { return stage_; }
    [[nodiscard]] bool leading() const noexcept { return stage_ == Stage::leading; }
    [[nodiscard]] bool sealing() const noexcept { return stage_ == Stage::sealing; }
    [[nodiscard]] Proposal proposal() const noexcept { return tenure_.proposal; }
    [[nodiscard]] Incarnation incarnation() const noexcept { return incarnation_; }
    [[nodiscard]] Offset decided() const noexcept { return decided_; }
    [[nodiscard]] Offset tail() const noexcept { return tail_.offset; }
    [[nodiscard]] Offset commit_written() const noexcept { return commit_written_; }
    [[nodiscard]] bool enough_confirmed() const noexcept { return writers_.size() >= settings_.majority(); }
    [[nodiscard]] bool enough_counted() const noexcept { return counted_.size() >= settings_.majority(); }
    [[nodiscard]] std::span<ReplicaId const> writers() const noexcept { return writers_; }
    [[nodiscard]] Follower const& follower(ReplicaId replica) const noexcept { return followers_[replica]; }
    [[nodiscard]] Configuration const& configuration_at_tail() const noexcept { return configuration_; }
    [[nodiscard]] std::uint64_t takeovers() const noexcept { return takeovers_; }
    [[nodiscard]] std::uint64_t aborts() const noexcept { return aborts_; }
    [[nodiscard]] Nanoseconds takeover_began() const noexcept { return started_at_; }
    [[nodiscard]] Nanoseconds took_over_in() const noexcept { return took_over_in_; }

    // Whether the present incarnation of a member was seen not to be admitted yet. (Who has granted is.)
    [[nodiscard]] bool unadmitted(ReplicaId replica) const noexcept {
        OwnCells const& view = peers_.view(replica);
        return !followers_[replica].is_granted() && view.incarnation == configuration_.incarnations[replica] &&
               view.admitted != view.incarnation;
    }
    // What `replica` published of itself lately, and asks for what it publishes now. nullptr: nothing is known.
    [[nodiscard]] OwnCells const* look_at(ReplicaId replica) noexcept;
    void forget(ReplicaId replica) noexcept { peers_.reset(replica); }
    // A transfer holds the ring from `at` on for `joiner`, until that is in the recycling bound itself.
    void hold_for_joiner(ReplicaId joiner, Offset at) noexcept {
        joiner_ = joiner;
        joiner_holds_ = at;
        joiner_learns_ = joiner != kNobody;
    }
    void release_joiner() noexcept { hold_for_joiner(kNobody, 0); }
    // A snapshot brought `replica` up: ask it again now.
    void retry_now(ReplicaId replica) noexcept;
    [[nodiscard]] bool reachable(ReplicaId replica) const noexcept;
    // Whether to bring it up, or even to ask it. Who does not beat would keep everybody waiting, again and again; but
    // without a majority anybody is welcome.
    [[nodiscard]] bool is_wanted(ReplicaId replica) const noexcept;
    // The lowest offset from which followers can still be taught out of one's own log.
    [[nodiscard]] Offset lowest_kept() const noexcept;
    // Adds the record that gives a restarted member its new incarnation, decided without it.
    Outcome append_admission(ReplicaId replica, Incarnation incarnation);
    void abort();

private:
    // Until a peer that took this replica for dead has seen so many heartbeats that it takes it for alive again.
    static constexpr Nanoseconds kDeposedBeats = 10;
    // Time limits of a grant that pass without an answer of a majority until this replica gives way, and for how many.
    static constexpr int kPatience = 3;
    static constexpr int kGivesWayFor = 10;
    // So often the time doubles for which commands wait for a joiner: from half a second to eight, unless told otherwise.
    static constexpr int kMostOutrun = 4;
    // A takeover that is behind waits for others to answer for a fourth of that limit: whoever lives answers at once.
    static constexpr int kAnswersWithin = 4;

    // takeover.cpp
    void start_takeover(Nanoseconds now);
    void ask(ReplicaId replica, Nanoseconds now);
    void ask_self(Nanoseconds now);
    void withdraw_requests();
    void read_grants(Nanoseconds now);
    void granted(ReplicaId replica, Grant const& grant);
    void read_chain(ReplicaId replica);
    void adopt_if_majority(Nanoseconds now);
    [[nodiscard]] ReplicaId best_chain() const noexcept;
    [[nodiscard]] bool awaits_grants(Nanoseconds now) const noexcept;
    void give_up();
    void become_lapped() noexcept;
    void execute_what_granters_have();
    enum class Adoption : std::uint8_t { done, behind, lost };
    [[nodiscard]] Position extend_down(Follower& best) noexcept;
    [[nodiscard]] Adoption copy_adopted(ReplicaId from);
    [[nodiscard]] bool incarnations_agree() noexcept;
    void seal_if_adopted(Nanoseconds now);
    void back_off(Nanoseconds now);

    // followers.cpp
    void tend_followers(Nanoseconds now);
    // Whether what is posted to `replica` can arrive there.
    [[nodiscard]] bool connected(ReplicaId replica) const noexcept;
    void tend_follower(ReplicaId replica, Nanoseconds now);
    void plan_update(ReplicaId replica);
    void update(ReplicaId replica);
    void lose(ReplicaId replica, Nanoseconds retry_at);
    [[nodiscard]] std::optional<Position> common_point(Grant const& grant, std::span<std::byte const> chain) const;
    [[nodiscard]] Position walk(std::span<std::byte const> ring, Position at, Offset until, Offset end) const noexcept;
    [[nodiscard]] Position first_difference(Follower const& follower, Position at) const noexcept;
    void rebuild_writers();

    // replicator.cpp
    [[nodiscard]] bool make_room(std::uint64_t bytes, std::uint64_t reserve);
    // Commands leave this much of the ring to empty slots: a full ring could neither be sealed nor tell its followers
    // what is decided, and so would stay full.
    [[nodiscard]] std::uint64_t reserve() const noexcept { return format_.ring_bytes() / 4; }
    void append_slot(SlotKind kind, std::span<std::byte const> prefix, std::span<std::byte const> body);
    void write_assembled(SlotHeader& header, std::span<std::byte const> prefix, std::span<std::byte const> body,
                         Offset end);
    void write_to_all(Gather const& slot, Offset at, Offset end);
    [[nodiscard]] bool should_lead() const noexcept;
    void heed_deaths() noexcept;
    // Whether a peer has ended since it was asked before.
    bool learn_deaths() noexcept;
    [[nodiscard]] bool alone_for_too_long() noexcept;
    void give_way() noexcept;
    void take_in_refusals();
    void write_failed(ReplicaId replica);
    void append_pad_if_needed(std::uint64_t bytes);
    void carry_commit_when_idle(Nanoseconds now);
    void write_copy(ReplicaId to, Slot const& slot);
    void poll_side();
    void completed(Completion const& completion);
    void count_decided();
    void decide(Offset by_majority);
    void watch_recycling(Nanoseconds now);
    [[nodiscard]] Offset recycle_bound() const noexcept;
    [[nodiscard]] bool lost_own_permission() const noexcept;

    Fabric& fabric_;
    LogFormat const& format_;
    Settings const& settings_;
    Shared& shared_;
    Permission& permission_;
    Executor& executor_;
    Replayer& replayer_;
    Incarnation incarnation_;
    BackgroundRegion& region_;
    Channel& log_;   // replication channel: log writes only
    Channel& side_;  // background cells, from the replication plane
    PeerReader peers_;

    Stage stage_ = Stage::follower;
    Tenure tenure_;
    std::uint64_t nonce_ = 0;
    std::array<Follower, kMaxReplicas> followers_{};
    std::array<Checked<Request>, kMaxReplicas> outgoing_{};  // must outlive the write
    std::vector<ReplicaId> writers_;                         // whom append() writes to: the confirmed
    std::vector<ReplicaId> counted_;                         // whose acceptance counts: those being taught too
    std::vector<std::byte> head_;                            // of a slot whose prefix is long
    std::array<Completion, 2 * kMaxReplicas> completions_;   // of the present poll
    Position tail_;
    Configuration configuration_;  // as of tail_
    std::uint32_t refused_ = 0;    // writes that failed at once, bit by replica id
    Offset seal_end_ = 0;
    Offset decided_ = 0;
    Offset commit_written_ = 0;
    Offset work_end_ = 0;  // of the last slot that followers should come to execute
    Offset tail_seen_ = 0;
    Nanoseconds tail_moved_at_ = 0;
    Position adopted_from_;         // where one's own chain was first changed by the adoption
    Offset lacks_ = 0;              // lapped until this is executed
    std::optional<Offset> behind_;  // where the best chain of this takeover begins: above what this replica has
    Offset write_limit_ = 0;        // append may go this far without looking at the followers again
    ReplicaId joiner_ = kNobody;
    Offset joiner_holds_ = 0;
    bool joiner_learns_ = false;  // its snapshot is on its way
    int outrun_ = 0;              // joiners in a row for which the ring was not held long enough
    Nanoseconds blocked_since_ = 0;
    Nanoseconds alone_since_ = 0;  // without a majority of followers; 0: not alone
    Nanoseconds gives_way_until_ = 0;
    int asked_in_vain_ = 0;  // takeovers in a row to which no majority answered anything
    Nanoseconds started_at_ = 0;
    Nanoseconds next_attempt_ = 0;
    Nanoseconds backoff_ = 0;
    std::array<Incarnation, kMaxReplicas> known_dead_{};  // the life of each peer that is known to have ended
    Nanoseconds took_over_in_ = 0;
    Nanoseconds now_ = 0;  // of the present step
    std::uint64_t confirm_round_ = 0;
    std::size_t confirms_ = 0;
    std::uint64_t takeovers_ = 0;
    std::uint64_t aborts_ = 0;
};

}  // namespace mu
