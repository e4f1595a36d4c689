#include "fabric/process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <string_view>

namespace mu {

ProcessState look_at_process(std::int32_t pid) noexcept {
    std::array<char, 64> path;
    std::snprintf(path.data(), path.size(), "/proc/%" PRId32 "/stat", pid);
    int const file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return {};
    std::array<char, 1024> text;
    ssize_t const length = ::read(file, text.data(), text.size());
    ::close(file);
    std::string_view rest(text.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    // "pid (name) state parent …": the name may hold anything, so what counts is its last parenthesis.
    std::size_t const name_end = rest.rfind(") ");
    if (name_end == std::string_view::npos || name_end + 2 >= rest.size()) return {};
    rest.remove_prefix(name_end + 2);
    ProcessState state{.letter = rest.front(), .started_at = 0};
    constexpr int kStartedAt = 22 - 3;  // fields after the state, which is the third
    for (int field = 0; field < kStartedAt; ++field) {
        std::size_t const space = rest.find(' ');
        if (space == std::string_view::npos) return {};
        rest.remove_prefix(space + 1);
    }
    std::from_chars(rest.data(), rest.data() + rest.size(), state.started_at);
    return state;
}

}  // namespace mu
