#include "bindings/errors.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

namespace mu::bindings {
namespace {

namespace nb = nanobind;

template <class... Args>
[[noreturn]] void raise(char const* name, Args&&... args) {
    nb::object const type = nb::module_::import_("mu.errors").attr(name);
    nb::object const error = type(std::forward<Args>(args)...);
    PyErr_SetObject(type.ptr(), error.ptr());
    throw nb::python_error();
}

char const* class_of(FabricError::Code code) noexcept {
    switch (code) {
        case FabricError::Code::id_in_use:
            return "IdInUse";
        case FabricError::Code::no_space:
            return "NoSpace";
        case FabricError::Code::permission_denied:
            return "PermissionRefused";
        case FabricError::Code::other_cluster:
        case FabricError::Code::other_layout:
            return "OtherCluster";
        case FabricError::Code::not_a_member:
        case FabricError::Code::bad_name:
        case FabricError::Code::bad_size:
            return "ConfigError";
        case FabricError::Code::system:
            return "CannotStart";
    }
    return "CannotStart";
}

[[noreturn]] void raise_outcome(Node const& node, Outcome outcome, std::size_t size) {
    if (node.is_copy()) {
        raise("Closed", "This process is a child of fork(), and the replica is its parent's");
    }
    if (node.closed()) {
        raise("Closed", "This replica was closed");
    }
    if (std::string const failure = node.failure(); !failure.empty()) {
        raise("Closed", "This replica stopped by itself: " + failure);
    }
    switch (outcome) {
        case Outcome::too_large:
            raise("TooLarge", size, node.max_command());
        case Outcome::no_majority:
            raise("NoMajority", "Too few followers could be reached in the given time");
        case Outcome::no_room:
            raise("LogFull", "The followers did not apply enough of the log in the given time");
        case Outcome::busy:
            raise("Busy", "This replica was occupied by other commands or reads for all of the given time");
        case Outcome::no_memory:
            raise("NoMemory", "This process has no memory left to put the proposal together");
        case Outcome::indeterminate:
            raise("Indeterminate", "The leadership ended, or the time ran out, before the command was decided");
        case Outcome::not_leader:
        case Outcome::ok:
            break;
    }
    ReplicaId const leader = node.replica().shared().leader.load(std::memory_order_acquire);
    raise("NotLeader", leader == node.replica().settings().self ? kNobody : leader);
}

}  // namespace

void raise_fabric_error(FabricError const& error) { raise(class_of(error.code()), std::string(error.what())); }

void raise_config_error(char const* what) { raise("ConfigError", std::string(what)); }

void raise_command_failed(std::size_t index, nb::tuple const& replies) {
    raise("CommandFailed", nb::object(replies[index]), index, replies);
}

void raise_unless_ok(Node const& node, Outcome outcome, ReplyStatus status, std::span<std::byte const> reply,
                     std::size_t size) {
    if (outcome != Outcome::ok) {
        raise_outcome(node, outcome, size);
    }
    if (status == ReplyStatus::failed) {
        raise("CommandFailed", nb::str(reinterpret_cast<char const*>(reply.data()), reply.size()));
    }
    if (status == ReplyStatus::session_expired) {
        raise("SessionExpired", "The cluster no longer knows this session");
    }
    if (status == ReplyStatus::session_stale) {
        raise("SessionExpired",
              "This request's number, or a later one, was used already: another session has the same client id");
    }
}

}  // namespace mu::bindings
