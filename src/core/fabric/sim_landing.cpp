// What happens to the front of a queue: landing whole, landing in part, failing. This is where F1 to F4 are kept.
//
// A torn operation carries the order of its words; a prefix of that order has landed. Whether a log write succeeds is
// judged after its last word has landed (F1), however long after: that is where a writer that was stopped between its
// store and its check looks. And its writer may hear of the judgement much later still.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "common/assert.hpp"
#include "fabric/sim.hpp"

namespace mu {

namespace {

// splitmix64: the order of words only has to be the same for the same seed.
std::uint64_t next_random(std::uint64_t& state) noexcept {
    state += 0x9e3779b97f4a7c15ULL;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 31U);
}

// Orders the words that have not landed yet; `ordered` keeps the first word first and the last one last (F4). The
// result depends on nothing but the seed and on which words are left.
void order_rest(SimOperation& operation, bool ordered, std::uint64_t seed) {
    std::vector<std::uint32_t>& order = operation.order;
    if (order.empty()) {
        order.resize(operation.words());
        std::iota(order.begin(), order.end(), 0U);
    }
    std::size_t const begin = ordered && operation.landed == 0 ? 1 : operation.landed;
    std::size_t const end = ordered ? order.size() - 1 : order.size();
    if (begin >= end) return;
    auto const first = order.begin() + static_cast<std::ptrdiff_t>(begin);
    std::sort(first, order.begin() + static_cast<std::ptrdiff_t>(end));
    if (seed == 0) return;
    for (std::size_t i = end - begin; i > 1; --i) {
        std::swap(order[begin + i - 1], order[begin + next_random(seed) % i]);
    }
}

// Copies the next `words` words, or all that are left.
void transfer(SimOperation& operation, std::byte* to, std::byte const* from, std::size_t words) noexcept {
    std::size_t const total = operation.words();
    if (operation.landed == 0 && words >= total) {
        std::memcpy(to, from, operation.length);
        operation.landed = total;
        return;
    }
    for (; words > 0 && operation.landed < total; --words, ++operation.landed) {
        std::size_t const word = operation.order[operation.landed];
        std::memcpy(to + word * kSimWord, from + word * kSimWord, operation.bytes_of(word));
    }
}

bool same(std::span<std::byte const> part, std::byte const* posted) noexcept {
    return part.empty() || std::memcmp(part.data(), posted, part.size()) == 0;
}

// Whether the writer has left the bytes of its pending write alone.
bool source_unchanged(SimOperation const& operation) noexcept {
    Gather const& source = operation.source;
    std::byte const* const posted = operation.bytes.data();
    return same(source.head, posted) && same(source.body, posted + source.head.size()) &&
           same(source.tail, posted + operation.length - source.tail.size());
}

}  // namespace

void SimWorld::posted(QueueId queue_id) {
    SimQueue& queue = queues_[queue_id];
    SimRoute const& route = queue.route();
    MU_ASSERT(life(route.writer, route.writer_incarnation) != nullptr);  // the dead post nothing
    SimOperation const& operation = queue.at(queue.size() - 1);
    std::size_t const region = operation.region == Region::log ? options_.log_bytes : options_.background_bytes;
    MU_ASSERT(operation.kind == Operation::confirm || operation.length > 0);
    MU_ASSERT(operation.at % kSimWord == 0 && operation.at <= region && operation.length <= region - operation.at);
    if (queue.size() == 1) {
        queue.ready_index = ready_.size();
        ready_.push_back(queue_id);
    }
    if (options_.auto_deliver) drain(queue_id);
    if (moment_hook_) moment_hook_(route.writer, route.plane == Plane::background ? route.plane : Plane::replication);
}

void SimWorld::drain(QueueId queue) {
    while (land(queue)) {
    }
}

std::size_t SimWorld::deliver_all() {
    std::size_t delivered = 0;
    for (std::size_t i = 0; i < ready_.size();) {
        QueueId const queue = ready_[i];
        if (!can_land(queue)) {
            ++i;  // cut off
            continue;
        }
        // Emptying the queue moves another one to place i.
        while (land(queue))
            ++delivered;
    }
    return delivered;
}

bool SimWorld::land(QueueId queue_id) {
    if (!can_land(queue_id)) return false;
    SimQueue& queue = queues_[queue_id];
    finish(queue_id, apply(queue, queue.front().words()) == Effect::whole);
    return true;
}

bool SimWorld::fail_after_effect(QueueId queue_id) {
    if (!can_land(queue_id)) return false;
    SimQueue& queue = queues_[queue_id];
    (void)apply(queue, queue.front().words());
    finish(queue_id, false);
    return true;
}

