// What Redis's batches look like in the log.
//
// A *reign* is one time in which one replica's redis accepts writes. It begins with a record of its own; a batch counts
// only if its reign is still the last one that began, and only as the next of its reign. So whatever the election
// does, a batch of a redis that has not executed all that was decided before it is void, on every replica alike.
//
// A *batch* is what redis would have written to its append-only file in one pass of its event loop. One that does not
// fit a slot is cut into parts; it counts when the last of them is decided, and all at once.
#pragma once

#include <cstdint>
#include <type_traits>

namespace mu::redis {

enum class RecordKind : std::uint32_t { reign = 1, part = 2, last_part = 3 };

struct RecordHead {
    RecordKind kind = RecordKind::reign;
    std::uint32_t replica = 0;
    std::uint64_t reign = 0;  // random, never 0
    std::uint64_t batch = 0;  // of the reign, from 1; 0 for the reign's own record
    std::uint64_t part = 0;   // of the batch, from 0
};
static_assert(sizeof(RecordHead) == 32 && std::is_trivially_copyable_v<RecordHead>);

}  // namespace mu::redis
