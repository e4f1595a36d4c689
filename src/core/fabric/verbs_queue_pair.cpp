// Queue pairs and their states. (The class stands in verbs_device.hpp.)
#include <cerrno>
#include <cstring>

#include "common/assert.hpp"
#include "fabric/verbs_device.hpp"

namespace mu {

namespace {

// An operation on a dead peer ends after about (retries + 1) * 4.096 us * 2^timeout: 67 ms, on soft-RoCE 81 ms. Seven
// retries would be endless there.
constexpr std::uint8_t kTimeout = 12;
constexpr std::uint8_t kRetries = 3;
constexpr std::uint8_t kReceiverRetries = 0;  // nothing is ever received here: one-sided only
constexpr std::uint8_t kReceiverTimer = 12;   // 0.64 ms
constexpr std::uint8_t kReadsAtOnce = 4;
constexpr std::uint8_t kHops = 16;

}  // namespace

QueuePair::QueuePair(VerbsDevice const& device, CompletionQueue const& completions) : device_(device) {
    ibv_qp_init_attr wanted{};
    wanted.send_cq = completions.get();
    wanted.recv_cq = completions.get();
    wanted.qp_type = IBV_QPT_RC;
    wanted.cap.max_send_wr = kMaxSends;
    wanted.cap.max_recv_wr = 1;
    wanted.cap.max_send_sge = 1;
    wanted.cap.max_recv_sge = 1;
    // A device that has less room in a work request refuses, and does not say how much it has.
    for (std::uint32_t inline_bytes = kInlineBytes; pair_ == nullptr; inline_bytes /= 2) {
        wanted.cap.max_inline_data = inline_bytes;
        pair_ = VerbsLibrary::get().create_qp(device.domain(), &wanted);
        if (inline_bytes == 0) {
            break;
        }
    }
    if (pair_ == nullptr) {
        throw FabricError(FabricError::Code::system, "device " + device.name() + " gives no queue pair: " +
                                                         std::strerror(errno) + ". Nothing was changed");
    }
    inline_bytes_ = wanted.cap.max_inline_data;
}

QueuePair::~QueuePair() { MU_ASSERT(VerbsLibrary::get().destroy_qp(pair_) == 0); }

bool QueuePair::change(ibv_qp_attr& to, int what) noexcept {
    return VerbsLibrary::get().modify_qp(pair_, &to, what) == 0;
}

bool QueuePair::connect(RemoteEnd const& remote, std::uint32_t sends_from, int access) noexcept {
    // By way of the error state: a live queue pair that is reset at once can upset a soft device's kernel.
    stop();
    ibv_qp_attr to{};
    to.qp_state = IBV_QPS_RESET;
    if (!change(to, IBV_QP_STATE)) return false;
    to = {};
    to.qp_state = IBV_QPS_INIT;
    to.port_num = device_.port();
    to.qp_access_flags = static_cast<unsigned>(access);
    int const init = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
    if (!change(to, init) && !change(to, init)) return false;  // some kernels refuse once, right after a reset
    to = {};
    to.qp_state = IBV_QPS_RTR;
    to.path_mtu = std::min(device_.mtu(), remote.mtu);
    to.dest_qp_num = remote.queue_pair;
    to.rq_psn = remote.sends_from;
    to.max_dest_rd_atomic = kReadsAtOnce;
    to.min_rnr_timer = kReceiverTimer;
    to.ah_attr.dlid = remote.lid;
    to.ah_attr.port_num = device_.port();
    to.ah_attr.is_global = 1;
    to.ah_attr.grh.dgid = remote.gid;
    to.ah_attr.grh.sgid_index = device_.gid_index();
    to.ah_attr.grh.hop_limit = kHops;
    if (!change(to, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                        IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER)) {
        return false;
    }
    to = {};
    to.qp_state = IBV_QPS_RTS;
    to.timeout = kTimeout;
    to.retry_cnt = kRetries;
    to.rnr_retry = kReceiverRetries;
    to.sq_psn = sends_from;
    to.max_rd_atomic = kReadsAtOnce;
    return change(to, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                          IBV_QP_MAX_QP_RD_ATOMIC);
}

bool QueuePair::allow(int access) noexcept {
    ibv_qp_attr to{};
    to.qp_access_flags = static_cast<unsigned>(access);
    return ready() && change(to, IBV_QP_ACCESS_FLAGS) && ready();
}

bool QueuePair::ready() const noexcept {
    ibv_qp_attr found{};
    ibv_qp_init_attr unused{};
    return VerbsLibrary::get().query_qp(pair_, &found, IBV_QP_STATE, &unused) == 0 && found.qp_state == IBV_QPS_RTS;
}

std::uint32_t QueuePair::expects() const noexcept {
    ibv_qp_attr found{};
    ibv_qp_init_attr unused{};
    if (VerbsLibrary::get().query_qp(pair_, &found, IBV_QP_RQ_PSN, &unused) != 0) return 0;
    return found.rq_psn & kSequenceMask;
}

void QueuePair::stop() noexcept {
    ibv_qp_attr to{};
    to.qp_state = IBV_QPS_ERR;
    static_cast<void>(change(to, IBV_QP_STATE));  // refused in RESET, where there is nothing to stop
}

bool QueuePair::post(ibv_send_wr& chain) noexcept {
    ibv_send_wr* refused = nullptr;
    return ibv_post_send(pair_, &chain, &refused) == 0;
}

}  // namespace mu
