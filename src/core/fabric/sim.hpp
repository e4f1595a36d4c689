// The sim fabric: N replicas' memories in one thread, without clocks, threads or chance of its own.
//
// What a replica posts becomes a pending operation. The driver (a test, or the simulator with its seed) decides which
// of them lands next, tears, fails, lands but is reported as failed, or never moves again, and who crashes, restarts
// and is cut off. So the sim states exactly the freedoms of the contract in fabric.hpp, and leaves their use to the
// driver. For simple tests auto_deliver (the default) lands every operation as it is posted, as shm does.
//
//     SimWorld world({.replicas = 3, .auto_deliver = false});
//     world.fabric(1).channel(Plane::replication).write(2, …);
//     QueueId queue = world.queue_of(1, Plane::replication, 2);
//     world.land_partly(queue, 3);        // three words of it are visible now
//     world.fail(queue);                  // and the writer learns no more than that it failed
//
// Invariant: whatever a driver does through this interface, F1–F4 hold; F5 is the driver's duty (it must let every
// live replica's operation finish in the end). What the fabric's users promise is checked: a write's bytes must stay as
// they are until it has completed, and the dead post nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/types.hpp"
#include "fabric/fabric.hpp"
#include "fabric/sim_memory.hpp"
#include "fabric/sim_queue.hpp"

namespace mu {

class SimWorld;

struct SimOptions {
    std::size_t replicas = 3;                       // ids 1 … replicas
    std::size_t log_bytes = std::size_t{1} << 16U;  // a power of two
    std::size_t background_bytes = 4096;
    Revocation revocation = Revocation::by_area;
    bool ordered_writes = true;  // false: the words of a torn write land in any order (as on soft-RoCE)
    bool auto_deliver = true;    // operations land when posted
    bool auto_discover = true;   // everybody sees a new incarnation at once
    bool check_sources = false;  // a live writer that changes bytes under a pending write is an invariant broken
};

class SimChannel final : public Channel {
public:
    SimChannel(SimWorld& world, QueueId first_queue) noexcept : world_(world), first_queue_(first_queue) {}

    bool connect(ReplicaId peer) noexcept override;
    [[nodiscard]] Incarnation connected(ReplicaId peer) const noexcept override;
    void begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept override;
    void write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes, std::uint64_t id) noexcept override;
    void read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
              std::uint64_t id) noexcept override;
    void confirm(ReplicaId to, std::uint64_t id) noexcept override;
    std::size_t poll(std::span<Completion> completions) noexcept override;
    void ring(ReplicaId peer, Plane plane) noexcept override;

    void complete(Completion const& completion) { completions_.push_back(completion); }
    [[nodiscard]] std::size_t unpolled() const noexcept { return completions_.size() - polled_; }
    void drop_completions() noexcept;
    void coalesce_completions() noexcept;
    // Queues of one channel follow each other by target; replica 0 is nobody, but has one too.
    [[nodiscard]] QueueId queue_to(ReplicaId peer) const noexcept;

private:
    SimWorld& world_;
    QueueId first_queue_;
    std::vector<Completion> completions_;
    std::size_t polled_ = 0;
};

// One life of one replica. It lives until the replica restarts or the world ends.
class SimFabric final : public Fabric {
public:
    SimFabric(SimWorld& world, ReplicaId self, Incarnation incarnation, QueueId first_queue);

    [[nodiscard]] Channel& channel(Plane plane) noexcept override { return sim_channel(plane); }
    [[nodiscard]] std::span<std::byte> background() noexcept override { return memory_.background(); }
    [[nodiscard]] LogView log() noexcept override { return memory_.log(); }
    [[nodiscard]] bool same_log(LogView const& view) noexcept override;
    [[nodiscard]] std::span<std::byte const> own_log() noexcept override { return memory_.own_log(); }
    [[nodiscard]] Proposal permission() const noexcept override { return memory_.permission(); }
    [[nodiscard]] std::uint64_t permit(Tenure const& tenure, Keeper& keeper) noexcept override;
    [[nodiscard]] PeerState peer(ReplicaId peer) noexcept override;
    [[nodiscard]] bool is_runnable(ReplicaId peer) noexcept override;
    [[nodiscard]] bool ordered_writes() const noexcept override;

