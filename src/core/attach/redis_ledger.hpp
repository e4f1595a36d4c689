// What this replica knows of the decided batches: the state machine under Redis.
//
// Redis's data is not in here. What is: which reign is in force, how many batches have counted so far (a batch's
// *number*), the last few of them (the *history*), and, for the local redis, the batches that it has not executed yet
// (the *feed*). So a snapshot of the engine is small: it says which batch it stands for, and helps a replica that lacks
// only a few; the data of a redis that lacks more comes from another redis (redis_server.hpp, joining).
//
// Invariants: a batch counts on all replicas or on none, under the same number. The feed holds every batch after
// `base` that did not come from the local redis itself. While the local redis is *trusted*, its data is exactly what
// the batches up to `executed` make, in order, each once (and, for a moment, a part of the next).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>

#include "attach/redis_records.hpp"
#include "common/bytes.hpp"

namespace mu::redis {

enum class Verdict : std::uint8_t {
    pending,  // may yet be decided
    decided,  // counts
    lost,     // never will
};

class Ledger {
public:
    explicit Ledger(std::uint32_t replica) : replica_(replica) {}

    // --- The state machine's side: called by the node, in log order ---
    // True if the record counts. A batch of the local redis's own present reign is not fed back to it.
    bool apply(std::span<std::byte const> record);
    void end_run();
    void snapshot(OwnedBytes& out);
    // Whether the local redis still is trusted afterwards.
    bool restore(std::span<std::byte const> snapshot);

    // --- The local redis as the one that writes ---
    // Names the reign that is about to be proposed. False, and nothing changes, if one that nothing has counted in yet is in
    // force already, or the local redis writes in one: its batches are known by it.
    [[nodiscard]] bool begin_reign(std::uint64_t reign);
    // The local redis begins to write: the reign in which it does, or 0 if its own is not in force (any more).
    [[nodiscard]] std::uint64_t start_writing();
    // It does so no longer, and nothing that it wrote is in doubt.
    void stop_writing();
    // Whether the reign that begin_reign named is in force, nothing has counted in it yet, and the local redis has
    // executed all before it.
    [[nodiscard]] bool ready_to_write() const;
    // Whether that reign is in force and nothing has counted in it yet, nor begun to.
    [[nodiscard]] bool awaits_writer() const;
    // Nothing has counted since batch `number`, and one's own new reign is in force: a local redis that has executed
    // exactly the batches up to that, and one more that was lost, is trusted again, and has to propose that one first.
    [[nodiscard]] bool redeem(std::uint64_t number);
    [[nodiscard]] Verdict verdict(std::uint64_t batch) const;

    // --- The local redis as the one that follows ---
    // Appends batches after number `after` to `out`, about `limit` bytes of them, and returns the last one's number.
    [[nodiscard]] std::uint64_t take(std::uint64_t after, std::size_t limit, OwnedBytes& out) const;
    void executed(std::uint64_t number);
    // Nothing is known of the local redis's data any more, or it is known to be wrong.
    void distrust();
    // The local redis has been brought to batch `number`: true if the feed connects to that.
    [[nodiscard]] bool trust(std::uint64_t number);

    struct View {
        std::uint64_t batches = 0;   // counted so far
        std::uint64_t executed = 0;  // by the local redis
        std::uint64_t reign = 0;
        std::uint32_t ruler = 0;  // whose reign
        std::size_t feed_bytes = 0;
        bool trusted = false;
    };
    [[nodiscard]] View view() const;

private:
    struct Batch {
        std::uint64_t number = 0;
        std::shared_ptr<OwnedBytes const> bytes;
    };

    bool take_in(RecordHead const& head, std::span<std::byte const> bytes, std::unique_lock<std::mutex>& lock);
    void count(bool own, std::unique_lock<std::mutex>& lock);
    void feed(Batch batch);
    [[nodiscard]] bool is_far_behind() const noexcept;
    void hold_back(std::unique_lock<std::mutex>& lock);
    void remember(Batch batch);
    void trim(std::uint64_t number);

    std::uint32_t replica_;
    mutable std::mutex mutex_;
    std::condition_variable drained_;
    // Replicated.
    std::uint64_t batches_ = 0;
    std::uint64_t reign_ = 0;
    std::uint32_t ruler_ = 0;
    std::uint64_t in_reign_ = 0;  // batches that have counted in it
    std::uint64_t parts_ = 0;     // of the batch that is arriving
    OwnedBytes arriving_;
    std::deque<Batch> history_;  // the last ones
    std::size_t history_bytes_ = 0;
    // The local redis's.
    std::uint64_t own_reign_ = 0;
    std::uint64_t own_counted_ = 0;  // batches of own_reign_ that have counted
    bool writes_ = false;            // the local redis, in own_reign_
    std::deque<Batch> feed_;
    std::size_t feed_bytes_ = 0;
    std::uint64_t base_ = 0;
    std::uint64_t executed_ = 0;
    bool waited_ = false;  // in this run of apply() calls
    bool trusted_ = true;  // a fresh redis holds what no batch makes
};

}  // namespace mu::redis
