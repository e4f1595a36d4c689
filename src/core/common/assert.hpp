// Invariants are always on: a replica that has lost one must stop before it tells anybody else something false.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace mu {

[[noreturn]] inline void invariant_broken(char const* expression, char const* file, int line) noexcept {
    std::fprintf(stderr, "mu: invariant broken: %s (%s:%d). The replica stops; the others go on.\n", expression, file,
                 line);
    std::abort();
}

}  // namespace mu

#define MU_ASSERT(expression) \
    (static_cast<bool>(expression) ? static_cast<void>(0) : ::mu::invariant_broken(#expression, __FILE__, __LINE__))
