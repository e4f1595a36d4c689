// The two ways of a grant: by access flags on a queue pair that has carried nothing yet, or with a new queue pair.
#include "fabric/gather.hpp"
#include "fabric/verbs_acceptor.hpp"
#include "verbs/verbs_world.hpp"

namespace mu::test {

namespace {

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
    [[nodiscard]] bool write(InboxKey const& key, std::size_t at) {
        ibv_sge piece{reinterpret_cast<std::uint64_t>(source_.data()), 64, source_registration_.local_key()};
        ibv_send_wr write{};
        write.sg_list = &piece;
        write.num_sge = 1;
        write.opcode = IBV_WR_RDMA_WRITE;
        write.send_flags = IBV_SEND_SIGNALED;
        write.wr.rdma.remote_addr = reinterpret_cast<std::uint64_t>(log_.data()) + at;
        write.wr.rdma.rkey = key.registration;
        if (!writer_.post(write)) return false;
        std::array<ibv_wc, 1> done{};
        while (completions_.poll(done) == 0) {
        }
        return done[0].status == IBV_WC_SUCCESS;
    }
    [[nodiscard]] InboxKey permit(std::uint64_t round) {
        return InboxKey::unpack(acceptor.permit({1, 1, make_proposal(round, 1)}));
    }

private:
    static constexpr std::size_t kBehind = 4096;
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

}  // namespace

TEST_CASE("The first grant to a connected replica is a change of flags") {
    Pair pair;
    InboxKey const key = pair.permit(1);
    CHECK(pair.acceptor.fast_grants() == 1);
    CHECK(pair.acceptor.slow_grants() == 0);
    CHECK(pair.write(key, 0));
}

TEST_CASE("A replica that has written is granted a new queue pair, and its old one leads nowhere") {
    Pair pair;
    InboxKey const first = pair.permit(1);
    REQUIRE(pair.write(first, 0));
    InboxKey const second = pair.permit(2);
    CHECK(pair.acceptor.slow_grants() == 1);
    CHECK(second.queue_pair != first.queue_pair);
    CHECK_FALSE(pair.write(second, 64));  // over the connection of the first grant
    REQUIRE(pair.connect(second));
    CHECK(pair.write(second, 128));
    CHECK(pair.acceptor.ring()[64] == std::byte{0});
    CHECK(pair.acceptor.ring()[128] == std::byte{7});
}

TEST_CASE("What was tidied up between two tenures makes the next grant a change of flags again") {
    Pair pair;
    REQUIRE(pair.write(pair.permit(1), 0));
    std::ignore = pair.acceptor.permit({2, 1, make_proposal(2, 2)});
    pair.acceptor.tidy();
    InboxKey const key = pair.permit(3);
    CHECK(pair.acceptor.fast_grants() == 2);
    CHECK(pair.acceptor.slow_grants() == 0);
    REQUIRE(pair.connect(key));
    CHECK(pair.write(key, 64));
}

TEST_CASE("A piece of a gathered write is the same bytes as that piece of the whole") {
    std::vector<std::byte> const head = filled(48, 1);
    std::vector<std::byte> const tail = filled(8, 3);
    for (std::size_t length = 0; length < 20; ++length) {
        std::vector<std::byte> const body = filled(length, 2);
        Gather const gather{head, body, tail};
        std::vector<std::byte> whole(bytes_of(gather), std::byte{0xff});
        copy_gather(whole.data(), gather, 0, whole.size());
        for (std::size_t at = 0; at + 16 <= whole.size(); ++at) {
            std::vector<std::byte> piece(16, std::byte{0xff});
            copy_gather(piece.data(), gather, at, piece.size());
            CHECK(std::equal(piece.begin(), piece.end(), whole.begin() + static_cast<std::ptrdiff_t>(at)));
        }
    }
}

}  // namespace mu::test
