// Walks seed after seed until one walk is caught doing something wrong, and says so in one line of JSON:
//
//     {"caught": true, "seed": 12, "steps": 8431, "total_steps": 274193, "digest": 0, "failure": "disagreement: …"}
//
// Linked against a core into which somebody has built a mistake (build.py), it measures how soon the simulator sees it;
// against the core as it is, it finds nothing, and the digest stands for all that has happened. Whatever the mistake breaks, the line is printed: the judge's word, a lost
// invariant, a crash. A walk ends after a number of steps; only a loop inside one step is left to whoever started this.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "simulation/walk.hpp"

namespace mu::simulation {
namespace {

struct Wish {
    std::uint64_t first = 1;
    std::uint64_t count = 1'000;
    std::uint64_t steps = 0;     // of each walk; 0: as its seed says
    std::uint64_t replicas = 0;  // 0: as its seed says
    std::uint64_t milliseconds = 0;
};

struct Progress {
    Walk* walk = nullptr;
    std::uint64_t seed = 0;
    std::uint64_t steps_before = 0;
    std::uint64_t digest = 0;  // of the walks that were sound, added up
};
Progress progress;

void say(bool caught, std::uint64_t steps, std::string const& failure) {
    std::string text;
    for (char const c : failure) {
        if (c == '"' || c == '\\') text += '\\';
        text += c == '\n' ? ' ' : c;
    }
    auto const wide = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf(R"({"caught": %s, "seed": %llu, "steps": %llu, "total_steps": %llu, "digest": %llu, "failure": "%s"})"
                "\n",
                caught ? "true" : "false", wide(progress.seed), wide(steps), wide(progress.steps_before + steps),
                wide(progress.digest), text.c_str());
    std::fflush(stdout);
}

// A replica that lost an invariant has stopped: that is caught too. The process cannot go on from here, so this may
// print; it was raised by the walk itself, not in the middle of somebody else's output.
void on_end(int signal) {
    char const* const what = signal == SIGABRT ? "a replica lost an invariant" : "a replica crashed";
    say(true, progress.walk == nullptr ? 0 : progress.walk->steps(), what);
    _exit(0);
}

bool parse(int count, char** arguments, Wish& wish) {
    for (int i = 1; i + 1 < count; i += 2) {
        std::uint64_t const value = std::strtoull(arguments[i + 1], nullptr, 10);
        std::string const name = arguments[i];
        if (name == "--first") {
            wish.first = value;
        } else if (name == "--count") {
            wish.count = value;
        } else if (name == "--steps") {
            wish.steps = value;
        } else if (name == "--replicas") {
            wish.replicas = value;
        } else if (name == "--milliseconds") {
            wish.milliseconds = value;
        } else {
            return false;
        }
    }
    return count % 2 == 1;
}

void walk_until_caught(Wish const& wish) {
    auto const began = std::chrono::steady_clock::now();
    for (std::uint64_t seed = wish.first; seed < wish.first + wish.count; ++seed) {
        Walk walk(WalkPlan::of(seed, wish.steps, wish.replicas));
        progress.walk = &walk;
        progress.seed = seed;
        bool const sound = walk.run();
        progress.walk = nullptr;
        if (!sound) {
            say(true, walk.steps(), walk.failure());
            return;
        }
        progress.steps_before += walk.steps();
        progress.digest += walk.digest();
        std::chrono::duration<double, std::milli> const spent = std::chrono::steady_clock::now() - began;
        if (wish.milliseconds != 0 && spent.count() > static_cast<double>(wish.milliseconds)) break;
    }
    say(false, 0, "");
}

}  // namespace
}  // namespace mu::simulation

int main(int count, char** arguments) {
    using namespace mu::simulation;
    Wish wish;
    if (!parse(count, arguments, wish)) {
        std::fprintf(stderr, "usage: %s [--first SEED] [--count N] [--steps N] [--replicas R] [--milliseconds LIMIT]\n",
                     arguments[0]);
        return 2;
    }
    for (int const signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE})
        std::signal(signal, on_end);
    walk_until_caught(wish);
    return 0;
}
