#include "fabric/endpoint.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "fabric/segment.hpp"

namespace mu {

namespace {

void check_name(std::string const& cluster) {
    constexpr std::size_t kLongest = 64;
    auto const plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    if (!cluster.empty() && cluster.size() <= kLongest && std::all_of(cluster.begin(), cluster.end(), plain)) return;
    throw FabricError(FabricError::Code::bad_name, "a cluster cannot be named \"" + cluster +
                                                       "\". Nothing was changed. Use 1 to 64 letters, digits, - or _");
}

void check_members(EndpointOptions const& options) {
    std::array<int, kMaxReplicas> seen{};
    bool sound = !options.members.empty();
    for (ReplicaId const member : options.members) {
        sound = sound && member != kNobody && member <= kMaxReplicaId && seen[member]++ == 0;
    }
    if (sound && options.replica <= kMaxReplicaId && seen[options.replica] == 1) return;
    throw FabricError(FabricError::Code::not_a_member,
                      "replica " + std::to_string(options.replica) + " is not one of the " +
                          std::to_string(options.members.size()) + " members of cluster " + options.cluster +
                          ". Nothing was changed. Member ids are different numbers from 1 to " +
                          std::to_string(kMaxReplicaId) + "; add this one, or start another");
}

void check_sizes(EndpointOptions const& options) {
    constexpr std::uint64_t kLargestBackground = std::uint64_t{1} << 40U;  // bytes; keeps sums far from overflow
    bool const ring = std::has_single_bit(options.ring_bytes) && options.ring_bytes >= kSegmentPage &&
                      options.ring_bytes <= kLargestRing;
    bool const background = options.background_bytes % 8 == 0 && options.background_bytes <= kLargestBackground;
    if (ring && background) return;
    throw FabricError(FabricError::Code::bad_size,
                      "a log of " + std::to_string(options.ring_bytes) + " bytes or a background region of " +
                          std::to_string(options.background_bytes) +
                          " cannot be. Nothing was changed. A log is a power of two from 4096 bytes to 4 GiB, a "
                          "background region a multiple of 8");
}

}  // namespace

void check_options(EndpointOptions const& options) {
    check_name(options.cluster);
    check_members(options);
    check_sizes(options);
}

}  // namespace mu
