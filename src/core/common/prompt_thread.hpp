// Threads that need the processor seldom, briefly and soon: heartbeats, doorbells, deaths. Each thread asks for itself.
#pragma once

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace mu {

// As the kernel defines it; the C library has no call for it.
struct SchedulingAttributes {
    std::uint32_t size = sizeof(SchedulingAttributes);
    std::uint32_t policy = 0;  // SCHED_OTHER
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime_ns = 0;
    std::uint64_t deadline_ns = 0;
    std::uint64_t period_ns = 0;
};
static_assert(sizeof(SchedulingAttributes) == 48);

inline constexpr std::uint64_t kPromptSlice = 100'000;  // ns; the shortest that the kernel grants

// Linux 6.12 and later take a short slice for the wish to run soon; older kernels do without. No privilege is needed.
inline void become_prompt() noexcept {
    prctl(PR_SET_TIMERSLACK, 1);  // sleeps of microseconds mean it
    SchedulingAttributes attributes;
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    attributes.runtime_ns = kPromptSlice;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace mu
