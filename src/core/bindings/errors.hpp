// Where outcomes become Python exceptions: the classes of mu.errors, looked up when they are needed.
#pragma once

#include <nanobind/nanobind.h>

#include "fabric/error.hpp"
#include "runtime/node.hpp"

namespace mu::bindings {

[[noreturn]] void raise_fabric_error(FabricError const& error);
[[noreturn]] void raise_config_error(char const* what);
// For a finished request that was not answered; does nothing for a success.
void raise_unless_ok(Node const& node, Outcome outcome, ReplyStatus status, std::span<std::byte const> reply,
                     std::size_t size);

// The first command of a batch that has failed; `replies` are of all of them: bytes, or a text of one that has failed.
[[noreturn]] void raise_command_failed(std::size_t index, nanobind::tuple const& replies);

}  // namespace mu::bindings
