// What redis loads: `--loadmodule mu_redis.so key=value …`.
#include <csignal>
#include <memory>
#include <string>

#include "attach/redis_commands.hpp"
#include "attach/redis_filter.hpp"
#include "attach/redis_server.hpp"
#include "attach/redis_tap.hpp"

namespace {

using namespace mu::redis;

std::unique_ptr<Server> instance;

void loop_event(RedisModuleCtx* context, api::Event, std::uint64_t subevent, void*) {
    if (subevent == api::kAfterSleep) {
        instance->after_sleep(context);
    } else {
        before_sleep();
    }
}

void loading_event(RedisModuleCtx*, api::Event, std::uint64_t subevent, void*) {
    if (subevent == api::kLoadsForReplication) {
        instance->data_are_replaced();
    }
}

void replica_event(RedisModuleCtx*, api::Event, std::uint64_t subevent, void*) {
    instance->replica_changed(subevent == api::kReplicaIsOnline);
}

int give_up(RedisModuleCtx* context, std::string const& why) {
    api::Log(context, "warning", "%s", why.c_str());
    return api::kError;
}

int load(RedisModuleCtx* context, RedisModuleString** words, int count) {
    if (!api::load(context)) {
        return api::kError;  // older than Redis 7.0: there may not even be a way to say so
    }
    api::SetModuleAttribs(context, "mu", 1, api::kVersion);
    ModuleSettings settings;
    for (int i = 0; i < count; ++i) {
        std::size_t length = 0;
        char const* const bytes = api::StringPtrLen(words[i], &length);
        if (std::string const wrong = take_setting(settings, {bytes, length}); !wrong.empty()) {
            return give_up(context, wrong);
        }
    }
    instance = std::make_unique<Server>(settings);
    if (instance->peer(settings.replica) == nullptr) {
        return give_up(context, "the module wants replica= and the address of every replica, its own included (peer=)");
    }
    if (!add_commands(context)) {
        return give_up(context, "a command of the module's exists already: is it loaded twice, or by a sentinel?");
    }
    if (api::SubscribeToServerEvent(context, api::kEventLoop, loop_event) != api::kOk ||
        api::SubscribeToServerEvent(context, api::kLoadingData, loading_event) != api::kOk ||
        api::SubscribeToServerEvent(context, api::kReplicaChange, replica_event) != api::kOk ||
        api::RegisterCommandFilter(context, filter_command, api::kFilterNotOwnCalls) == nullptr) {
        return give_up(context, "this redis lacks what the module needs; it takes Redis 7.0, Valkey 8 or later");
    }
    if (std::string const wrong = instance->start(); !wrong.empty()) {
        return give_up(context, wrong);
    }
    if (!settings.dump.empty()) {
        std::signal(SIGUSR1, [](int) { instance->ask_for_dump(); });
    }
    std::atexit([] { instance->stop(); });
    return api::kOk;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx* context,
                                                                         RedisModuleString** words, int count) {
    return load(context, words, count);
}
