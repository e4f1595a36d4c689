// How long each way of changing a permission takes (the paper's figure of the same name): access flags, restarting a queue
// pair, a new queue pair, and registering the log again, which alone depends on the log's size.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fabric/verbs_device.hpp"

namespace mu {

namespace {

constexpr int kReadable = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ;
constexpr int kWritable = kReadable | IBV_ACCESS_REMOTE_WRITE;

[[noreturn]] void refuse(VerbsDevice const& device, char const* what) {
    throw FabricError(FabricError::Code::system, "device " + device.name() + " refused " + what + ": " +
                                                     std::strerror(errno) + ". Nothing was changed");
}

// Memory of a log's size, for as long as it is measured.
class SomeMemory {
public:
    explicit SomeMemory(std::size_t bytes)
        : bytes_(bytes),
          base_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)) {
        if (base_ == MAP_FAILED) {
            throw FabricError(FabricError::Code::no_space,
                              "there is no memory for a log of " + std::to_string(bytes) +
                                  " bytes. Nothing was changed. Measure with a smaller one");
        }
    }
    ~SomeMemory() { ::munmap(base_, bytes_); }
    SomeMemory(SomeMemory const&) = delete;
    SomeMemory& operator=(SomeMemory const&) = delete;
    [[nodiscard]] std::span<std::byte> all() const noexcept { return {static_cast<std::byte*>(base_), bytes_}; }

private:
    std::size_t bytes_;
    void* base_;
};

// Where to connect to: another device's port here if there is one (a soft device may not find the way to itself).
RemoteEnd some_end(VerbsDevice const& device, VerbsOptions const& options) {
    VerbsOptions other = options;
    for (VerbsPortReport const& port : look_for_verbs(options).ports) {
        bool const has_address = port.gid_index >= 0;
        if (port.state != "active" || !has_address || port.device == device.name()) continue;
        other.device = port.device;
        other.port = port.port;
        VerbsDevice const found(other);
        return {found.gid(), found.lid(), found.mtu(), 1, 0};
    }
    return {device.gid(), device.lid(), device.mtu(), 1, 0};
}

}  // namespace

PermissionTimes measure_permission(VerbsOptions const& options, std::size_t log_bytes, std::size_t rounds,
                                   Nanoseconds (*clock)()) {
    VerbsDevice const device(options);
    CompletionQueue const completions(device, 1);
    SomeMemory const log(log_bytes);
    Registration registration(device, log.all(), kReadable);
    RemoteEnd const remote = some_end(device, options);
    auto pair = std::make_unique<QueuePair>(device, completions);
    if (!pair->connect(remote, 0, kReadable)) refuse(device, "to connect a queue pair");
    PermissionTimes times;
    auto const timed = [&](std::vector<Nanoseconds>& into, char const* what, auto const& change) {
        Nanoseconds const began = clock();
        if (!change()) refuse(device, what);
        into.push_back(clock() - began);
    };
    for (std::size_t round = 0; round < rounds; ++round) {
        timed(times.flags, "new access flags", [&] { return pair->allow(round % 2 == 0 ? kWritable : kReadable); });
        timed(times.restart, "to restart a queue pair", [&] { return pair->connect(remote, 0, kReadable); });
        timed(times.replace, "a new queue pair", [&] {
            pair = std::make_unique<QueuePair>(device, completions);
            return pair->connect(remote, 0, kReadable);
        });
        timed(times.register_again, "to register the log",
              [&] { return registration.renew(device, log.all(), round % 2 == 0 ? kWritable : kReadable); });
    }
    return times;
}

}  // namespace mu
