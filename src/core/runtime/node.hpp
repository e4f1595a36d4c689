// A replica with threads: one for each plane, and callers.
//
// A caller that finds the replication plane free holds it for as long as its own propose takes, and does the leader's
// work itself: no thread is woken on that path. Callers that find it held leave their request in a queue; whoever
// holds the plane combines what is queued into one slot before letting go. The plane's own thread replays when this
// replica follows; when it leads it only tends followers, now and then.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fabric/endpoint.hpp"
#include "fabric/verbs.hpp"
#include "protocol/commands.hpp"
#include "protocol/replica.hpp"
#include "runtime/latencies.hpp"
#include "runtime/plane_lock.hpp"
#include "runtime/processors.hpp"

namespace mu {

enum class Cores : std::uint8_t {
    shared,     // fewer cores than threads: sleep, and be slow to declare anybody dead
    dedicated,  // a core for every thread: spin
};

inline constexpr Nanoseconds kFollowerNap = 50 * kMicrosecond;  // on shared cores, between looks at a busy log

struct NodeOptions {
    EndpointOptions endpoint;
    std::optional<VerbsOptions> verbs;  // none: shared memory
    Settings settings;
    Cores cores = Cores::shared;
    Nanoseconds follower_nap = kFollowerNap;
};

// What a caller asks for; lives on its stack until `done`.
struct ClientRequest {
    std::span<std::byte const> command;
    SessionRequest session;
    bool wants_reply = false;

    Outcome outcome = Outcome::ok;
    ReplyStatus status = ReplyStatus::ok;
    OwnedBytes reply;
    Offset offset = 0;  // of the slot that holds it
    std::atomic<std::uint32_t> done{0};
    std::uint32_t index = 0;        // which of the slot's commands it is
    ClientRequest* next = nullptr;  // in the queue, then in the slot
};

// What a request takes up in a slot, beside its length word.
[[nodiscard]] inline std::size_t size_in_slot(ClientRequest const& request) noexcept {
    return request.command.size() + (request.session.client != 0 ? kSessionBytes : 0);
}

class Node final : private ReplySink {
public:
    Node(NodeOptions options, StateMachine& machine);
    ~Node() override;
    Node(Node const&) = delete;
    Node& operator=(Node const&) = delete;

    void start();
    // Stops the threads, takes leave of the others and removes the segment. Requests still queued end as not_leader.
    void close() noexcept;
    // Ends as a killed process would: nothing is marked, nothing removed. For tests of the others.
    void abandon() noexcept;

    // Only if it neither has to wait for another thread nor for a follower: false, and nothing was proposed (or it was
    // and run() has to see it through).
    [[nodiscard]] bool try_run(ClientRequest& request);
    // Blocks until the request is done, at most until `deadline` (monotonic); longer only if the plane is held, and the
    // request in a slot already.
    void run(ClientRequest& request, Nanoseconds deadline);
    // Many commands in as few slots as possible, in order; all decided, or the outcome says from where on they are not.
    void run_many(std::span<ClientRequest> requests, Nanoseconds deadline);

    // Calls `function` at a moment when everything decided before the call is executed here and nothing is being
    // executed (linearizable, on the leader).
    template <class Function>
    Outcome read(Function&& function, Nanoseconds deadline) {
        Outcome const outcome = begin_exclusive_read(deadline);
        if (outcome == Outcome::ok) {
            Held const held(*this, std::adopt_lock);
            function();
        }
        return outcome;
    }
    Outcome begin_exclusive_read(Nanoseconds deadline);
    void end_exclusive_read() { release(); }

    // Blocks until this replica leads; false at the deadline, or when it was closed.
    [[nodiscard]] bool wait_until_leading(Nanoseconds deadline) noexcept;

    void pause(bool paused) noexcept { replica_.shared().paused.store(paused, std::memory_order_release); }

    // For whoever measures: the plane itself, held by the caller.
    void hold() { lock_.lock(); }
    void release();
    // The same for as long as it lives, so that the plane is let go whatever is thrown.
    class Held {
    public:
        explicit Held(Node& node) : node_(&node) { node.hold(); }
        Held(Node& node, std::adopt_lock_t) noexcept : node_(&node) {}
        ~Held() {
            if (node_ != nullptr) {
                node_->release();
            }
        }
        Held(Held const&) = delete;
        Held& operator=(Held const&) = delete;
        // It is for somebody else to let it go.
        void leave_held() noexcept { node_ = nullptr; }

