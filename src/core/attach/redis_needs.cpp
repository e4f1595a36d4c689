#include "attach/redis_needs.hpp"

#include <map>
#include <vector>

namespace mu::redis {
namespace {

std::string text_of(RedisModuleCallReply* reply) {
    std::size_t length = 0;
    char const* const bytes = reply == nullptr ? nullptr : api::CallReplyStringPtr(reply, &length);
    return bytes == nullptr ? std::string() : std::string(bytes, length);
}

// One question for all, and the same words each time.
RedisModuleCallReply* ask(RedisModuleCtx* context) {
    static std::vector<RedisModuleString*> names;
    if (names.empty()) {
        for (Need const& each : kNeeds) {
            names.push_back(api::CreateString(nullptr, each.setting.data(), each.setting.size()));
        }
    }
    return api::Call(context, "CONFIG", "cv", "GET", names.data(), names.size());
}

}  // namespace

std::string wrong_setting(RedisModuleCtx* context) {
    RedisModuleCallReply* const reply = ask(context);
    std::map<std::string, std::string, std::less<>> found;
    if (reply != nullptr) {
        if (api::CallReplyType(reply) == api::kReplyArray) {
            for (std::size_t i = 0; i + 1 < api::CallReplyLength(reply); i += 2) {
                found[text_of(api::CallReplyArrayElement(reply, i))] =
                    text_of(api::CallReplyArrayElement(reply, i + 1));
            }
        }
        api::FreeCallReply(reply);
    }
    for (Need const& each : kNeeds) {
        auto const has = found.find(each.setting);
        if (has == found.end()) {
            return "redis does not tell its setting " + std::string(each.setting);
        }
        if (has->second != each.value) {
            return "redis's setting " + std::string(each.setting) + " is \"" + has->second +
                   "\", and replication stands on \"" + std::string(each.value) + "\"";
        }
    }
    return {};
}

}  // namespace mu::redis
