// The extension module mu._core: names and arguments only.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/py_node.hpp"
#include "bindings/py_simulation.hpp"
#include "bindings/py_verbs.hpp"
#include "fabric/shm.hpp"
#include "runtime/peek.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace mu::bindings {
namespace {

std::vector<std::string> clean_lines(std::string const& directory, std::string const& cluster) {
    std::vector<std::string> lines;
    std::optional<std::string> const only = cluster.empty() ? std::nullopt : std::optional(cluster);
    for (StaleSegment const& stale : clean(directory, only)) {
        lines.push_back("removed replica " + std::to_string(stale.replica) + " of cluster " + stale.cluster +
                        " (dead process " + std::to_string(stale.pid) + ", " + std::to_string(stale.bytes >> 10U) +
                        " KiB)");
    }
    return lines;
}

nb::object peek_dict(std::string const& directory, std::string const& cluster, ReplicaId replica) {
    std::optional<Glimpse> const glimpse = peek(directory, cluster, replica);
    if (!glimpse) {
        return nb::none();
    }
    nb::dict values;
    values["replica_id"] = glimpse->replica;
    values["incarnation"] = glimpse->incarnation;
    values["pid"] = glimpse->pid;
    values["alive"] = glimpse->alive;
    values["heartbeat"] = glimpse->heartbeat;
    values["admitted"] = glimpse->admitted;
    values["eligible"] = glimpse->eligible;
    values["leader"] = glimpse->leader;
    values["leading"] = glimpse->leading;
    values["applied"] = glimpse->applied;
    values["fuo"] = glimpse->fuo;
    values["chain_end"] = glimpse->chain_end;
    values["propose_p50_ns"] = glimpse->propose_p50_ns;
    values["propose_p99_ns"] = glimpse->propose_p99_ns;
    values["paused"] = glimpse->paused;
    values["members"] = glimpse->members;
    return values;
}

void construct(PyNode* node, std::string fabric, std::string cluster, std::uint64_t cluster_key, ReplicaId replica_id,
               std::vector<ReplicaId> members, std::string directory, std::uint64_t log_bytes, std::string cores,
               std::int64_t commit_idle_us, std::int64_t stall_limit_ms, std::uint64_t max_sessions,
               std::string registry, std::string rdma_device, int rdma_port, int rdma_gid_index, int rdma_mtu,
               nb::dict overrides, nb::object state_machine) {
    new (node) PyNode(NodeArguments{std::move(fabric), std::move(cluster), cluster_key, replica_id, std::move(members),
                                    std::move(directory), log_bytes, std::move(cores), commit_idle_us, stall_limit_ms,
                                    max_sessions, std::move(registry), std::move(rdma_device), rdma_port,
                                    rdma_gid_index, rdma_mtu, std::move(overrides)},
                      std::move(state_machine));
}

void bind_node(nb::module_& module) {
    nb::class_<PyNode>(module, "Node")
        .def("__init__", &construct, nb::kw_only(), "fabric"_a, "cluster"_a, "cluster_key"_a, "replica_id"_a,
             "members"_a, "directory"_a, "log_bytes"_a, "cores"_a, "commit_idle_us"_a, "stall_limit_ms"_a,
             "max_sessions"_a, "registry"_a, "rdma_device"_a, "rdma_port"_a, "rdma_gid_index"_a, "rdma_mtu"_a,
             "overrides"_a, "state_machine"_a.none())
        .def("start", &PyNode::start)
        .def("close", &PyNode::leave)
        .def("execute", &PyNode::execute, "command"_a, "timeout_ns"_a, "client"_a = 0, "number"_a = 0)
        .def("execute_many", &PyNode::execute_many, "commands"_a, "timeout_ns"_a)
        .def("propose", &PyNode::propose, "command"_a, "timeout_ns"_a)
        .def("propose_many", &PyNode::propose_many, "commands"_a, "timeout_ns"_a)
        .def("read", &PyNode::read, "function"_a, "timeout_ns"_a)
        .def("wait_until_leading", &PyNode::wait_until_leading, "timeout_ns"_a)
        .def("pause", [](PyNode& node) { node.pause(true); })
        .def("resume", [](PyNode& node) { node.pause(false); })
        .def("notice", &PyNode::notice)
        .def("status", &PyNode::status)
        .def("bench_latency", &PyNode::bench_latency, "payload"_a, "outstanding"_a, "count"_a)
        .def("bench_floor", &PyNode::bench_floor, "payload"_a, "count"_a)
        .def("bench_throughput", &PyNode::bench_throughput, "payload"_a, "batch"_a, "outstanding"_a, "count"_a);
}

}  // namespace
}  // namespace mu::bindings

NB_MODULE(_core, module) {
    using namespace mu::bindings;
    // A state machine whose module knows its replica is a cycle through C++, which nobody takes apart at exit.
    nb::set_leak_warnings(false);
    bind_node(module);
    bind_simulation(module);
    bind_verbs(module);
    module.def("clean", &clean_lines, "directory"_a, "cluster"_a);
    module.def("peek", &peek_dict, "directory"_a, "cluster"_a, "replica_id"_a);
    module.def("ask_pause", &mu::ask_pause, "directory"_a, "cluster"_a, "replica_id"_a, "paused"_a);
    module.def(
        "max_command",
        [](std::uint64_t log_bytes) {
            return mu::LogFormat(0, log_bytes, mu::Integrity::stamp).max_value() -
                   static_cast<std::uint32_t>(mu::commands_prefix_bytes(1) + mu::kSessionBytes);
        },
        "log_bytes"_a);
}
