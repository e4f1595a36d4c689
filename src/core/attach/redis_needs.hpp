// Redis's own settings that replication stands on, each with its value.
//
// The filter refuses CONFIG SET of another one. But a setting may change where no filter looks (another module's doing,
// an option that got by the command line's checks), so redis itself is asked now and then.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "attach/redis_api.hpp"

namespace mu::redis {

struct Need {
    std::string_view setting;
    std::string_view value;
};

// `mu redis server` starts redis with these (options.py); whoever starts it with others is told so here.
inline constexpr std::array<Need, 14> kNeeds{{
    {"appendonly", "yes"},
    {"appendfsync", "always"},
    {"no-appendfsync-on-rewrite", "no"},
    {"auto-aof-rewrite-percentage", "0"},
    {"aof-timestamp-enabled", "no"},
    {"save", ""},
    {"replica-serve-stale-data", "no"},
    {"replica-ignore-maxmemory", "yes"},
    {"replica-read-only", "yes"},
    {"repl-diskless-sync", "no"},
    {"repl-timeout", "3600"},
    {"repl-backlog-ttl", "1"},
    {"io-threads", "1"},
    {"shutdown-timeout", "0"},
}};

// Asks redis for all of them: which one is not as it should be, as a sentence's beginning; or nothing.
[[nodiscard]] std::string wrong_setting(RedisModuleCtx* context);

}  // namespace mu::redis