    [[nodiscard]] ReplicaId self() const noexcept { return self_; }
    [[nodiscard]] Incarnation incarnation() const noexcept { return incarnation_; }
    [[nodiscard]] bool alive() const noexcept { return alive_; }
    [[nodiscard]] QueueId first_queue() const noexcept { return first_queue_; }
    [[nodiscard]] SimMemory& memory() noexcept { return memory_; }
    [[nodiscard]] SimMemory const& memory() const noexcept { return memory_; }
    [[nodiscard]] SimChannel& sim_channel(Plane plane) noexcept { return channels_[static_cast<std::size_t>(plane)]; }

private:
    friend class SimWorld;

    SimWorld& world_;
    ReplicaId self_;
    Incarnation incarnation_;
    QueueId first_queue_;
    bool alive_ = true;
    SimMemory memory_;
    std::array<SimChannel, kPlanes> channels_;
    std::array<PeerState, kMaxReplicas> peers_{};  // as this replica sees them
    std::array<bool, kPlanes> rung_{};
};

class SimWorld {
public:
    explicit SimWorld(SimOptions const& options = {});
    SimWorld(SimWorld const&) = delete;
    SimWorld& operator=(SimWorld const&) = delete;

    [[nodiscard]] SimOptions const& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t replicas() const noexcept { return options_.replicas; }
    // The present life of a replica, or, between crash and restart, the one that has ended.
    [[nodiscard]] SimFabric& fabric(ReplicaId replica) noexcept;
    [[nodiscard]] SimFabric const& fabric(ReplicaId replica) const noexcept;
    [[nodiscard]] bool alive(ReplicaId replica) const noexcept { return fabric(replica).alive(); }
    [[nodiscard]] Incarnation incarnation(ReplicaId replica) const noexcept { return fabric(replica).incarnation(); }

    // What is pending. ready() lists the queues with something in them, cut off or not, in an order that only depends
    // on what has happened so far. Posting, landing and failing change it.
    [[nodiscard]] std::span<QueueId const> ready() const noexcept { return ready_; }
    [[nodiscard]] SimQueue const& queue(QueueId queue) const noexcept { return queues_[queue]; }
    [[nodiscard]] QueueId queue_of(ReplicaId writer, Plane plane, ReplicaId target) const noexcept;
    [[nodiscard]] bool can_land(QueueId queue) const noexcept;           // not empty and not cut off
    [[nodiscard]] std::size_t words_left(QueueId queue) const noexcept;  // of the front; 0 of a confirm
    [[nodiscard]] bool orphaned(QueueId queue) const noexcept;           // its writer's life has ended
    [[nodiscard]] std::string describe(QueueId queue) const;             // the front, in one line
    [[nodiscard]] std::vector<std::string> describe_pending() const;     // all, front first within each queue

    // What may happen to the front of a queue. Each answers whether it could: not if the queue is empty, and what
    // touches the target's memory not while the writer is cut off from it.
    bool land(QueueId queue);                 // whole; then the completion can be polled
    bool fail(QueueId queue);                 // nothing more of it lands; it completes with failure
    bool fail_after_effect(QueueId queue);    // it lands, but its writer is told that it failed
    bool land_unacknowledged(QueueId queue);  // it lands and is judged; what comes next is its completion
    // The connection breaks: what is pending fails, and so does what is posted until the channel connects anew.
    void disconnect(QueueId queue);
    // Lands `words` more words and leaves the rest pending. First the first word, last the last; those between, and
    // those of a read or of a world without ordered writes, in the order of addresses if the seed is 0, and otherwise
    // in one drawn from the seed. When all words have landed, only the judgement and the completion are pending.
    bool land_partly(QueueId queue, std::size_t words, std::uint64_t order_seed = 0);
    // Lands and completes all that is not cut off, until nothing is left; returns how many operations.
    std::size_t deliver_all();
    void auto_deliver(bool on);
    void auto_discover(bool on) noexcept { options_.auto_discover = on; }

    // A success stands for all earlier writes to the same peer: forgets those that a later one stands for.
    void coalesce_completions(ReplicaId replica, Plane plane) noexcept;
    // Forgets all that were not polled yet. Outside the contract unless the replica never polls again.
    void drop_completions(ReplicaId replica, Plane plane) noexcept;

