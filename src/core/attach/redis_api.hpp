// The part of Redis's module interface that is used here, declared by hand: redismodule.h is in no Debian package, and
// not free from Redis 7.4 on. All of it exists since Redis 7.0, and in Valkey.
//
// Invariant: every function is resolved by load(), or the module does not load.
#pragma once

#include <cstddef>
#include <cstdint>

struct RedisModuleCtx;
struct RedisModuleString;
struct RedisModuleCallReply;
struct RedisModuleCommandFilter;
struct RedisModuleCommandFilterCtx;
struct RedisModuleServerInfoData;

namespace mu::redis::api {

inline constexpr int kOk = 0;
inline constexpr int kError = 1;
inline constexpr int kVersion = 1;
inline constexpr int kFilterNotOwnCalls = 1;
inline constexpr int kReplyError = 1;
inline constexpr int kReplyArray = 3;

enum ContextFlag : int {
    kIsReplica = 1 << 3,
    kAppendOnly = 1 << 6,
    kFromLink = 1 << 12,
    kLoading = 1 << 13,
    kReplicaTransferring = 1 << 16,
    kReplicaOnline = 1 << 17,
};

struct Event {
    std::uint64_t id;
    std::uint64_t version;
};
inline constexpr Event kLoadingData{3, 1};    // sub-event 2: begins, for replication
inline constexpr Event kReplicaChange{6, 1};  // sub-event 0: online, 1: offline
inline constexpr Event kEventLoop{15, 1};     // sub-event 0: before sleep, 1: after sleep
inline constexpr std::uint64_t kAfterSleep = 1;
inline constexpr std::uint64_t kLoadsForReplication = 2;
inline constexpr std::uint64_t kReplicaIsOnline = 0;
inline constexpr int kReadable = 1;

using Command = int (*)(RedisModuleCtx*, RedisModuleString**, int);
using Filter = void (*)(RedisModuleCommandFilterCtx*);
using EventCallback = void (*)(RedisModuleCtx*, Event, std::uint64_t, void*);
using DescriptorCallback = void (*)(int, void*, int);

// Name in Redis, return type, parameters: one line a function.
#define MU_REDIS_FUNCTIONS(X)                                                                  \
    X(SetModuleAttribs, void, (RedisModuleCtx*, char const*, int, int))                        \
    X(CreateCommand, int, (RedisModuleCtx*, char const*, Command, char const*, int, int, int)) \
    X(RegisterCommandFilter, RedisModuleCommandFilter*, (RedisModuleCtx*, Filter, int))        \
    X(CommandFilterArgsCount, int, (RedisModuleCommandFilterCtx*))                             \
    X(CommandFilterArgGet, RedisModuleString*, (RedisModuleCommandFilterCtx*, int))            \
    X(CommandFilterArgReplace, int, (RedisModuleCommandFilterCtx*, int, RedisModuleString*))   \
    X(CommandFilterArgInsert, int, (RedisModuleCommandFilterCtx*, int, RedisModuleString*))    \
    X(CommandFilterArgDelete, int, (RedisModuleCommandFilterCtx*, int))                        \
    X(CreateString, RedisModuleString*, (RedisModuleCtx*, char const*, std::size_t))           \
    X(StringPtrLen, char const*, (RedisModuleString const*, std::size_t*))                     \
    X(StringToLongLong, int, (RedisModuleString const*, long long*))                           \
    X(ReplyWithError, int, (RedisModuleCtx*, char const*))                                     \
    X(ReplyWithSimpleString, int, (RedisModuleCtx*, char const*))                              \
    X(ReplyWithLongLong, int, (RedisModuleCtx*, long long))                                    \
    X(ReplyWithArray, int, (RedisModuleCtx*, long))                                            \
    X(ReplyWithMap, int, (RedisModuleCtx*, long))                                              \
    X(ReplyWithNull, int, (RedisModuleCtx*))                                                   \
    X(ReplyWithStringBuffer, int, (RedisModuleCtx*, char const*, std::size_t))                 \
    X(ReplyWithVerbatimString, int, (RedisModuleCtx*, char const*, std::size_t))               \
    X(ReplyWithCallReply, int, (RedisModuleCtx*, RedisModuleCallReply*))                       \
    X(Call, RedisModuleCallReply*, (RedisModuleCtx*, char const*, char const*, ...))           \
    X(CallReplyType, int, (RedisModuleCallReply*))                                             \
    X(CallReplyLength, std::size_t, (RedisModuleCallReply*))                                   \
    X(CallReplyArrayElement, RedisModuleCallReply*, (RedisModuleCallReply*, std::size_t))      \
    X(CallReplyStringPtr, char const*, (RedisModuleCallReply*, std::size_t*))                  \
    X(FreeCallReply, void, (RedisModuleCallReply*))                                            \
    X(Replicate, int, (RedisModuleCtx*, char const*, char const*, ...))                        \
    X(SelectDb, int, (RedisModuleCtx*, int))                                                   \
    X(GetContextFlags, int, (RedisModuleCtx*))                                                 \
    X(SubscribeToServerEvent, int, (RedisModuleCtx*, Event, EventCallback))                    \
    X(EventLoopAdd, int, (int, int, DescriptorCallback, void*))                                \
    X(PublishMessage, int, (RedisModuleCtx*, RedisModuleString*, RedisModuleString*))          \
    X(GetServerInfo, RedisModuleServerInfoData*, (RedisModuleCtx*, char const*))               \
    X(ServerInfoGetFieldSigned, long long, (RedisModuleServerInfoData*, char const*, int*))    \
    X(FreeServerInfo, void, (RedisModuleCtx*, RedisModuleServerInfoData*))                     \
    X(FreeString, void, (RedisModuleCtx*, RedisModuleString*))                                 \
    X(Log, void, (RedisModuleCtx*, char const*, char const*, ...))

#define MU_DECLARE(name, result, parameters)     \
    using name##Function = result(*) parameters; \
    inline name##Function name = nullptr;
MU_REDIS_FUNCTIONS(MU_DECLARE)
#undef MU_DECLARE

// The first word of the context that redis hands to a module is the function that finds the others.
[[nodiscard]] inline bool load(RedisModuleCtx* context) {
    using Finder = int (*)(char const*, void*);
    auto const find = reinterpret_cast<Finder>(*reinterpret_cast<void**>(context));
    bool all = true;
#define MU_LOAD(name, result, parameters) all = find("RedisModule_" #name, &name) == kOk && name != nullptr && all;
    MU_REDIS_FUNCTIONS(MU_LOAD)
#undef MU_LOAD
    return all;
}

}  // namespace mu::redis::api
