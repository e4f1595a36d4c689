#include "fabric/verbs_acceptor.hpp"

#include <utility>

#include "common/assert.hpp"
#include "fabric/gather.hpp"

namespace mu {

namespace {

constexpr Proposal kClosed = ~Proposal{0};  // above all proposals: nothing succeeds any more
constexpr int kClosedInbox = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ;
constexpr int kOpenInbox = kClosedInbox | IBV_ACCESS_REMOTE_WRITE;
constexpr std::uint32_t kAhead = 1U << 22U;  // a quarter of the sequence numbers: later, whatever was outstanding

}  // namespace

VerbsAcceptor::VerbsAcceptor(VerbsDevice const& device, ReplicaId self, std::span<std::byte> log,
                             std::uint64_t ring_bytes)
    : device_(device),
      self_(self),
      log_(log),
      ring_bytes_(ring_bytes),
      completions_(device, 1),
      readable_(device, log.first(ring_bytes), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ) {}

std::optional<VerbsAcceptor::Offer> VerbsAcceptor::prepare(ReplicaId peer) noexcept {
    remove(peer);
    std::lock_guard const guard(mutex_);
    Inbox& inbox = inboxes_[peer];
    try {
        inbox.pair = std::make_unique<QueuePair>(device_, completions_);
    } catch (std::exception const&) {
        return std::nullopt;  // the device is exhausted, or gone: it will be tried again
    }
    inbox.writer.sends_from = InboxKey::aligned(fresh_sequence());
    return Offer{inbox.pair->number(), inbox.writer.sends_from};
}

bool VerbsAcceptor::connect(ReplicaId peer, RemoteEnd const& writer) noexcept {
    std::lock_guard const guard(mutex_);
    Inbox& inbox = inboxes_[peer];
    if (inbox.pair == nullptr) return false;
    std::uint32_t const sends_from = inbox.writer.sends_from;
    inbox.writer = writer;
    inbox.writer.sends_from = sends_from;
    inbox.connected = inbox.pair->connect(inbox.writer, fresh_sequence(), kClosedInbox);
    return inbox.connected;
}

void VerbsAcceptor::remove(ReplicaId peer) noexcept {
    std::lock_guard const guard(mutex_);
    Inbox& inbox = inboxes_[peer];
    if (open_ == peer) open_ = kNobody;
    inbox.log.withdraw();
    inbox.pair.reset();
    inbox.connected = false;
    inbox.used = false;
}

// The queue pair's number changes, so it is told in the key of the next grant.
bool VerbsAcceptor::replace(Inbox& inbox) noexcept {
    std::uint32_t const sends_from = InboxKey::aligned(inbox.pair->expects() + kAhead);
    inbox.pair->stop();
    std::unique_ptr<QueuePair> fresh;
    try {
        fresh = std::make_unique<QueuePair>(device_, completions_);
    } catch (std::exception const&) {
        return false;
    }
    inbox.pair = std::move(fresh);
    inbox.writer.sends_from = sends_from;
    inbox.used = false;
    return inbox.pair->connect(inbox.writer, fresh_sequence(), kClosedInbox);
}

// The key, or 0: the requester's writes will fail, and it will ask again.
std::uint64_t VerbsAcceptor::open(Inbox& inbox) noexcept {
    if (inbox.pair == nullptr || !inbox.connected) return 0;
    bool fast = !inbox.used;
    if (!fast && !replace(inbox)) return 0;
    if (!inbox.log.registered() && !inbox.log.renew(device_, log_, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)) {
        return 0;
    }
    if (!inbox.pair->allow(kOpenInbox)) {
        fast = false;
        if (!replace(inbox) || !inbox.pair->allow(kOpenInbox)) return 0;
    }
    (fast ? fast_ : slow_).fetch_add(1, std::memory_order_relaxed);
    inbox.used = true;
    return InboxKey{inbox.log.remote_key(), inbox.pair->number(), inbox.writer.sends_from}.pack();
}

void VerbsAcceptor::shut(Inbox& inbox) noexcept {
    // Refused in the error state, which accepts nothing either.
    if (!inbox.pair->allow(kClosedInbox)) inbox.pair->stop();
    if (device_.soft()) inbox.log.withdraw();
}

std::uint64_t VerbsAcceptor::permit(Tenure const& tenure) noexcept {
    MU_ASSERT(tenure.replica <= kMaxReplicaId);
    MU_ASSERT(proposer_of(tenure.proposal) == tenure.replica && tenure.proposal < kClosed);
    std::lock_guard const guard(mutex_);
    Proposal const before = word_.load(std::memory_order_relaxed);
    MU_ASSERT(tenure.proposal >= before);  // the promise
    // The same tenure once more: its writer has lost its connection, and must not go on with what it had.
    if (open_ != kNobody) shut(inboxes_[std::exchange(open_, kNobody)]);
    word_.store(tenure.proposal, std::memory_order_release);
    if (tenure.replica == self_) return 0;
    Inbox& inbox = inboxes_[tenure.replica];
    std::uint64_t const key = open(inbox);
    open_ = inbox.pair != nullptr ? tenure.replica : kNobody;
    return key;
}

bool VerbsAcceptor::store_own(Proposal proposal, std::uint64_t at, Gather const& bytes) noexcept {
    std::lock_guard const guard(mutex_);
    if (proposal == kNoProposal || word_.load(std::memory_order_relaxed) != proposal) return false;
    copy_gather(log_.data() + at, bytes, 0, bytes_of(bytes));
    return true;
}

void VerbsAcceptor::close() noexcept {
    std::lock_guard const guard(mutex_);
    if (open_ != kNobody) shut(inboxes_[std::exchange(open_, kNobody)]);
    word_.store(kClosed, std::memory_order_release);
}

void VerbsAcceptor::tidy() noexcept {
    std::lock_guard const guard(mutex_);
    for (ReplicaId peer = 1; peer <= kMaxReplicaId; ++peer) {
        Inbox& inbox = inboxes_[peer];
        if (peer == open_ || !inbox.used || !inbox.connected) continue;
        inbox.connected = replace(inbox);
        if (!inbox.log.registered()) {
            // If it is refused now, the grant will find out.
            static_cast<void>(inbox.log.renew(device_, log_, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
        }
        return;  // one at a time: a grant must not wait for long
    }
}

}  // namespace mu
