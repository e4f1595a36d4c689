// The bare cost of a one-sided write, to hold a propose against: the same bytes to the same peers, posted without any of
// what makes them a protocol, until the first of them has arrived. (The class stands in verbs_channel.hpp.)
#include <algorithm>
#include <vector>

#include "fabric/verbs_channel.hpp"

namespace mu {

namespace {

constexpr std::uint64_t kNoEpoch = std::uint64_t{0xff'ffffU} << 40U;  // none of the channel's own operations has it
constexpr std::size_t kMostOutstanding = kMaxSends / 2;               // of one peer's

}  // namespace

std::vector<Nanoseconds> VerbsChannel::bare_writes(std::span<ReplicaId const> to, std::uint64_t at, std::size_t bytes,
                                                   std::size_t count, Nanoseconds (*clock)()) {
    std::vector<std::byte> source(bytes, std::byte{0x78});
    Registration const registration(tools_.device, source, IBV_ACCESS_LOCAL_WRITE);
    std::array<std::size_t, kMaxReplicas> outstanding{};
    std::vector<Nanoseconds> samples;
    bool sound = true;
    std::uint64_t arrived = 0;  // the latest round of which anything has
    auto const take = [&] {
        std::array<ibv_wc, kMaxReplicas> done;
        int const found = completions_.poll(done);
        for (ibv_wc const& it : std::span(done).first(static_cast<std::size_t>(std::max(found, 0)))) {
            if ((it.wr_id & kNoEpoch) != kNoEpoch) {
                take_in(it);
                continue;
            }
            --outstanding[(it.wr_id >> 32U) & 0xffU];
            sound = sound && it.status == IBV_WC_SUCCESS;
            arrived = std::max<std::uint64_t>(arrived, it.wr_id & 0xffff'ffffU);
        }
    };
    for (std::uint64_t round = 1; round <= count && sound; ++round) {
        Nanoseconds const began = clock();
        for (ReplicaId const peer : to) {
            Queue& queue = queues_[peer];
            if (!usable(queue) || outstanding[peer] == kMostOutstanding) continue;
            QueuePair& pair = queue.link->pair(line_);
            ibv_sge piece{reinterpret_cast<std::uint64_t>(source.data()), static_cast<std::uint32_t>(bytes),
                          registration.local_key()};
            ibv_send_wr write{};
            write.wr_id = kNoEpoch | (std::uint64_t{peer} << 32U) | round;
            write.sg_list = &piece;
            write.num_sge = 1;
            write.opcode = IBV_WR_RDMA_WRITE;
            write.send_flags = IBV_SEND_SIGNALED | (bytes <= pair.inline_bytes() ? unsigned{IBV_SEND_INLINE} : 0U);
            write.wr.rdma.remote_addr = queue.link->remote().background_at + at;
            write.wr.rdma.rkey = static_cast<std::uint32_t>(queue.link->remote().background_key);
            if (pair.post(write)) ++outstanding[peer];
        }
        while (sound && arrived < round &&
               std::any_of(to.begin(), to.end(), [&](auto it) { return outstanding[it]; })) {
            take();
        }
        samples.push_back(clock() - began);
    }
    while (sound && std::any_of(to.begin(), to.end(), [&](auto it) { return outstanding[it] != 0; })) {
        take();
    }
    return samples;
}

}  // namespace mu
