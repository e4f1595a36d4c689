// The tap: what redis would write to its append-only file comes here instead, before any reply of that pass leaves.
//
// With `appendonly yes` and `appendfsync always` redis computes the effects of one pass of its event loop, writes them
// with one write() and makes them durable with one fdatasync(), and only then sends the replies. Both calls are
// redirected for that file's descriptor: write() collects the batch, fdatasync() has it decided. Writes to clients are
// redirected too, so that a reply can be held to the condition under which it is true.
//
// Only the main thread's calls count; a child that redis forks, or a thread of its own, goes through to libc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/bytes.hpp"

namespace mu::redis {

// Who decides. All calls come from redis's main thread.
class TapOwner {
public:
    virtual ~TapOwner() = default;
    // Whether effects written now are to be collected; otherwise they came from the log and are dropped.
    [[nodiscard]] virtual bool collects() noexcept = 0;
    // Where the batch lies: the owner keeps the room before the effects for itself.
    virtual void collect(std::span<std::byte const> effects) = 0;
    virtual void decide() = 0;
    // Whether bytes may leave to a client now. False: the connection is broken instead.
    [[nodiscard]] virtual bool may_reply() = 0;
    // Whether this pass may have had effects that redis has not handed over yet.
    [[nodiscard]] virtual bool has_executed() const noexcept = 0;
    // Whether redis may connect to anybody now; else it tries again by itself.
    [[nodiscard]] virtual bool may_connect() noexcept = 0;
};

// Installs the redirections; returns what went wrong, or nothing. For the marker, a descriptor that is never ready, redis
// is to call pass_ends().
[[nodiscard]] std::string install_tap(TapOwner& owner, int marker);
// Redis has served all that had come by the beginning of this pass.
void pass_ends() noexcept;
// Redis is about to ask for what is ready, between two passes.
void before_sleep() noexcept;

// The connection whose command is being executed, if that is known: the one that redis read last. Negative: it is not
// known, but a client's, not the link's. So it is behind a pass's end, when redis executes what clients have sent behind
// a command that blocked them, and in the rest of a pass in which it has looked at others in the middle of a long command.
[[nodiscard]] int descriptor_served() noexcept;
// The descriptor by which commands of redis's link have come; forgotten when it is closed. Negative: unknown.
[[nodiscard]] int known_link() noexcept;
void know_link(int descriptor) noexcept;
// Breaks the connections that still have to take bytes from an earlier pass: what redis has appended to those since
// would leave later, when nobody asks any more whether it may.
void break_backlogged() noexcept;

}  // namespace mu::redis
