// One redis under the log: which part it plays, and how it changes that. docs/redis.md tells the whole protocol.
//
//     starting ──> following ──> leading ──> following          the ordinary life
//                      ^            │
//                      │            v
//                      └─ joining <─ doubting                   a batch whose fate is open, or that was lost
//
//     following   redis is a replica of the link, which feeds it what is decided
//     leading     redis executes clients' commands; no reply leaves before its batch is decided
//     doubting    a batch was executed, and is not known to be decided: nothing is answered, nothing is fed
//     joining     redis's data is not what the batches make: it takes another redis's data (a full synchronisation)
//                 until that one says, by MU.AT, at which batch it is
//
// Invariants: effects leave this process as a decided batch, or no reply that knows of them does. Redis executes
// clients' commands only in a reign that is in force, after everything that was decided before it. All members but
// `wake`, what the node calls, and the control thread belong to redis's main thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "attach/redis_api.hpp"
#include "attach/redis_ledger.hpp"
#include "attach/redis_link.hpp"
#include "attach/redis_settings.hpp"
#include "attach/redis_tap.hpp"
#include "mu.h"

namespace mu::redis {

enum class Role : std::uint8_t { starting, following, leading, doubting, joining };

class Server final : public TapOwner {
public:
    explicit Server(ModuleSettings settings);
    ~Server() override;
    Server(Server const&) = delete;
    Server& operator=(Server const&) = delete;

    // Opens everything; returns what went wrong, or nothing.
    [[nodiscard]] std::string start();
    // Takes leave of the other replicas.
    void stop() noexcept;

    // --- Once per pass of the event loop, before anything is executed in it ---
    void after_sleep(RedisModuleCtx* context);
    // Redis has begun to load another one's data.
    void data_are_replaced() noexcept;
    void replica_changed(bool online) noexcept { replicas_ += online ? 1 : (replicas_ > 0 ? -1 : 0); }
    // Has after_sleep look around soon. From any thread, and from signal handlers.
    void wake() noexcept;
    void ask_for_dump() noexcept;

    // --- The tap ---
    [[nodiscard]] bool collects() noexcept override;
    void collect(std::span<std::byte const> effects) override;
    void decide() override;
    [[nodiscard]] bool may_reply() override;
    [[nodiscard]] bool has_executed() const noexcept override { return executed_ && role() == Role::leading; }

    [[nodiscard]] bool may_connect() noexcept override;

    // --- For the filter and the commands ---
    // A command is about to be executed: what was confirmed before says nothing about it.
    void command_comes() noexcept {
        confirmed_ = false;
        executed_ = true;
    }
    [[nodiscard]] bool accepts() const noexcept { return accepting_ && mu_leads(node_); }
    [[nodiscard]] Role role() const noexcept { return role_.load(std::memory_order_relaxed); }
    [[nodiscard]] bool frozen() const noexcept { return frozen_; }
    [[nodiscard]] bool may_be_copied() const noexcept;
    // Whether redis holds what the batches up to a known one make.
    [[nodiscard]] bool holds_data() const { return brought_up_ && ledger_.view().trusted; }
    // Whether redis's own settings were right when it was last asked (redis_needs).
    [[nodiscard]] bool settings_hold() const noexcept { return wrong_setting_.empty(); }
    // Whether this descriptor is redis's connection to what it replicates: the link, or a donor.
    [[nodiscard]] bool is_from_link(int descriptor) const noexcept;
    // MU.AT came over redis's link.
    void at(RedisModuleCtx* context, std::uint64_t number);
    // A command that came over redis's link was refused: what redis holds is not what was decided.
    void stream_is_broken();
    [[nodiscard]] ModuleSettings const& settings() const noexcept { return settings_; }
    // Whom clients should write to; nullptr if nobody is known.
    [[nodiscard]] PeerAddress const* leader() const noexcept;
    [[nodiscard]] PeerAddress const* peer(std::uint32_t replica) const noexcept;
    [[nodiscard]] mu_status_t status() const noexcept;
    [[nodiscard]] Ledger::View ledger_view() const { return ledger_.view(); }
    // How long this leader's last batches took to be decided, in ns; zeros if there were none.
    struct Quantiles {
        std::uint32_t p50 = 0;
        std::uint32_t p99 = 0;
    };
    [[nodiscard]] Quantiles recent_latencies() const;

private:
    // redis_batches.cpp
    enum class Fate : std::uint8_t { decided, open, lost };
    [[nodiscard]] Fate propose_batch();
    void doubt(Fate fate);
    [[nodiscard]] bool confirm() noexcept;
    void note_latency(std::int64_t began) noexcept;
    void dump_latencies();

