// What the module is told on redis's command line: `--loadmodule mu_redis.so key=value …`; `mu redis server` writes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mu::redis {

struct PeerAddress {
    std::uint32_t replica = 0;
    std::string host;
    int port = 0;
};

struct ModuleSettings {
    std::string cluster = "mu";
    std::uint64_t cluster_key = 0;
    std::uint32_t replica = 0;
    std::string fabric = "shm";
    std::string directory = "/dev/shm";
    std::string registry;  // this and the following: as in mu_options
    std::string rdma_device;
    std::uint32_t rdma_port = 0;
    std::int32_t rdma_gid_index = -1;  // -1: whichever is chosen
    std::uint32_t rdma_mtu = 0;
    std::uint64_t log_bytes = 8U << 20U;
    bool dedicated_cores = false;
    std::uint32_t commit_idle_us = 100;  // 0: off
    std::uint32_t stall_limit_ms = 500;
    std::string tuning;                       // as in mu_options
    std::int64_t timeout_ns = 1'000'000'000;  // of one batch: so long redis may stand still
    std::uint32_t hung_after_ms = 30'000;     // a leader whose redis does nothing for so long is replaced; 0: never
    bool stale_reads = false;                 // followers answer reads, from what they have executed
    bool own_login = false;                   // redis's masterauth was given; else it is what requirepass is
    std::string service = "mu";               // the name that clients ask SENTINEL for
    std::string dump;                         // where SIGUSR1 writes latencies to
    int parent = 0;                           // the process that looks after this one: without it redis ends, too
    std::vector<PeerAddress> peers;           // all replicas' redis addresses, this one's included
};

// Takes "key=value"; what is wrong with it, or nothing.
[[nodiscard]] std::string take_setting(ModuleSettings& settings, std::string const& text);

}  // namespace mu::redis