    private:
        Node* node_;
    };
    // The same for whoever must not execute anything now: what has been left behind waits for the next holder.
    void let_go() noexcept { lock_.unlock(); }
    // While a propose finds no room: steps the plane, gives way. False once this replica leads no longer.
    [[nodiscard]] bool step_while_held();
    [[nodiscard]] Replica& replica() noexcept { return replica_; }
    [[nodiscard]] Replica const& replica() const noexcept { return replica_; }
    [[nodiscard]] Endpoint& fabric() noexcept { return fabric_; }
    [[nodiscard]] LogFormat const& format() const noexcept { return format_; }
    // Of what callers propose here; whoever holds the plane and proposes by himself times it himself.
    [[nodiscard]] Latencies const& latencies() const noexcept { return latencies_; }
    [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
    // How many forks lie between this process and the one that made its first node: whoever calls a state machine finds out
    // whether the call has come back in a child of fork(), where nothing of the node may be touched.
    [[nodiscard]] static std::uint32_t forks() noexcept;
    // Whether this is a child of fork(), and the node its parent's: it has none of the threads, and no segment; so it is
    // closed.
    [[nodiscard]] bool is_copy() const noexcept { return is_copy_; }
    [[nodiscard]] std::uint32_t max_command() const noexcept;
    // Why this replica stopped; empty while it has not.
    [[nodiscard]] std::string failure() const;

private:
    struct InFlight {
        Offset slot = 0;
        Offset end = 0;
        ClientRequest* first = nullptr;
        bool wants_reply = false;
        Nanoseconds began = Latencies::kUntimed;  // when it was proposed
        ClientRequest* replied = nullptr;         // whose reply came last
    };

    void reply(Offset slot, std::uint32_t index, ReplyStatus status, std::span<std::byte const> bytes) override;

    // Holding the plane:
    void note_decided() noexcept;
    Outcome offer(ClientRequest* first, std::size_t count, std::size_t bytes) noexcept;
    [[nodiscard]] std::span<std::byte const> lay_out(ClientRequest const* first, std::size_t count, std::size_t bytes);
    void settle();
    void fail_in_flight(Outcome outcome);
    void forget(ClientRequest& request) noexcept;
    void drain();
    [[nodiscard]] ClientRequest* take_queue();
    void offer_queue(ClientRequest* queue);
    void step_once();
    void see_through(ClientRequest& request, bool queued, bool late);
    [[nodiscard]] std::size_t offer_some(std::span<ClientRequest> requests, std::size_t begun, std::size_t count,
                                         std::size_t bytes, Nanoseconds deadline);
    std::size_t turn_away(std::span<ClientRequest> requests, Outcome outcome) noexcept;
    [[nodiscard]] std::optional<Outcome> try_read();
    [[nodiscard]] bool worth_waiting(Outcome outcome) const noexcept;
    void halt(char const* what) noexcept;
    // Closed, or stopped by itself in the middle of a command, which must not begin again: nothing is proposed, executed or
    // read any more.
    [[nodiscard]] bool ended() const noexcept {
        return closed_.load(std::memory_order_relaxed) || failed_.load(std::memory_order_relaxed);
    }
    void announce_leadership() noexcept;
    void end_threads() noexcept;
    void answer_all() noexcept;
    void give_up_leading() noexcept;

    // node_fork.cpp
    void hear_of_forks();
    void forget_forks() noexcept;
    void become_copy() noexcept;
    static void in_child() noexcept;

    void finish(ClientRequest& request, Outcome outcome) noexcept;
    void enqueue(ClientRequest& request) noexcept;
    bool withdraw(ClientRequest& request) noexcept;
    [[nodiscard]] bool attempt(ClientRequest& request);
    [[nodiscard]] bool attempt_alone(ClientRequest& request);
    [[nodiscard]] bool turned_away(ClientRequest& request, Outcome outcome) noexcept;

    // node_threads.cpp
    void run_replication();
    void run_background();
    void rest(std::uint32_t ticket, bool busy);
    void take_turns() noexcept;
    void wake_followers(Nanoseconds now);
    void publish_latencies(Nanoseconds now) noexcept;
    void watch_place(Nanoseconds now);

    NodeOptions options_;
    Processors processors_;  // of the replication thread
    std::unique_ptr<Endpoint> const endpoint_;
    Endpoint& fabric_;
    LogFormat format_;
    Replica replica_;
    PlaneLock lock_;
    std::atomic<ClientRequest*> queue_{nullptr};
    std::atomic_flag withdrawing_;  // held by whoever has the queue in his hands without the plane
    std::atomic<bool> step_wanted_{false};
    std::atomic<bool> stopping_{false};
    std::atomic<bool> closed_{false};
    bool is_copy_ = false;
    std::uint32_t leading_ = 0;  // whether this replica leads: a word to sleep on
    std::vector<InFlight> in_flight_;
    Proposal in_flight_under_ = kNoProposal;
    OwnedBytes prefix_;  // reused
    OwnedBytes body_;    // reused
    Latencies latencies_;
    std::thread replication_;
    std::thread background_;
    // The background thread's own: what it last told of latencies, and when.
    std::uint64_t latencies_told_ = 0;
    Nanoseconds told_at_ = 0;
    Nanoseconds place_seen_at_ = 0;
    // The replication thread's own: what it saw of the plane while it held it.
    int idle_rounds_ = 0;
    Replicator::Stage stage_seen_ = Replicator::Stage::follower;
    bool backlog_seen_ = false;
    Offset executed_seen_ = 0;
    Offset turn_from_ = 0;  // executed when this turn began
    Nanoseconds turn_began_ = 0;
    std::atomic<bool> failed_{false};
    std::string failure_;
};

}  // namespace mu
