// mu._core.Node: one replica in this Python process.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings/py_machine.hpp"
#include "runtime/native_machine.hpp"
#include "runtime/node.hpp"

namespace mu::bindings {

struct NodeArguments {
    std::string fabric;
    std::string cluster;
    std::uint64_t cluster_key;
    ReplicaId replica_id;
    std::vector<ReplicaId> members;
    std::string directory;
    std::uint64_t log_bytes;
    std::string cores;
    std::int64_t commit_idle_us;
    std::int64_t stall_limit_ms;
    std::uint64_t max_sessions;
    std::string registry;
    std::string rdma_device;
    int rdma_port;
    int rdma_gid_index;
    int rdma_mtu;
    nb::dict overrides;
};

// Whoever holds the plane while it lives lets go of it then. What others have left is not applied: signals are not put off
// where this is used.
struct LetGo {
    Node& node;
    ~LetGo() { node.let_go(); }
};

class PyNode {
public:
    PyNode(NodeArguments const& arguments, nb::object machine);
    ~PyNode();
    PyNode(PyNode const&) = delete;
    PyNode& operator=(PyNode const&) = delete;

    void start();
    void close();
    // The same, for callers: not from inside.
    void leave();
    [[nodiscard]] nb::bytes execute(nb::bytes const& command, std::int64_t timeout_ns, std::uint64_t client,
                                    std::uint64_t number);
    [[nodiscard]] nb::list execute_many(nb::sequence const& commands, std::int64_t timeout_ns);
    [[nodiscard]] Offset propose(nb::bytes const& command, std::int64_t timeout_ns);
    [[nodiscard]] Offset propose_many(nb::sequence const& commands, std::int64_t timeout_ns);
    [[nodiscard]] nb::object read(nb::callable const& function, std::int64_t timeout_ns);
    [[nodiscard]] bool wait_until_leading(std::int64_t timeout_ns);
    void pause(bool paused);
    [[nodiscard]] std::string notice() const { return node_->fabric().notice(); }
    [[nodiscard]] nb::dict status();

    [[nodiscard]] std::vector<Nanoseconds> bench_latency(std::size_t payload, std::size_t outstanding,
                                                         std::size_t count);
    [[nodiscard]] std::vector<Nanoseconds> bench_floor(std::size_t payload, std::size_t count);
    [[nodiscard]] nb::tuple bench_throughput(std::size_t payload, std::size_t batch, std::size_t outstanding,
                                             std::size_t count);

private:
    void run(ClientRequest& request, std::int64_t timeout_ns);
    [[nodiscard]] std::vector<ClientRequest> run_many(nb::sequence const& commands, std::int64_t timeout_ns,
                                                      bool wants_reply);
    void leave_behind() noexcept;
    void check_not_inside() const;
    void check_not_copy() const;
    void check_size(std::size_t bytes) const;

    std::unique_ptr<PyMachine> py_machine_;
    NativeMachine native_machine_;
    std::unique_ptr<Node> node_;
};

}  // namespace mu::bindings