bool SimWorld::land_unacknowledged(QueueId queue_id) {
    if (!can_land(queue_id)) return false;
    SimQueue& queue = queues_[queue_id];
    bool const done = apply(queue, queue.front().words()) == Effect::whole;
    queue.front().verdict = done ? Verdict::done : Verdict::refused;
    return true;
}

bool SimWorld::fail(QueueId queue) {
    if (queues_[queue].empty()) return false;
    finish(queue, false);
    return true;
}

void SimWorld::disconnect(QueueId queue) {
    MU_ASSERT(queues_[queue].route().writer != queues_[queue].route().target);  // nobody loses sight of himself
    while (fail(queue)) {
    }
    queues_[queue].disconnect();
}

bool SimWorld::land_partly(QueueId queue_id, std::size_t words, std::uint64_t order_seed) {
    if (!can_land(queue_id)) return false;
    SimQueue& queue = queues_[queue_id];
    SimOperation& operation = queue.front();
    if (operation.kind == Operation::confirm) return false;  // has no parts
    order_rest(operation, options_.ordered_writes && operation.kind == Operation::write, order_seed);
    (void)apply(queue, words);
    return true;
}

SimWorld::Effect SimWorld::apply(SimQueue& queue, std::size_t words) {
    SimOperation& operation = queue.front();
    if (operation.verdict != Verdict::open) return operation.verdict == Verdict::done ? Effect::whole : Effect::refused;
    SimFabric* const target = life(queue.route().target, operation.target_incarnation);
    if (target == nullptr) return Effect::refused;
    SimMemory& memory = target->memory();
    if (operation.kind == Operation::write) return apply_write(queue, operation, memory, words);
    if (operation.kind == Operation::read) return apply_read(queue, operation, memory, words);
    return memory.permits(operation.tenure, operation.key) ? Effect::whole : Effect::refused;
}

SimWorld::Effect SimWorld::apply_write(SimQueue& queue, SimOperation& operation, SimMemory& memory, std::size_t words) {
    SimRoute const& route = queue.route();
    std::span<std::byte> region = memory.background();
    if (operation.region == Region::log) {
        if (queue.broken_for(operation)) return Effect::refused;
        region = memory.landing(route.writer, operation.key);
        if (region.empty()) return Effect::refused;
    }
    if (options_.check_sources && life(route.writer, route.writer_incarnation) != nullptr) {
        MU_ASSERT(source_unchanged(operation));  // the bytes must stay as they are until the write has completed
    }
    transfer(operation, region.data() + operation.at, operation.bytes.data(), words);
    if (operation.landed < operation.words()) return Effect::partial;
    bool const accepted = operation.region != Region::log || memory.permits(operation.tenure, operation.key);
    if (accepted && operation.region == Region::log && accept_hook_) accept_hook_(route.target, operation.tenure);
    return accepted ? Effect::whole : Effect::refused;
}

SimWorld::Effect SimWorld::apply_read(SimQueue& queue, SimOperation& operation, SimMemory& memory, std::size_t words) {
    SimRoute const& route = queue.route();
    if (life(route.writer, route.writer_incarnation) == nullptr) return Effect::refused;  // nowhere to read into
    std::span<std::byte const> region = memory.background();
    if (operation.region == Region::log) {
        // A reader without a tenure reads the live ring, and must not mix two: it loads live again at the end.
        if (operation.landed == 0) operation.ring_key = memory.live_key();
        bool const may_change = operation.key == 0 && options_.revocation == Revocation::by_area;
        if (may_change && operation.ring_key != memory.live_key()) return Effect::refused;
        region = memory.readable(route.writer, operation.key);
        if (region.empty()) return Effect::refused;
    }
    transfer(operation, operation.into.data(), region.data() + operation.at, words);
    return operation.landed < operation.words() ? Effect::partial : Effect::whole;
}

void SimWorld::finish(QueueId queue_id, bool success) {
    SimQueue& queue = queues_[queue_id];
    SimOperation const& operation = queue.front();
    SimRoute const& route = queue.route();
    if (!success && operation.log_write()) queue.break_for(operation);
    if (SimFabric* const writer = life(route.writer, route.writer_incarnation)) {
        writer->sim_channel(route.plane).complete({route.target, operation.kind, success, operation.id});
    }
    remove_front(queue_id);
}

void SimWorld::remove_front(QueueId queue_id) {
    SimQueue& queue = queues_[queue_id];
    queue.pop();
    if (!queue.empty()) return;
    QueueId const last = ready_.back();
    ready_[queue.ready_index] = last;
    queues_[last].ready_index = queue.ready_index;
    ready_.pop_back();
}

}  // namespace mu
