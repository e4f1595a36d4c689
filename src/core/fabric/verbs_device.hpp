// A device, its memory registrations and its queue pairs, as objects that clean up after themselves.
//
// Invariant: a queue pair's memory registrations, completion queue and device outlive it (the members of whoever holds
// them stand in that order).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "fabric/error.hpp"
#include "fabric/verbs.hpp"
#include "fabric/verbs_library.hpp"

namespace mu {

// The opened device and the port that is used of it.
class VerbsDevice {
public:
    // Throws FabricError with what to do.
    explicit VerbsDevice(VerbsOptions const& options);
    ~VerbsDevice();
    VerbsDevice(VerbsDevice const&) = delete;
    VerbsDevice& operator=(VerbsDevice const&) = delete;

    [[nodiscard]] ibv_context* context() const noexcept { return context_; }
    [[nodiscard]] ibv_pd* domain() const noexcept { return domain_; }
    [[nodiscard]] std::uint8_t port() const noexcept { return port_; }
    [[nodiscard]] std::uint8_t gid_index() const noexcept { return gid_index_; }
    [[nodiscard]] ibv_gid const& gid() const noexcept { return gid_; }
    [[nodiscard]] std::uint16_t lid() const noexcept { return lid_; }
    [[nodiscard]] ibv_mtu mtu() const noexcept { return mtu_; }
    // No hardware: taking away flags does not wait for writes in flight, withdrawing a registration does.
    [[nodiscard]] bool soft() const noexcept { return soft_; }
    [[nodiscard]] std::string const& name() const noexcept { return name_; }

private:
    // Of the device that is open; `without_gid` names the last active port that lacks the wanted GID.
    void choose_port(VerbsOptions const& options, std::string& without_gid);

    ibv_context* context_ = nullptr;
    ibv_pd* domain_ = nullptr;
    std::string name_;
    std::uint8_t port_ = 0;
    std::uint8_t gid_index_ = 0;
    ibv_gid gid_{};
    std::uint16_t lid_ = 0;
    ibv_mtu mtu_ = IBV_MTU_1024;
    bool soft_ = false;
};

// Memory that the device may reach.
class Registration {
public:
    Registration() = default;
    // Throws FabricError.
    Registration(VerbsDevice const& device, std::span<std::byte> memory, int access);
    ~Registration() { withdraw(); }
    Registration(Registration const&) = delete;
    Registration& operator=(Registration const&) = delete;

    // False if the system refuses; nothing is registered then.
    [[nodiscard]] bool renew(VerbsDevice const& device, std::span<std::byte> memory, int access) noexcept;
    // Waits for what is in flight (on soft devices: that is what it is for).
    void withdraw() noexcept;
    [[nodiscard]] bool registered() const noexcept { return region_ != nullptr; }
    [[nodiscard]] std::uint32_t local_key() const noexcept { return region_->lkey; }
    [[nodiscard]] std::uint32_t remote_key() const noexcept { return region_->rkey; }

private:
    ibv_mr* region_ = nullptr;
};

class CompletionQueue {
public:
    // Throws FabricError.
    CompletionQueue(VerbsDevice const& device, int entries);
    ~CompletionQueue();
    CompletionQueue(CompletionQueue const&) = delete;
    CompletionQueue& operator=(CompletionQueue const&) = delete;

    [[nodiscard]] ibv_cq* get() const noexcept { return queue_; }
    [[nodiscard]] int poll(std::span<ibv_wc> into) const noexcept {
        return ibv_poll_cq(queue_, static_cast<int>(into.size()), into.data());
    }

private:
    ibv_cq* queue_ = nullptr;
};

// Where the other end of a queue pair is.
struct RemoteEnd {
    ibv_gid gid{};
    std::uint16_t lid = 0;
    ibv_mtu mtu = IBV_MTU_1024;
    std::uint32_t queue_pair = 0;
    std::uint32_t sends_from = 0;  // its first packet sequence number
};

inline constexpr int kMaxSends = 128;                            // outstanding work requests of a queue pair
inline constexpr std::uint32_t kInlineBytes = 220;               // asked for; a device may give more, or less
inline constexpr std::uint32_t kSequenceMask = (1U << 24U) - 1;  // packet sequence numbers, queue pair numbers

// A reliable connection. Created in RESET.
class QueuePair {
public:
    // Throws FabricError.
    QueuePair(VerbsDevice const& device, CompletionQueue const& completions);
    ~QueuePair();
    QueuePair(QueuePair const&) = delete;
    QueuePair& operator=(QueuePair const&) = delete;

    [[nodiscard]] ibv_qp* get() const noexcept { return pair_; }
    [[nodiscard]] std::uint32_t number() const noexcept { return pair_->qp_num; }
    [[nodiscard]] std::uint32_t inline_bytes() const noexcept { return inline_bytes_; }
    // From whatever state to ready; false if the device refuses. What was outstanding is forgotten.
    [[nodiscard]] bool connect(RemoteEnd const& remote, std::uint32_t sends_from, int access) noexcept;
    // Changes what the other end may do; false unless the queue pair is, and stays, ready. (In the error state some
    // kernels take the change and do nothing.)
    [[nodiscard]] bool allow(int access) noexcept;
    [[nodiscard]] bool ready() const noexcept;
    // The packet sequence number that is expected next.
    [[nodiscard]] std::uint32_t expects() const noexcept;
    // Nothing is sent, retransmitted or accepted any more.
    void stop() noexcept;
    [[nodiscard]] bool post(ibv_send_wr& chain) noexcept;

private:
    [[nodiscard]] bool change(ibv_qp_attr& to, int what) noexcept;

    VerbsDevice const& device_;
    ibv_qp* pair_ = nullptr;
    std::uint32_t inline_bytes_ = 0;
};

[[nodiscard]] constexpr int mtu_bytes(ibv_mtu mtu) noexcept { return 128 << static_cast<int>(mtu); }
// 24 random bits.
[[nodiscard]] std::uint32_t fresh_sequence() noexcept;

}  // namespace mu
