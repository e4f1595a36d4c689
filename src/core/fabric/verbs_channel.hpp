// One plane's way to the peers' memory on verbs.
//
// An operation is staged (its bytes copied into registered memory) when it is asked for, and posted with the next poll()
// or ring(), together with what else waits for that peer: one chain of work requests, of which the last is signalled.
// Writes that continue one another, as slots do, become one work request. What finds no room waits, in order.
//
//     staged → posted → completed, in posting order; a failure completes everything else of that peer as failed
//
// Invariant: a completion that arrives late is of an earlier epoch of its queue, and ignored; and the device writes into
// registered staging memory only, never into a caller's, so nothing of an earlier epoch can.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "fabric/fabric.hpp"
#include "fabric/verbs_acceptor.hpp"
#include "fabric/verbs_link.hpp"
#include "fabric/verbs_peers.hpp"

namespace mu {

// What a channel works with; all of it outlives the channel.
struct VerbsTools {
    VerbsDevice const& device;
    VerbsPeers& peers;
    VerbsAcceptor& acceptor;
    VerbsMemory const& memory;  // one's own
    std::vector<ReplicaId> const& members;
    ReplicaId self = kNobody;
    std::function<void(Plane)> ring_own;
};

class VerbsChannel final : public Channel {
public:
    // `line` says over which queue pairs. Throws FabricError.
    VerbsChannel(VerbsTools const& tools, CompletionQueue const& completions, Line line, std::size_t staging_bytes);

    bool connect(ReplicaId peer) noexcept override;
    [[nodiscard]] Incarnation connected(ReplicaId peer) const noexcept override;
    void begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept override;
    void write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes, std::uint64_t id) noexcept override;
    void read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
              std::uint64_t id) noexcept override;
    void confirm(ReplicaId to, std::uint64_t id) noexcept override;
    std::size_t poll(std::span<Completion> completions) noexcept override;
    void ring(ReplicaId peer, Plane plane) noexcept override;

    // For whoever measures (verbs_floor.cpp). Throws FabricError.
    [[nodiscard]] std::vector<Nanoseconds> bare_writes(std::span<ReplicaId const> to, std::uint64_t at,
                                                       std::size_t bytes, std::size_t count, Nanoseconds (*clock)());

private:
    struct Part {  // of an operation: what one work request may carry
        Operation operation = Operation::write;
        bool last = true;          // of its operation: it completes it
        std::uint32_t length = 0;  // bytes
        std::uint64_t id = 0;
        std::uint64_t address = 0;               // at the peer
        std::uint32_t key = 0;                   // the peer's registration
        std::uint32_t place = 0;                 // in the staging memory, once it has room
        std::byte* into = nullptr;               // of a read
        std::unique_ptr<std::byte[]> held = {};  // of a write that found no room yet
        bool staged = false;
    };
    struct Chain {
        std::uint64_t last = 0;  // the number of its last part, whose completion is its own
        std::size_t requests = 0;
    };
    struct Queue {
        std::shared_ptr<VerbsLink> link;
        bool failed = true;       // nothing succeeds until it is connected, or until its next tenure begins
        bool dirty = false;       // the queue pair has carried something since it was connected
        std::uint32_t inbox = 0;  // the queue pair at the other end of log writes
        Proposal proposal = kNoProposal;
        std::uint32_t log_key = 0;  // of the grant; 0: none
        std::uint32_t epoch = 0;
        std::uint64_t first = 0;  // the number of parts.front()
        std::deque<Part> parts;
        std::size_t posted = 0;       // of parts
        std::deque<Chain> chains;     // that these were posted as
        std::size_t requests = 0;     // of these chains
        std::uint64_t staged_to = 0;  // staging memory as a ring: [staged_from, staged_to) is in use
        std::uint64_t staged_from = 0;
        std::span<std::byte> staging;
    };
    struct Request {
        ibv_send_wr wr{};
        ibv_sge bytes{};
    };

    [[nodiscard]] bool usable(Queue const& queue) const noexcept;
    void add(Queue& queue, Part part, Gather const* bytes) noexcept;
    void stage(Queue& queue, Part& part, Gather const* bytes) noexcept;
    [[nodiscard]] std::byte* take_room(Queue& queue, std::uint32_t length, std::uint32_t& place) noexcept;
    void give_room_back(Queue& queue, Part const& part) noexcept;
    void flush(ReplicaId peer) noexcept;
    [[nodiscard]] std::size_t build_chain(ReplicaId peer, Queue& queue) noexcept;
    void take_in(ibv_wc const& done) noexcept;
    void complete_through(ReplicaId peer, Queue& queue, std::uint64_t number) noexcept;
    void fail(ReplicaId peer, Queue& queue) noexcept;
    void finish(ReplicaId peer, Part const& part, bool success) noexcept;
    void finish_at_once(ReplicaId peer, Operation operation, std::uint64_t id, bool success) noexcept;
    void on_own_memory(Operation operation, Region region, std::uint64_t at, Gather const& bytes,
                       std::span<std::byte> into, std::uint64_t id) noexcept;

    VerbsTools tools_;
    CompletionQueue const& completions_;
    Line line_;
    std::vector<std::byte> staging_;
    Registration staging_registration_;
    std::array<Queue, kMaxReplicas> queues_;
    std::array<Request, kMaxSends> chain_;
    std::vector<Completion> done_;  // not yet handed over, from delivered_ on
    std::size_t delivered_ = 0;
};

}  // namespace mu
