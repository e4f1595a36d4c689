// The verbs fabric: replicas on several hosts whose RDMA devices write and read each other's memory.
//
// Who may write one's log is decided by one's own queue pairs: each peer has one that ends here and carries nothing but
// its log writes. Granting sets REMOTE_WRITE on the requester's, revoking takes it from the earlier writer's. Where the
// device does not wait for writes in flight (soft-RoCE does not), the earlier writer's own registration of the log is
// withdrawn too: that waits. (Facts: shared measurements of 14,000 revocations; flags alone let 4 in 1,000 late writes
// in.) A queue pair over which a tenure has written is never granted again: what was sent over it may still be on its
// way, so the next grant makes a new one in its place. See verbs_acceptor.hpp.
//
// This header needs no libibverbs, and neither does a build without it: then opening says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fabric/endpoint.hpp"
#include "fabric/registry.hpp"

namespace mu {

struct VerbsOptions {
    std::shared_ptr<Registry> registry;  // where endpoints find each other
    std::string device;                  // "": the first with an active port
    int port = 0;                        // 0: the first active one
    int gid_index = -1;                  // -1: RoCE v2 over IPv4 if there is one, else 0
    int mtu = 0;                         // bytes; 0: the port's active one (a larger one is refused)
};

// Throws FabricError: no library, no device, no active port, memory that must not be locked.
[[nodiscard]] std::unique_ptr<Endpoint> open_verbs(EndpointOptions const& endpoint, VerbsOptions const& options);

// What this machine can do: a line for each port of each device.
struct VerbsPortReport {
    std::string device;
    int port = 0;
    std::string state;  // "active" or what else it says
    std::string gid;    // of the index that would be used
    int gid_index = 0;
    int active_mtu = 0;  // bytes
    bool soft = false;   // a device without hardware (soft-RoCE)
};
struct VerbsReport {
    std::vector<VerbsPortReport> ports;
    std::string problem;  // why verbs cannot be used here, and what to do; empty if it can
};
[[nodiscard]] VerbsReport look_for_verbs(VerbsOptions const& options);

// How long changes of a permission take, a sample each; for people who measure. Throws FabricError.
struct PermissionTimes {
    std::vector<Nanoseconds> flags;           // access flags of a queue pair
    std::vector<Nanoseconds> restart;         // the same queue pair through all its states
    std::vector<Nanoseconds> replace;         // a new queue pair instead of the old one
    std::vector<Nanoseconds> register_again;  // withdrawing the log's registration and making another
};
[[nodiscard]] PermissionTimes measure_permission(VerbsOptions const& options, std::size_t log_bytes, std::size_t rounds,
                                                 Nanoseconds (*clock)());

}  // namespace mu
