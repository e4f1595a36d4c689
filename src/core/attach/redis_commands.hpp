// The commands that this module adds: what followers execute, what SENTINEL, ROLE, INFO and WAIT answer.
#pragma once

#include "attach/redis_api.hpp"

namespace mu::redis {

[[nodiscard]] bool add_commands(RedisModuleCtx* context);

}  // namespace mu::redis
