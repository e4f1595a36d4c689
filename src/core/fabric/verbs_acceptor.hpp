// Who may write this replica's log (F1, F2), on verbs.
//
// Every peer's log writes arrive through an *inbox*: a queue pair that carries nothing else, and on soft devices a
// registration of the log that only this peer knows. At most one inbox is open.
//
//     permit(p)   close the open inbox: take REMOTE_WRITE from its queue pair (fast) and, where the device does not wait
//                 for writes in flight, withdraw its registration, which does
//                 permission word := p
//                 open the requester's inbox: give its queue pair REMOTE_WRITE (fast). If it was open before, or stands
//                 in the error state, a new queue pair takes its place first (slow)
//
// Why an inbox is opened only once: what was sent over it in an earlier tenure may still be on its way, and the sequence
// number that it carries may be the one that is expected next. A new queue pair has another number, which no earlier
// packet names. Its packet sequence numbers begin ahead of where the old one's ended, so that the writer takes no late
// acknowledgement of the old connection for one of the new.
//
// One's own log writes are local copies, made under the lock that permit() holds: a thread that was stopped in the
// middle of one keeps the log until it goes on, and with it the whole replica is stopped anyway.
//
// Invariant: while the lock is free, only the inbox of the word's proposer is open, and nothing else reaches the log.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "fabric/fabric.hpp"
#include "fabric/verbs_device.hpp"

namespace mu {

// What a grant tells its writer: where to send, and the registration to name. Fits the contract's 64-bit key.
struct InboxKey {
    std::uint32_t registration = 0;
    std::uint32_t queue_pair = 0;  // 24 bits; 0 in no key that was granted
    std::uint32_t sends_from = 0;  // 24 bits, of which the lower 16 are zero

    [[nodiscard]] std::uint64_t pack() const noexcept {
        return (std::uint64_t{registration} << 32U) | (std::uint64_t{queue_pair} << 8U) | (sends_from >> 16U);
    }
    [[nodiscard]] static InboxKey unpack(std::uint64_t key) noexcept {
        return {static_cast<std::uint32_t>(key >> 32U), static_cast<std::uint32_t>(key >> 8U) & kSequenceMask,
                static_cast<std::uint32_t>(key & 0xffU) << 16U};
    }
    // The nearest sequence number that a key can hold.
    [[nodiscard]] static std::uint32_t aligned(std::uint32_t sequence) noexcept {
        return sequence & kSequenceMask & ~0xffffU;
    }
};

class VerbsAcceptor {
public:
    // `log` is the ring and a page behind it, where confirmations land. Throws FabricError.
    VerbsAcceptor(VerbsDevice const& device, ReplicaId self, std::span<std::byte> log, std::uint64_t ring_bytes);
    VerbsAcceptor(VerbsAcceptor const&) = delete;
    VerbsAcceptor& operator=(VerbsAcceptor const&) = delete;

    // --- The thread that makes connections ---
    struct Offer {
        std::uint32_t queue_pair = 0;
        std::uint32_t sends_from = 0;  // what the writer has to begin with
    };
    // A fresh inbox for `peer`; an earlier one is gone with all that may still arrive through it.
    [[nodiscard]] std::optional<Offer> prepare(ReplicaId peer) noexcept;
    // Connects it to the writer's end. Writes are still refused.
    [[nodiscard]] bool connect(ReplicaId peer, RemoteEnd const& writer) noexcept;
    void remove(ReplicaId peer) noexcept;
    // Puts new inboxes in the place of used ones, so that the next grant is a fast one.
    void tidy() noexcept;

    // --- The planes ---
    [[nodiscard]] Proposal permission() const noexcept { return word_.load(std::memory_order_acquire); }
    [[nodiscard]] std::uint64_t permit(Tenure const& tenure) noexcept;
    // One's own log write or confirmation: true if `proposal` held the permission throughout.
    [[nodiscard]] bool store_own(Proposal proposal, std::uint64_t at, Gather const& bytes) noexcept;
    void close() noexcept;

    [[nodiscard]] std::uint32_t read_key() const noexcept { return readable_.remote_key(); }
    [[nodiscard]] std::span<std::byte const> ring() const noexcept { return log_.first(ring_bytes_); }
    // How grants were made so far: for people who measure.
    [[nodiscard]] std::uint64_t fast_grants() const noexcept { return fast_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t slow_grants() const noexcept { return slow_.load(std::memory_order_relaxed); }

private:
    struct Inbox {
        std::unique_ptr<QueuePair> pair;
        Registration log;
        RemoteEnd writer;
        bool connected = false;
        bool used = false;  // has been open
    };

    [[nodiscard]] bool replace(Inbox& inbox) noexcept;
    [[nodiscard]] std::uint64_t open(Inbox& inbox) noexcept;
    void shut(Inbox& inbox) noexcept;

    VerbsDevice const& device_;
    ReplicaId self_;
    std::span<std::byte> log_;
    std::uint64_t ring_bytes_;
    CompletionQueue completions_;  // nothing is ever sent from an inbox
    Registration readable_;
    std::mutex mutex_;
    std::array<Inbox, kMaxReplicas> inboxes_;
    ReplicaId open_ = kNobody;
    std::atomic<Proposal> word_ = kNoProposal;
    std::atomic<std::uint64_t> fast_ = 0;
    std::atomic<std::uint64_t> slow_ = 0;
};

}  // namespace mu
