// What clients may not do, and what is answered in redis's stead.
#pragma once

#include "attach/redis_api.hpp"

namespace mu::redis {

// Looks at every command before redis does.
void filter_command(RedisModuleCommandFilterCtx* context);

// Why MU.REFUSE was put in a command's place; its argument.
enum class Refusal : int {
    not_leading = 0,
    bypasses_log,
    setting,
    hidden_effects,
    not_copied,
    own_channel,
    stale_reads,
    stops_replication,
    changes_follower,
    names_link,
    keeps_no_file,
};
[[nodiscard]] char const* refusal_text(Refusal refusal) noexcept;

}  // namespace mu::redis
