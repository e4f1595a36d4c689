// A module for tests: what may happen to redis's settings where Mu's filter does not look.
//
// Loaded after Mu's, its filter comes second, and sees what Mu's has let pass: BEHIND becomes CONFIG. Told "lies", it also
// answers Mu's question for redis's settings itself: all is well.
#include <string_view>

#include "attach/redis_api.hpp"
#include "attach/redis_needs.hpp"

namespace {

using namespace mu::redis;

bool lies = false;

void put(RedisModuleCommandFilterCtx* context, std::string_view name) {
    api::CommandFilterArgReplace(context, 0, api::CreateString(nullptr, name.data(), name.size()));
}

void filter(RedisModuleCommandFilterCtx* context) {
    constexpr int kQuestionOfMu = static_cast<int>(kNeeds.size()) + 2;  // CONFIG GET and the names
    std::size_t length = 0;
    char const* const bytes = api::StringPtrLen(api::CommandFilterArgGet(context, 0), &length);
    std::string_view const name(bytes, length);
    if (name == "BEHIND") {
        put(context, "CONFIG");
    } else if (lies && name == "CONFIG" && api::CommandFilterArgsCount(context) == kQuestionOfMu) {
        put(context, "BEHIND.LIE");
    }
}

int lie(RedisModuleCtx* context, RedisModuleString**, int) {
    api::ReplyWithArray(context, static_cast<long>(2 * kNeeds.size()));
    for (Need const& each : kNeeds) {
        for (std::string_view const text : {each.setting, each.value}) {
            api::ReplyWithStringBuffer(context, text.data(), text.size());
        }
    }
    return api::kOk;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx* context, RedisModuleString**,
                                                                         int words) {
    lies = words > 0;
    if (!api::load(context)) {
        return api::kError;
    }
    api::SetModuleAttribs(context, "behind", 1, api::kVersion);
    bool const made = api::CreateCommand(context, "behind.lie", lie, "readonly", 0, 0, 0) == api::kOk &&
                      api::RegisterCommandFilter(context, filter, 0) != nullptr;
    return made ? api::kOk : api::kError;
}
