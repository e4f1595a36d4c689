// What is replicated: a deterministic program, seen from the protocol.
#pragma once

#include <cstddef>
#include <span>

#include "common/bytes.hpp"
#include "common/types.hpp"

namespace mu {

class StateMachine {
public:
    virtual ~StateMachine() = default;

    // Executes one command and leaves its reply in `reply` (empty on entry). Called in log order, once per command.
    // False: the command failed, on every replica alike, and `reply` says why.
    [[nodiscard]] virtual bool apply(std::span<std::byte const> command, OwnedBytes& reply) = 0;
    // False: it failed, and nothing is given. Whoever was left behind stays so; the others go on.
    [[nodiscard]] virtual bool snapshot(OwnedBytes& out) = 0;
    virtual void restore(std::span<std::byte const> snapshot) = 0;

    // Around a run of apply() calls: what is dear to begin (a language's lock, say) is begun once.
    virtual void begin_run() {}
    virtual void end_run() {}
};

}  // namespace mu