    // Its memory is gone at once. What it had posted stays pending, and may land even after its restart.
    void crash(ReplicaId replica);
    // Drops what the ended lives of a replica still have pending; returns how many operations.
    std::size_t lose_orphans(ReplicaId replica);
    // A new life: zeroed memory, a larger incarnation. The SimFabric of the old one is destroyed.
    SimFabric& restart(ReplicaId replica);
    void discover(ReplicaId observer,
                  ReplicaId replica) noexcept;  // the observer sees the present incarnation
    // From now on everybody is told that `replica` is neither stopped nor ended, whatever is true.
    void vouch_runnable(ReplicaId replica, bool runnable) noexcept;
    void report_gone(ReplicaId observer, ReplicaId replica) noexcept;
    void report_gone(ReplicaId replica) noexcept;  // to everybody who still sees an incarnation that has ended

    void cut(ReplicaId from, ReplicaId to) noexcept;  // one direction: who posts → whose memory
    void heal(ReplicaId from, ReplicaId to);
    [[nodiscard]] bool is_cut(ReplicaId from, ReplicaId to) const noexcept { return cut_[from][to]; }

    [[nodiscard]] bool take_ring(ReplicaId replica, Plane plane) noexcept;

    // Called inside permit(), so that a driver can land operations there too.
    using PermitHook = std::function<void(ReplicaId, PermitStage)>;
    void on_permit(PermitHook hook) { permit_hook_ = std::move(hook); }
    // Called in the middle of a replica's step: after each operation that it has posted, and before and after each look
    // at whether its log is still the same. So a driver can stop it there, and let the others and its own other plane go
    // on for as long as it likes. `plane` is the one that is in the middle of something.
    using MomentHook = std::function<void(ReplicaId, Plane plane)>;
    void on_moment(MomentHook hook) { moment_hook_ = std::move(hook); }
    // Called when a write to the log of a replica has landed and is accepted: whose it was.
    using AcceptHook = std::function<void(ReplicaId target, Tenure const& writer)>;
    void on_accept(AcceptHook hook) { accept_hook_ = std::move(hook); }

private:
    friend class SimChannel;
    friend class SimFabric;

    // For SimChannel: `queue` has a new operation at its end.
    void posted(QueueId queue);
    bool connect(QueueId queue) noexcept;
    void ring(ReplicaId target, Plane plane) noexcept;

    // What the front does to its target's memory, up to `words` more words of it.
    enum class Effect : std::uint8_t { refused, partial, whole };
    Effect apply(SimQueue& queue, std::size_t words);
    Effect apply_write(SimQueue& queue, SimOperation& operation, SimMemory& memory, std::size_t words);
    Effect apply_read(SimQueue& queue, SimOperation& operation, SimMemory& memory, std::size_t words);
    // Takes the front away and tells its writer, if that life still lasts.
    void finish(QueueId queue, bool success);
    void remove_front(QueueId queue);
    void drain(QueueId queue);

    [[nodiscard]] SimFabric* life(ReplicaId replica, Incarnation incarnation) noexcept;
    [[nodiscard]] QueueId new_queues(ReplicaId writer, Incarnation incarnation);
    [[nodiscard]] bool all_empty(QueueId first) const noexcept;
    [[nodiscard]] std::size_t queues_per_life() const noexcept { return kPlanes * (options_.replicas + 1); }
    void begin_life(ReplicaId replica);

    SimOptions options_;
    std::array<std::unique_ptr<SimFabric>, kMaxReplicas> fabrics_;
    std::vector<SimQueue> queues_;  // blocks of queues_per_life()
    std::vector<QueueId> retired_;  // the first queues of lives that have ended
    std::vector<QueueId> ready_;
    std::array<std::array<bool, kMaxReplicas>, kMaxReplicas> cut_{};
    Incarnation last_incarnation_ = 0;
    std::uint32_t runnable_ = 0;  // bit by replica id
    PermitHook permit_hook_;
    MomentHook moment_hook_;
    AcceptHook accept_hook_;
};

}  // namespace mu
