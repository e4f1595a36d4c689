// Operations that have been posted in a simulated world and have not finished yet.
//
// One SimQueue holds what one life of one replica has posted on one plane to one peer. Only its front may land (F3);
// which queue moves next is the driver's choice, so the order between different pairs is free. A queue also knows
// what its channel knows about the peer: the incarnation it is connected to, and the tenure it writes as.
//
// Invariant: an operation carries the generation in which it was posted (begin_tenure and connect each begin one).
// Once a log write of generation g has failed, no log write of a generation up to g ever lands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/assert.hpp"
#include "common/types.hpp"
#include "fabric/fabric.hpp"

namespace mu {

using QueueId = std::uint32_t;

inline constexpr std::size_t kSimWord = 8;  // bytes that are never torn (F4)

struct SimRoute {
    ReplicaId writer = kNobody;
    Incarnation writer_incarnation = 0;
    Plane plane = Plane::replication;
    ReplicaId target = kNobody;
};

// What became of an operation at its target: its writer hears of it later.
enum class Verdict : std::uint8_t { open, done, refused };

// One posted operation. Slots of a queue are used again, so that the vectors keep their capacity.
struct SimOperation {
    Operation kind = Operation::write;
    Region region = Region::log;
    std::uint64_t at = 0;
    std::size_t length = 0;  // bytes as laid out in the region, padding included
    std::uint64_t id = 0;

    Incarnation target_incarnation = 0;
    Tenure tenure;  // of no proposal if the channel has not begun one
    std::uint64_t key = 0;
    std::uint64_t generation = 0;

    Gather source;                 // what the writer promised to leave alone
    std::span<std::byte> into;     // where a read goes
    std::vector<std::byte> bytes;  // a write's bytes as they were when posted: they outlive their writer

    std::vector<std::uint32_t> order;  // of the words, once the operation has been torn; [0, landed) have landed
    std::size_t landed = 0;            // words
    std::uint64_t ring_key = 0;        // the grant under which a torn read began to copy the log
    Verdict verdict = Verdict::open;

    [[nodiscard]] std::size_t words() const noexcept { return (length + kSimWord - 1) / kSimWord; }
    [[nodiscard]] bool log_write() const noexcept { return kind == Operation::write && region == Region::log; }
    // The bytes of word `word`: only the last one may be short.
    [[nodiscard]] std::size_t bytes_of(std::size_t word) const noexcept {
        std::size_t const rest = length - word * kSimWord;
        return rest < kSimWord ? rest : kSimWord;
    }
};

class SimQueue {
public:
    // Makes the queue that of another life; it must be empty.
    void begin(SimRoute const& route) noexcept {
        MU_ASSERT(empty());
        route_ = route;
        connected_ = 0;
        tenure_ = Tenure{};
        key_ = 0;
        generation_ = 1;
        failed_generation_ = 0;
    }

    [[nodiscard]] SimRoute const& route() const noexcept { return route_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] SimOperation& at(std::size_t index) noexcept { return ring_[(head_ + index) & (ring_.size() - 1)]; }
    [[nodiscard]] SimOperation const& at(std::size_t index) const noexcept {
        return ring_[(head_ + index) & (ring_.size() - 1)];
    }
    [[nodiscard]] SimOperation& front() noexcept {
        MU_ASSERT(count_ > 0);
        return at(0);
    }
    [[nodiscard]] SimOperation const& front() const noexcept {
        MU_ASSERT(count_ > 0);
        return at(0);
    }

    // A new operation at the end, stamped with what the channel is at this moment.
    SimOperation& push() {
        if (count_ == ring_.size()) grow();
        SimOperation& operation = at(count_++);
        operation.target_incarnation = connected_;
        operation.tenure = tenure_;
        operation.key = key_;
        operation.generation = generation_;
        operation.source = Gather{};
        operation.into = {};
        operation.order.clear();
        operation.landed = 0;
        operation.ring_key = 0;
        operation.verdict = Verdict::open;
        return operation;
    }
    void pop() noexcept {
        MU_ASSERT(count_ > 0);
        head_ = (head_ + 1) & (ring_.size() - 1);
        --count_;
    }

    [[nodiscard]] Incarnation connected() const noexcept { return connected_; }
    void connect(Incarnation incarnation) noexcept {
        if (incarnation == connected_) return;
        connected_ = incarnation;
        begin_tenure(Tenure{}, 0);  // a tenure is granted by one incarnation and dies with it
    }
    void disconnect() noexcept { connected_ = 0; }
    void begin_tenure(Tenure const& tenure, std::uint64_t key) noexcept {
        tenure_ = tenure;
        key_ = key;
        ++generation_;
    }

    [[nodiscard]] bool broken_for(SimOperation const& operation) const noexcept {
        return operation.generation <= failed_generation_;
    }
    void break_for(SimOperation const& operation) noexcept {
        if (operation.generation > failed_generation_) failed_generation_ = operation.generation;
    }

    // The world's note of where this queue stands in its list of queues that have something pending.
    std::size_t ready_index = 0;

private:
    // Doubles the ring; the operations move to its front in order, and their buffers with them.
    void grow() {
        std::vector<SimOperation> larger(ring_.empty() ? 4 : ring_.size() * 2);
        for (std::size_t i = 0; i < count_; ++i)
            larger[i] = std::move(at(i));
        ring_ = std::move(larger);
        head_ = 0;
    }

    SimRoute route_;
    std::vector<SimOperation> ring_;  // its size is a power of two
    std::size_t head_ = 0;
    std::size_t count_ = 0;

    Incarnation connected_ = 0;
    Tenure tenure_;
    std::uint64_t key_ = 0;
    std::uint64_t generation_ = 1;
    std::uint64_t failed_generation_ = 0;
};

// One line for transcripts: who, on which plane, to whom, what, where, how much, as which tenure.
[[nodiscard]] std::string describe(SimRoute const& route, SimOperation const& operation);

}  // namespace mu
