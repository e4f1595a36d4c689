// Which connections may be in the middle of a transaction, told from the commands that come by.
//
// Redis queues what a client sends between MULTI and EXEC, and with it whatever was put in the place of a refused command.
// So it must be known there. Invariant: a connection in a transaction is taken for one; another may be, too, after
// a MULTI of which nobody can tell whose it was.
#pragma once

namespace mu::redis {

// Negative: it is not known which connection's.
void transaction_begins(int descriptor) noexcept;
void transaction_ends(int descriptor) noexcept;
[[nodiscard]] bool may_be_in_transaction(int descriptor) noexcept;
// What was queued for a leader is not for a follower to execute.
void leadership_ends() noexcept;
[[nodiscard]] bool is_overtaken(int descriptor) noexcept;

}  // namespace mu::redis
