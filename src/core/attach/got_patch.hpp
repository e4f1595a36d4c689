// Redirects libc calls of the program that this library was loaded into, by writing into its global offset table.
//
// Only the executable's own table is changed: libraries, this one included, go on calling libc directly. Works for
// position-independent executables with lazy or immediate binding, on x86-64 and arm64.
#pragma once

#include <span>
#include <string>

namespace mu::attach {

struct Redirection {
    char const* name;    // of the libc function
    void* replacement;   // what is to be called instead
    bool found = false;  // whether the program calls it at all
};

// Empty if all went well, else what went wrong; then nothing was redirected.
[[nodiscard]] std::string redirect(std::span<Redirection> redirections);

}  // namespace mu::attach
