#include "protocol/replayer.hpp"

#include <algorithm>

#include "common/assert.hpp"
#include "common/ordered_copy.hpp"

namespace mu {

Replayer::Replayer(Fabric& fabric, LogFormat const& format, Executor& executor, Shared& shared) noexcept
    : fabric_(fabric),
      format_(format),
      executor_(executor),
      shared_(shared),
      own_(reinterpret_cast<BackgroundRegion*>(fabric.background().data())->own) {}

bool Replayer::step(Nanoseconds now) {
    LogView const view = fabric_.log();
    if (view.bytes.empty()) {
        return false;
    }
    // With another writer, what was walked before was another ring. And until a slot of the present writer's own ends
    // the chain, that writer may still replace what was walked, from some slot in its middle.
    bool const may_change = scan_.previous != view.proposal && !found_;
    if (view.proposal != writer_ || scan_.offset < executor_.applied().offset || may_change) {
        writer_ = view.proposal;
        scan_ = executor_.applied();
        walked_.clear();
    }
    Position const before = walked_to_;
    found_ = scan(view);
    walked_to_ = scan_;
    bool const found = found_ && walked_to_ != before;
    bool const executed = execute_decided(view);
    more_ = more_ || executor_.applied().offset < std::min(decided_, scan_.offset);
    if (found || executed) {
        shared_.active_at.store(now, std::memory_order_relaxed);
    }
    publish();  // also what a tenure that has just ended left to be told
    return found || executed;
}

bool Replayer::scan(LogView const& view) noexcept {
    Position at = scan_;
    Offset commit = decided_;
    more_ = true;
    // What was executed is forgotten; usually that is everything.
    std::erase_if(walked_, [&](SlotHeader const& header) { return header.offset < executor_.applied().offset; });
    next_walked_ = 0;
    Offset const until = std::min(executor_.applied().offset + format_.ring_bytes(), scan_.offset + kBytesPerStep);
    for (int i = 0; i < kSlotsPerStep && at.offset < until; ++i) {
        std::optional<Slot> const slot = format_.parse(view.bytes, at);
        if (!slot) {
            more_ = false;
            break;
        }
        MU_ASSERT(slot->header.commit <= slot->header.offset);
        commit = std::max(commit, slot->header.commit);
        walked_.push_back(slot->header);
        at = slot->after();
        format_.prefetch(view.bytes, at.offset + kReadAhead);
    }
    if (at == scan_ || !fabric_.same_log(view)) {
        walked_.clear();
        return false;
    }
    shared_.saw(at.previous);  // proposals only grow along a chain
    scan_ = at;
    decided_ = commit;
    return true;
}

bool Replayer::execute_decided(LogView const& view) {
    Offset const until = std::min(decided_, scan_.offset);
    if (executor_.applied().offset >= until) {
        return false;
    }
    Executor::Run const run(executor_);
    for (int i = 0; i < kSlotsPerStep && executor_.applied().offset < until; ++i) {
        if (!execute_next(view)) {
            break;
        }
        publish_if_far();
    }
    return true;
}

// The slot at applied(): as the walk found it, if it came by; whoever uses it checks that it is unchanged either way.
std::optional<Slot> Replayer::next_slot(LogView const& view) noexcept {
    if (next_walked_ < walked_.size() && walked_[next_walked_].offset == executor_.applied().offset) {
        SlotHeader const& header = walked_[next_walked_++];
        return Slot{header, format_.value_of(view.bytes, header)};
    }
    return format_.parse(view.bytes, executor_.applied());
}

bool Replayer::execute_next(LogView const& view) {
    std::optional<Slot> const slot = next_slot(view);
    if (!slot) {
        return false;
    }
    if (value_.size() < slot->value.size()) {
        value_.resize(slot->value.size());
    }
    std::span<std::byte> const value = std::span(value_).first(slot->value.size());
    racy_copy_out(value.data(), slot->value.data(), value.size());
    if (!format_.unchanged(view.bytes, *slot) || !fabric_.same_log(view)) {
        return false;
    }
    executor_.execute(slot->header, value, nullptr);
    return true;
}

void Replayer::execute_own(Offset until, ReplySink* sink) {
    std::span<std::byte const> const ring = fabric_.own_log();
    {
        Executor::Run const run(executor_);
        while (executor_.applied().offset < until) {
            std::optional<Slot> const slot = format_.parse(ring, executor_.applied());
            MU_ASSERT(slot.has_value());  // a leader's own log holds everything it has decided
            executor_.execute(slot->header, slot->value, sink);
        }
    }
    publish_if_far();
}

// The leader waits for room until it is published; and one's own landing areas are kept from the published position on,
// so that must not fall a lap behind.
void Replayer::publish_if_far() noexcept {
    if (executor_.applied().offset - published_ > format_.ring_bytes() / 16) {
        publish();
    }
}

void Replayer::restored() noexcept {
    scan_ = executor_.applied();  // what was walked may have been another chain of the same length
    walked_.clear();
    learned_decided(scan_.offset);
    publish();
}

void Replayer::publish() noexcept {
    Position const& applied = executor_.applied();
    if (applied.offset != published_) {
        published_ = applied.offset;
        store_position(own_.applied, applied);
    }
    store_if_new(own_.fuo, std::max(decided_, applied.offset));
    store_if_new(own_.chain_end, std::max(scan_.offset, applied.offset));
}

// Peers poll these lines: nothing is stored there that they know.
void Replayer::store_if_new(std::uint64_t& cell, Offset offset) noexcept {
    if (load_word(cell) != offset) {
        store_word(cell, offset);
    }
}

}  // namespace mu
