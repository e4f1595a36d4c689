#include "attach/redis_ledger.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "common/assert.hpp"

namespace mu::redis {
namespace {

// A redis that executes more slowly than batches are decided holds its replica back rather than filling its memory;
// but a step of the replica must not take so long that it is taken for stuck (100 ms). One that is too far behind
// nevertheless is better off with a copy of another one's data.
constexpr std::size_t kFeedLimit = 64U << 20U;
constexpr std::size_t kFeedTooLong = 4 * kFeedLimit;
constexpr std::chrono::milliseconds kLongestWait{40};

// What a follower lacks when the leader's log begins above its own (a member that has just been brought up leads, say):
// usually what was decided in the last milliseconds. Without it redis would need a full synchronisation.
constexpr std::size_t kHistoryBytes = 256U << 10U;
constexpr std::size_t kHistoryBatches = 2048;

struct SnapshotHead {
    std::uint64_t batches = 0;
    std::uint64_t reign = 0;
    std::uint64_t ruler = 0;
    std::uint64_t in_reign = 0;
    std::uint64_t parts = 0;
    std::uint64_t history = 0;  // how many of the last batches follow
};

}  // namespace

bool Ledger::apply(std::span<std::byte const> record) {
    RecordHead head;
    if (record.size() < sizeof head) {
        return false;
    }
    std::memcpy(&head, record.data(), sizeof head);
    std::unique_lock lock(mutex_);
    if (head.kind != RecordKind::reign) {
        return take_in(head, record.subspan(sizeof head), lock);
    }
    reign_ = head.reign;
    ruler_ = head.replica;
    in_reign_ = 0;
    parts_ = 0;
    arriving_.clear();
    return true;
}

bool Ledger::take_in(RecordHead const& head, std::span<std::byte const> bytes, std::unique_lock<std::mutex>& lock) {
    if (head.reign != reign_ || head.batch != in_reign_ + 1 || head.part != parts_) {
        return false;
    }
    arriving_.insert(arriving_.end(), bytes.begin(), bytes.end());
    if (head.kind == RecordKind::part) {
        ++parts_;
        return true;
    }
    parts_ = 0;
    ++in_reign_;
    ++batches_;
    count(reign_ == own_reign_, lock);
    return true;
}

void Ledger::count(bool own, std::unique_lock<std::mutex>& lock) {
    Batch const batch{batches_, std::make_shared<OwnedBytes const>(std::move(arriving_))};
    arriving_ = OwnedBytes{};
    remember(batch);
    own_counted_ = own ? in_reign_ : own_counted_;
    if (own && trusted_) {
        executed_ = batches_;
        trim(executed_);
        return;
    }
    // What the local redis did itself it lacks, too, once it takes another one's data instead.
    feed(batch);
    hold_back(lock);
}

void Ledger::remember(Batch batch) {
    history_bytes_ += batch.bytes->size();
    history_.push_back(std::move(batch));
    while (history_bytes_ > kHistoryBytes || history_.size() > kHistoryBatches) {
        history_bytes_ -= history_.front().bytes->size();
        history_.pop_front();
    }
}

void Ledger::feed(Batch batch) {
    feed_bytes_ += batch.bytes->size();
    feed_.push_back(std::move(batch));
}

// Whoever lacks a very large batch lacks it like everybody else, and is not behind by that alone.
bool Ledger::is_far_behind() const noexcept {
    if (feed_bytes_ <= kFeedTooLong) {
        return false;
    }
    std::size_t largest = 0;
    for (Batch const& batch : feed_) {
        largest = std::max(largest, batch.bytes->size());
    }
    return feed_bytes_ - largest > kFeedTooLong;
}

void Ledger::hold_back(std::unique_lock<std::mutex>& lock) {
    trusted_ = trusted_ && !is_far_behind();
    if (trusted_) {
        if (feed_bytes_ > kFeedLimit && !waited_) {
            waited_ = true;
            drained_.wait_for(lock, kLongestWait, [this] { return feed_bytes_ <= kFeedLimit || !trusted_; });
        }
        return;
    }
    // A redis that joins needs only what comes after the batch that it will have been brought to.
    while (feed_bytes_ > kFeedLimit && feed_.size() > 1) {
        trim(feed_.front().number);
    }
}

void Ledger::end_run() {
    std::lock_guard const lock(mutex_);
    waited_ = false;
}

void Ledger::trim(std::uint64_t number) {
    while (!feed_.empty() && feed_.front().number <= number) {
        feed_bytes_ -= feed_.front().bytes->size();
        feed_.pop_front();
    }
    base_ = std::max(base_, number);
    drained_.notify_all();
}

void Ledger::snapshot(OwnedBytes& out) {
    std::lock_guard const lock(mutex_);
    // A batch that is arriving is part of the state: its last part may come after the snapshot.
    ByteWriter writer(out);
    writer.put(SnapshotHead{batches_, reign_, ruler_, in_reign_, parts_, history_.size()});
    writer.sized(arriving_);
    for (Batch const& each : history_) {
        writer.sized(*each.bytes);
    }
}

bool Ledger::restore(std::span<std::byte const> snapshot) {
    ByteReader reader(snapshot);
    auto const head = reader.take<SnapshotHead>();
    std::span<std::byte const> const arriving = reader.sized();
    std::lock_guard const lock(mutex_);
    std::uint64_t const first = head.batches - head.history + 1;
    bool const connects = first <= batches_ + 1;
    if (!connects) {
        feed_.clear();
        feed_bytes_ = 0;
        base_ = head.batches;
    }
    history_.clear();
    history_bytes_ = 0;
    for (std::uint64_t number = first; number <= head.batches; ++number) {
        std::span<std::byte const> const bytes = reader.sized();
        Batch const batch{number, std::make_shared<OwnedBytes const>(bytes.begin(), bytes.end())};
        remember(batch);
        if (connects && number > batches_) {
            feed(batch);
        }
    }
    MU_ASSERT(reader.finished());
    batches_ = head.batches;
    reign_ = head.reign;
    ruler_ = static_cast<std::uint32_t>(head.ruler);
    in_reign_ = head.in_reign;
    parts_ = head.parts;
    arriving_.assign(arriving.begin(), arriving.end());
    own_reign_ = 0;  // what became of a batch in doubt cannot be told any more: it counts as lost, which is safe
    own_counted_ = 0;
    trusted_ = trusted_ && connects;
    drained_.notify_all();
    return trusted_;
}

bool Ledger::begin_reign(std::uint64_t reign) {
    std::lock_guard const lock(mutex_);
    bool const has_one = own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0 && parts_ == 0;
    if (writes_ || has_one) {
        return false;
    }
    own_reign_ = reign;
    own_counted_ = 0;
    return true;
}

std::uint64_t Ledger::start_writing() {
    std::lock_guard const lock(mutex_);
    writes_ = own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0;
    return writes_ ? own_reign_ : 0;
}

void Ledger::stop_writing() {
    std::lock_guard const lock(mutex_);
    writes_ = false;
}

bool Ledger::ready_to_write() const {
    std::lock_guard const lock(mutex_);
    return trusted_ && own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0 && parts_ == 0 &&
           executed_ == batches_;
}

bool Ledger::awaits_writer() const {
    std::lock_guard const lock(mutex_);
    return own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0 && parts_ == 0;
}

bool Ledger::redeem(std::uint64_t number) {
    std::lock_guard const lock(mutex_);
    bool const good = own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0 && parts_ == 0 && batches_ == number;
    if (good) {
        trusted_ = true;
        executed_ = number;
        trim(number);
    }
    return good;
}

Verdict Ledger::verdict(std::uint64_t batch) const {
    std::lock_guard const lock(mutex_);
    if (own_reign_ != 0 && own_counted_ >= batch) {
        return Verdict::decided;
    }
    return own_reign_ == 0 || reign_ != own_reign_ ? Verdict::lost : Verdict::pending;
}

std::uint64_t Ledger::take(std::uint64_t after, std::size_t limit, OwnedBytes& out) const {
    std::lock_guard const lock(mutex_);
    if (!trusted_) {
        return after;
    }
    auto batch = std::lower_bound(feed_.begin(), feed_.end(), after + 1,
                                  [](Batch const& each, std::uint64_t number) { return each.number < number; });
    std::uint64_t last = after;
    for (std::size_t taken = 0; batch != feed_.end() && taken < limit; ++batch) {
        MU_ASSERT(batch->number == last + 1);
        out.insert(out.end(), batch->bytes->begin(), batch->bytes->end());
        taken += batch->bytes->size();
        last = batch->number;
    }
    return last;
}

void Ledger::executed(std::uint64_t number) {
    std::lock_guard const lock(mutex_);
    if (trusted_ && number > executed_) {
        executed_ = number;
        trim(number);
    }
}

void Ledger::distrust() {
    std::lock_guard const lock(mutex_);
    trusted_ = false;
    drained_.notify_all();
}

bool Ledger::trust(std::uint64_t number) {
    std::lock_guard const lock(mutex_);
    if (number < base_ || number > batches_) {
        return false;
    }
    trusted_ = true;
    executed_ = number;
    trim(number);
    return true;
}

Ledger::View Ledger::view() const {
    std::lock_guard const lock(mutex_);
    return View{batches_, executed_, reign_, ruler_, feed_bytes_, trusted_};
}

}  // namespace mu::redis