    // redis_role.cpp
    void become(Role role);
    void follow(RedisModuleCtx* context, std::uint64_t number);
    void tick_following(RedisModuleCtx* context);
    void promote(RedisModuleCtx* context);
    void tick_leading(RedisModuleCtx* context);
    void tick_doubting(RedisModuleCtx* context);
    void begin_join(RedisModuleCtx* context);
    void begin_join_with_lost_batch(RedisModuleCtx* context);
    void try_to_redeem(RedisModuleCtx* context);
    [[nodiscard]] bool begin_writing(RedisModuleCtx* context, std::uint64_t tenure);
    void tick_joining(RedisModuleCtx* context);
    void disarmed(RedisModuleCtx* context, char const* why);
    [[nodiscard]] PeerAddress const* choose_donor();
    void mark_for_replicas(RedisModuleCtx* context);
    void consider_fitness(RedisModuleCtx* context);
    [[nodiscard]] bool has_caught_up() noexcept;
    [[nodiscard]] bool stream_was_sound(RedisModuleCtx* context);
    [[nodiscard]] bool is_last_resort() noexcept;
    [[nodiscard]] bool tap_is_armed(RedisModuleCtx* context);
    void look_at_settings(RedisModuleCtx* context);
    void tell_of_leader(RedisModuleCtx* context);
    void replicate_from(RedisModuleCtx* context, std::string const& host, int port);
    [[nodiscard]] bool replicate_from_nobody(RedisModuleCtx* context);

    void control();
    void propose_reign();
    void consider_silence(std::int64_t now) noexcept;
    void end_if_engine_stopped() noexcept;

    ModuleSettings settings_;
    Ledger ledger_;
    Link link_;
    mu_node* node_ = nullptr;
    int waker_ = -1;
    int end_of_pass_ = -1;  // the tap's marker
    std::atomic<bool> wanted_{false};
    std::atomic<bool> dump_wanted_{false};
    std::atomic<Role> role_{Role::starting};
    std::atomic<bool> fit_{false};
    std::atomic<bool> stopping_{false};
    std::thread control_;
    std::int64_t answered_at_ = 0;  // redis, when it was last woken; of the control thread
    bool engine_stopped_ = false;   // and this was told; the same

    // The reign.
    std::uint64_t tenure_ = 0;
    std::uint64_t reign_ = 0;
    std::uint64_t batches_ = 0;  // proposed in this reign
    bool accepting_ = false;     // the tap has proved itself in this reign: clients may write
    bool confirmed_ = false;     // leadership, after the last command was executed
    bool executed_ = false;      // a command, in this pass
    bool deposed_ = false;       // it could not be confirmed
    bool blackout_ = false;      // no reply leaves before the next pass
    Fate fate_ = Fate::decided;  // of the batch in doubt
    int database_ = 0;           // that redis's effects go to, at the end of the batch
    OwnedBytes batch_;           // room for the head, then the effects of this pass
    std::vector<std::uint32_t> latencies_;
    std::size_t latencies_noted_ = 0;

    // Following.
    std::int64_t followed_at_ = 0;
    std::int64_t stream_errors_ = 0;  // that redis has counted
    std::int64_t stream_checked_at_ = 0;

    // Joining.
    bool frozen_ = false;  // redis is where it should be: nothing more may be executed before it follows the link
    std::uint64_t joined_at_ = 0;
    std::int64_t patience_until_ = 0;
    bool donor_gave_data_ = false;
    bool transferring_ = false;
    bool spoiled_ = false;  // what comes from this donor is of no use any more
    std::size_t donor_ = 0;
    std::size_t asked_ = 0;  // how many, for these data
    std::int64_t connects_since_ = 0;
    std::size_t connects_ = 0;
    int replicated_port_ = 0;  // what redis replicates, last
    int listens_at_ = 0;       // redis itself

    // A batch that was lost. Redis has executed it, and nothing else but the batches up to lost_at_, while is_intact_.
    OwnedBytes lost_;
    std::uint64_t lost_at_ = 0;
    bool is_intact_ = false;
    std::int64_t joining_since_ = 0;
    std::atomic<bool> redeems_{
        false};  // nobody's data can be had: it is for this replica to propose the lost batch again

    int replicas_ = 0;  // of redis's own: others that join by way of this one
    std::uint64_t marked_ = 0;
    std::int64_t armed_checked_at_ = 0;
    bool armed_ = false;
    std::string wrong_setting_;  // of redis's, as it was told in the log
    std::int64_t disarmed_until_ = 0;
    std::uint32_t told_leader_ = 0;
    std::int64_t leaderless_since_ = 0;  // while in doubt
    bool brought_up_ = false;            // redis has held once what had been decided when its engine was admitted
    std::optional<std::uint64_t> catches_up_to_;
};

// The one of this process.
[[nodiscard]] Server* server() noexcept;

}  // namespace mu::redis
