// One writer and the acceptor that it writes to: nothing of verbs but two queue pairs.
#pragma once

#include <array>
#include <optional>
#include <thread>
#include <vector>

#include "fabric/verbs_acceptor.hpp"
#include "verbs/verbs_world.hpp"

namespace mu::test {

// Replica 2's acceptor, and replica 1 as its writer: nothing but queue pairs.
class Pair {
public:
    Pair()
        : device_(options(1)),
          other_device_(options(2)),
          completions_(device_, 16),
          log_(kRingBytes + kBehind),
          source_(64, std::byte{7}),
          source_registration_(device_, source_, IBV_ACCESS_LOCAL_WRITE),
          writer_(device_, completions_),
          acceptor(other_device_, 2, log_, kRingBytes) {
        std::optional<VerbsAcceptor::Offer> const inbox = acceptor.prepare(1);
        REQUIRE(inbox.has_value());
        REQUIRE(acceptor.connect(1, end(device_, writer_.number())));
        REQUIRE(connect({.registration = 0, .queue_pair = inbox->queue_pair, .sends_from = inbox->sends_from}));
    }

    [[nodiscard]] bool connect(InboxKey const& key) {
        return writer_.connect(end(other_device_, key.queue_pair), key.sends_from, IBV_ACCESS_LOCAL_WRITE);
    }
    [[nodiscard]] bool write(InboxKey const& key, std::size_t at) { return completion(key, at) == IBV_WC_SUCCESS; }
    // How a write completes; nothing if it does not.
    [[nodiscard]] std::optional<ibv_wc_status> completion(InboxKey const& key, std::size_t at) {
        ibv_sge piece{reinterpret_cast<std::uint64_t>(source_.data()), 64, source_registration_.local_key()};
        ibv_send_wr write{};
        write.sg_list = &piece;
        write.num_sge = 1;
        write.opcode = IBV_WR_RDMA_WRITE;
        write.send_flags = IBV_SEND_SIGNALED;
        write.wr.rdma.remote_addr = reinterpret_cast<std::uint64_t>(log_.data()) + at;
        write.wr.rdma.rkey = key.registration;
        if (!writer_.post(write)) return std::nullopt;
        std::array<ibv_wc, 1> done{};
        for (int look = 0; look < kLooks; ++look) {
            if (completions_.poll(done) == 1) return done[0].status;
            std::this_thread::yield();
        }
        return std::nullopt;
    }
    [[nodiscard]] QueuePair const& writer() const { return writer_; }
    [[nodiscard]] InboxKey permit(std::uint64_t round) {
        return InboxKey::unpack(acceptor.permit({1, 1, make_proposal(round, 1)}));
    }

private:
    static constexpr std::size_t kBehind = 4096;
    static constexpr int kLooks = 20'000'000;  // seconds of them, even where a look takes a microsecond
    static VerbsOptions options(ReplicaId replica) {
        VerbsOptions options;
        options.device = verbs_device(replica);
        return options;
    }
    [[nodiscard]] static RemoteEnd end(VerbsDevice const& device, std::uint32_t queue_pair) {
        return {device.gid(), device.lid(), device.mtu(), queue_pair, 0};
    }

    VerbsDevice device_;
    VerbsDevice other_device_;
    CompletionQueue completions_;
    std::vector<std::byte> log_;
    std::vector<std::byte> source_;
    Registration source_registration_;
    QueuePair writer_;

public:
    VerbsAcceptor acceptor;
};

}  // namespace mu::test
