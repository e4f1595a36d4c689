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

struct SnapshotHead {
    std::uint64_t batches = 0;
    std::uint64_t reign = 0;
    std::uint64_t ruler = 0;
    std::uint64_t in_reign = 0;
    std::uint64_t parts = 0;
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
    bool const own = reign_ == own_reign_;
    bool const whole = parts_ == 0 && head.kind == RecordKind::last_part;
    if (!own || !whole) {  // (parts of one's own are kept, too: a snapshot may come between two of them)
        arriving_.insert(arriving_.end(), bytes.begin(), bytes.end());
    }
    if (head.kind == RecordKind::part) {
        ++parts_;
        return true;
    }
    parts_ = 0;
    ++in_reign_;
    ++batches_;
    if (!own) {
        feed(lock);
        return true;
    }
    own_counted_ = in_reign_;
    arriving_.clear();
    if (trusted_) {
        executed_ = batches_;
        trim(executed_);
    }
    return true;
}

void Ledger::feed(std::unique_lock<std::mutex>& lock) {
    feed_bytes_ += arriving_.size();
    feed_.push_back(Batch{batches_, std::move(arriving_)});
    arriving_ = OwnedBytes{};
    trusted_ = trusted_ && feed_bytes_ <= kFeedTooLong;
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
        feed_bytes_ -= feed_.front().bytes.size();
        feed_.pop_front();
    }
    base_ = std::max(base_, number);
    drained_.notify_all();
}

void Ledger::snapshot(OwnedBytes& out) {
    std::lock_guard const lock(mutex_);
    // A batch that is arriving is part of the state: its last part may come after the snapshot.
    ByteWriter writer(out);
    writer.put(SnapshotHead{batches_, reign_, ruler_, in_reign_, parts_});
    writer.sized(arriving_);
}

bool Ledger::restore(std::span<std::byte const> snapshot) {
    ByteReader reader(snapshot);
    auto const head = reader.take<SnapshotHead>();
    std::span<std::byte const> const arriving = reader.sized();
    MU_ASSERT(reader.finished());
    std::lock_guard const lock(mutex_);
    batches_ = head.batches;
    reign_ = head.reign;
    ruler_ = static_cast<std::uint32_t>(head.ruler);
    in_reign_ = head.in_reign;
    parts_ = head.parts;
    arriving_.assign(arriving.begin(), arriving.end());
    own_reign_ = 0;  // what became of a batch in doubt cannot be told any more: it counts as lost, which is safe
    own_counted_ = 0;
    feed_.clear();
    feed_bytes_ = 0;
    base_ = batches_;
    trusted_ = trusted_ && executed_ == batches_;
    drained_.notify_all();
    return trusted_;
}

void Ledger::begin_reign(std::uint64_t reign) {
    std::lock_guard const lock(mutex_);
    own_reign_ = reign;
    own_counted_ = 0;
}

bool Ledger::ready_to_write() const {
    std::lock_guard const lock(mutex_);
    return trusted_ && own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0 && parts_ == 0 &&
           executed_ == batches_;
}

bool Ledger::awaits_writer() const {
    std::lock_guard const lock(mutex_);
    return own_reign_ != 0 && reign_ == own_reign_ && in_reign_ == 0;
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
        out.insert(out.end(), batch->bytes.begin(), batch->bytes.end());
        taken += batch->bytes.size();
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
