#include "bindings/py_node.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include "bindings/errors.hpp"
#include "bindings/interrupts.hpp"
#include "common/quiet_thread.hpp"
#include "runtime/bench.hpp"
#include "runtime/clock.hpp"
#include "runtime/dedicated.hpp"
#include "runtime/fabric_choice.hpp"
#include "runtime/tuning.hpp"

namespace mu::bindings {
namespace {

constexpr std::int64_t kInterruptsCheck = 50 * kMillisecond;

std::span<std::byte const> view(nb::handle bytes) noexcept {
    return {reinterpret_cast<std::byte const*>(PyBytes_AS_STRING(bytes.ptr())),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

nb::bytes to_python(std::span<std::byte const> bytes) {
    return nb::bytes(reinterpret_cast<char const*>(bytes.data()), bytes.size());
}

void tune_or_raise(Settings& settings, nb::dict const& tuning) {
    try {
        for (auto const& [name, value] : tuning) {
            tune(settings, nb::cast<std::string>(name), nb::cast<std::int64_t>(value));
        }
    } catch (std::invalid_argument const& error) {
        raise_config_error(error.what());
    }
}

NodeOptions options_of(NodeArguments const& arguments) {
    NodeOptions options;
    options.verbs = verbs_if_chosen({arguments.fabric, arguments.registry, arguments.rdma_device, arguments.rdma_port,
                                     arguments.rdma_gid_index, arguments.rdma_mtu});
    options.cores = arguments.cores == "dedicated" ? Cores::dedicated : Cores::shared;
    Settings& settings = options.settings;
    if (options.cores == Cores::dedicated) {
        use_dedicated_cores(settings);
    }
    settings.self = arguments.replica_id;
    settings.members = arguments.members;
    std::sort(settings.members.begin(), settings.members.end());
    settings.cluster_key = arguments.cluster_key;
    settings.commit_idle_after = arguments.commit_idle_us * kMicrosecond;
    settings.stall_limit = arguments.stall_limit_ms * kMillisecond;
    settings.max_sessions = arguments.max_sessions;
    tune_or_raise(settings, arguments.overrides);
    options.endpoint.cluster = arguments.cluster;
    options.endpoint.cluster_key = arguments.cluster_key;
    options.endpoint.replica = arguments.replica_id;
    options.endpoint.members = settings.members;
    options.endpoint.ring_bytes = arguments.log_bytes;
    options.endpoint.directory = arguments.directory;
    return options;
}

}  // namespace

PyNode::PyNode(NodeArguments const& arguments, nb::object machine) {
    StateMachine* chosen = &native_machine_;
    if (!machine.is_none()) {
        py_machine_ = std::make_unique<PyMachine>(std::move(machine));
        chosen = py_machine_.get();
    }
    try {
        node_ = std::make_unique<Node>(options_of(arguments), *chosen);
    } catch (FabricError const& error) {
        raise_fabric_error(error);
    }
}

PyNode::~PyNode() {
    if (py_machine_ != nullptr && PyMachine::inside() && !node_->is_copy()) {
        leave_behind();
        return;
    }
    close();
    if (node_ && node_->is_copy()) {
        static_cast<void>(node_.release());  // its threads are its parent's
    }
}

// Garbage is collected wherever Python allocates: in a thread of this node's own, too, which is inside apply and cannot wait
// for its own end. Another thread closes the node then; it is there until that has ended.
void PyNode::leave_behind() noexcept {
    Node* const node = node_.release();
    PyMachine* const machine = py_machine_.release();
    auto const close = [node, machine] {
        delete node;
        PyGILState_STATE const gil = PyGILState_Ensure();  // a program that has ended meanwhile ends this thread here
        delete machine;
        PyGILState_Release(gil);
    };
    try {
        quiet_thread(close).detach();
    } catch (std::system_error const&) {
        // No thread can be had: the replica goes on, and ends with its process.
    }
}

void PyNode::start() { node_->start(); }

void PyNode::close() {
    nb::gil_scoped_release const release;
    if (node_ && !node_->is_copy()) {
        node_->close();
    }
}

void PyNode::leave() {
    check_not_inside();
    close();
}

void PyNode::check_not_inside() const {
    if (PyMachine::inside()) {
        check_not_copy();
        throw std::runtime_error(
            "A state machine's apply, snapshot or restore, and what a read is given, must not call a replica: it runs "
            "inside one. Nothing was proposed or changed.");
    }
}

// Of what changes nothing when a node is closed.
void PyNode::check_not_copy() const {
    if (node_->is_copy()) {
        raise_unless_ok(*node_, Outcome::not_leader, ReplyStatus::ok, {}, 0);
    }
}

void PyNode::pause(bool paused) {
    check_not_copy();
    node_->pause(paused);
}

// The common case keeps the GIL, because it cannot block; whatever can, releases it.
void PyNode::run(ClientRequest& request, std::int64_t timeout_ns) {
    check_not_inside();
    {
        PutInterruptsOff const put_off(py_machine_ != nullptr);
        if (!node_->try_run(request)) {
            nb::gil_scoped_release const release;
            node_->run(request, deadline_after(timeout_ns));
        }
    }
    raise_unless_ok(*node_, request.outcome, request.status, request.reply, request.command.size());
}

nb::bytes PyNode::execute(nb::bytes const& command, std::int64_t timeout_ns, std::uint64_t client,
                          std::uint64_t number) {
    ClientRequest request;
    request.command = view(command);
    request.session = {client, number};
    request.wants_reply = true;
    run(request, timeout_ns);
    return to_python(request.reply);
}

Offset PyNode::propose(nb::bytes const& command, std::int64_t timeout_ns) {
    ClientRequest request;
    request.command = view(command);
    run(request, timeout_ns);
    return request.offset;
}

std::vector<ClientRequest> PyNode::run_many(nb::sequence const& commands, std::int64_t timeout_ns, bool wants_reply) {
    check_not_inside();
    // Of our own: the caller's list may change while this thread waits without the GIL.
    nb::object const held = nb::steal(PySequence_Tuple(commands.ptr()));
    if (!held.is_valid()) {
        throw nb::python_error();
    }
    auto const count = static_cast<std::size_t>(PyTuple_GET_SIZE(held.ptr()));
    std::vector<ClientRequest> requests(count);
    for (std::size_t i = 0; i < count; ++i) {
        nb::handle const item = PyTuple_GET_ITEM(held.ptr(), static_cast<Py_ssize_t>(i));
        if (!PyBytes_Check(item.ptr())) {
            throw nb::type_error("every command must be bytes; nothing was proposed");
        }
        requests[i].command = view(item);
        requests[i].wants_reply = wants_reply;
        if (requests[i].command.size() > node_->max_command()) {
            raise_unless_ok(*node_, Outcome::too_large, ReplyStatus::ok, {}, requests[i].command.size());
        }
    }
    {
        PutInterruptsOff const put_off(py_machine_ != nullptr);
        nb::gil_scoped_release const release;
        node_->run_many(requests, deadline_after(timeout_ns));
    }
    // A batch is spread over several slots. If any of it entered a log, none of it can be said not to have been proposed.
    auto const entered = [](ClientRequest const& request) {
        return request.outcome == Outcome::ok || request.outcome == Outcome::indeterminate;
    };
    bool const any = std::any_of(requests.begin(), requests.end(), entered);
    for (ClientRequest const& request : requests) {
        bool const in_part = any && !entered(request);
        raise_unless_ok(*node_, in_part ? Outcome::indeterminate : request.outcome, ReplyStatus::ok, {},
                        request.command.size());
    }
    return requests;
}

nb::list PyNode::execute_many(nb::sequence const& commands, std::int64_t timeout_ns) {
    std::vector<ClientRequest> const requests = run_many(commands, timeout_ns, true);
    nb::list replies;
    auto failed = requests.size();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        ClientRequest const& request = requests[i];
        if (request.status == ReplyStatus::failed) {
            replies.append(nb::str(reinterpret_cast<char const*>(request.reply.data()), request.reply.size()));
            failed = std::min(failed, i);
        } else {
            replies.append(to_python(request.reply));
        }
    }
    if (failed != requests.size()) {
        raise_command_failed(failed, nb::tuple(replies));
    }
    return replies;
}

Offset PyNode::propose_many(nb::sequence const& commands, std::int64_t timeout_ns) {
    std::vector<ClientRequest> const requests = run_many(commands, timeout_ns, false);
    return requests.empty() ? 0 : requests.back().offset;
}

nb::object PyNode::read(nb::callable const& function, std::int64_t timeout_ns) {
    check_not_inside();
    Outcome outcome = Outcome::ok;
    {
        PutInterruptsOff const put_off(py_machine_ != nullptr);
        nb::gil_scoped_release const release;
        outcome = node_->begin_exclusive_read(deadline_after(timeout_ns));
    }
    raise_unless_ok(*node_, outcome, ReplyStatus::ok, {}, 0);
    LetGo const end{*node_};
    PyMachine::Inside const inside;
    return function();
}

bool PyNode::wait_until_leading(std::int64_t timeout_ns) {
    check_not_copy();
    std::int64_t const deadline = deadline_after(timeout_ns);
    while (true) {
        std::int64_t const now = monotonic_now();
        {
            nb::gil_scoped_release const release;
            if (node_->wait_until_leading(std::min(deadline, now + kInterruptsCheck))) {
                return true;
            }
        }
        if (PyErr_CheckSignals() != 0) {
            throw nb::python_error();
        }
        if (node_->closed() || !node_->failure().empty()) {
            raise_unless_ok(*node_, Outcome::not_leader, ReplyStatus::ok, {}, 0);
        }
        if (now >= deadline) {
            return false;
        }
    }
}

// Of what one slot is to take.
void PyNode::check_size(std::size_t bytes) const {
    if (bytes > node_->max_command()) {
        raise_unless_ok(*node_, Outcome::too_large, ReplyStatus::ok, {}, bytes);
    }
}

std::vector<Nanoseconds> PyNode::bench_latency(std::size_t payload, std::size_t outstanding, std::size_t count) {
    check_not_copy();
    check_size(payload);
    PutInterruptsOff const put_off(py_machine_ != nullptr);
    nb::gil_scoped_release const release;
    return mu::bench_latency(*node_, payload, outstanding, count);
}

std::vector<Nanoseconds> PyNode::bench_floor(std::size_t payload, std::size_t count) {
    check_not_copy();
    nb::gil_scoped_release const release;
    return mu::bench_floor(*node_, payload, count);
}

nb::tuple PyNode::bench_throughput(std::size_t payload, std::size_t batch, std::size_t outstanding, std::size_t count) {
    check_size(batch * payload + commands_prefix_bytes(batch) - commands_prefix_bytes(1));
    check_not_copy();
    ThroughputResult result;
    {
        PutInterruptsOff const put_off(py_machine_ != nullptr);
        nb::gil_scoped_release const release;
        result = mu::bench_throughput(*node_, payload, batch, outstanding, count);
    }
    raise_unless_ok(*node_, result.outcome, ReplyStatus::ok, {}, payload * batch);
    return nb::make_tuple(result.elapsed, nb::cast(result.group_latencies));
}

}  // namespace mu::bindings
