// Writes once from one RDMA device of this machine into the memory behind another, and prints what became of it:
// the completion's status (a number of enum ibv_wc_status, 0 for success), and whether the memory was changed.
//
//     probe rxe1 rxe2        ->  status 0 applied 1
//
// Both ends live in this process, so nothing needs to be exchanged, and what crosses the cables is the write and its
// acknowledgement. A lost packet is sent again for half a second: a lasting cut is status 12.
// Not seven times, which soft devices take for ever: that is why ibv_rc_pingpong is no witness of a cut.
#include <infiniband/verbs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    gid_index = 1,  // hosts.GID_INDEX
    timeout_exponent = 14,
    retries = 6,
    size = 64,
    mark = 0x5a,
};

struct end {
    struct ibv_context* device;
    struct ibv_pd* domain;
    struct ibv_mr* memory;
    struct ibv_cq* completions;
    struct ibv_qp* queue;
    union ibv_gid gid;
    uint8_t bytes[size];
};

static void demand(int good, const char* what) {
    if (!good) {
        perror(what);
        exit(2);
    }
}

static struct ibv_context* open_device(const char* name) {
    struct ibv_context* device = NULL;
    struct ibv_device** list = ibv_get_device_list(NULL);
    for (struct ibv_device** each = list; each != NULL && *each != NULL; each++) {
        if (strcmp(ibv_get_device_name(*each), name) == 0) {
            device = ibv_open_device(*each);
        }
    }
    demand(device != NULL, name);
    ibv_free_device_list(list);
    return device;
}

static void open_end(struct end* end, const char* name) {
    end->device = open_device(name);
    end->domain = ibv_alloc_pd(end->device);
    demand(end->domain != NULL, "domain");
    const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
    end->memory = ibv_reg_mr(end->domain, end->bytes, size, access);
    end->completions = ibv_create_cq(end->device, 4, NULL, NULL, 0);
    demand(end->memory != NULL && end->completions != NULL, "memory and completions");
    struct ibv_qp_init_attr wanted = {.send_cq = end->completions, .recv_cq = end->completions, .qp_type = IBV_QPT_RC};
    wanted.cap = (struct ibv_qp_cap){.max_send_wr = 4, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1};
    end->queue = ibv_create_qp(end->domain, &wanted);
    demand(end->queue != NULL, "queue pair");
    demand(ibv_query_gid(end->device, 1, gid_index, &end->gid) == 0, "gid");
}

static void connect_end(struct end* end, const struct end* other) {
    struct ibv_qp_attr to = {.qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
    int given = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
    demand(ibv_modify_qp(end->queue, &to, given) == 0, "to INIT");
    to = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = other->queue->qp_num};
    to.ah_attr = (struct ibv_ah_attr){.is_global = 1, .port_num = 1};
    to.ah_attr.grh = (struct ibv_global_route){.dgid = other->gid, .sgid_index = gid_index, .hop_limit = 64};
    given = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
            IBV_QP_MIN_RNR_TIMER;
    demand(ibv_modify_qp(end->queue, &to, given) == 0, "to RTR");
    to = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .timeout = timeout_exponent, .retry_cnt = retries};
    given =
        IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC;
    demand(ibv_modify_qp(end->queue, &to, given) == 0, "to RTS");
}

static enum ibv_wc_status write_once(struct end* from, const struct end* to) {
    memset(from->bytes, mark, size);
    struct ibv_sge piece = {.addr = (uintptr_t)from->bytes, .length = size, .lkey = from->memory->lkey};
    struct ibv_send_wr request = {.sg_list = &piece, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE};
    request.send_flags = IBV_SEND_SIGNALED;
    request.wr.rdma.remote_addr = (uintptr_t)to->bytes;
    request.wr.rdma.rkey = to->memory->rkey;
    struct ibv_send_wr* refused = NULL;
    demand(ibv_post_send(from->queue, &request, &refused) == 0, "write");
    struct ibv_wc completion;
    while (ibv_poll_cq(from->completions, 1, &completion) == 0) {
    }
    return completion.status;
}

int main(int count, char** arguments) {
    static struct end from;
    static struct end to;
    demand(count == 3, "usage: probe DEVICE DEVICE");
    open_end(&from, arguments[1]);
    open_end(&to, arguments[2]);
    connect_end(&from, &to);
    connect_end(&to, &from);
    const enum ibv_wc_status status = write_once(&from, &to);
    printf("status %d applied %d\n", (int)status, to.bytes[size - 1] == mark);
    return 0;
}
