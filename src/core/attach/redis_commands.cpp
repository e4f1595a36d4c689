#include "attach/redis_commands.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attach/redis_filter.hpp"
#include "attach/redis_server.hpp"

namespace mu::redis {
namespace {

using Context = RedisModuleCtx*;
using Words = RedisModuleString**;
using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string_view text_of(RedisModuleString const* string) noexcept {
    std::size_t length = 0;
    char const* const bytes = api::StringPtrLen(string, &length);
    return {bytes, length};
}

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    return result;
}

void reply(Context context, std::string_view text) { api::ReplyWithStringBuffer(context, text.data(), text.size()); }

void reply(Context context, Pairs const& pairs) {
    api::ReplyWithMap(context, static_cast<long>(pairs.size()));
    for (auto const& [name, value] : pairs) {
        reply(context, name);
        reply(context, value);
    }
}

bool is_from_link(Context context) { return (api::GetContextFlags(context) & api::kFromLink) != 0; }

// --- Over the link --------------------------------------------------------------------------------------------------

int at_command(Context context, Words words, int count) {
    long long number = 0;
    if (count != 2 || !is_from_link(context) || api::StringToLongLong(words[1], &number) != api::kOk) {
        return api::ReplyWithError(context, "ERR MU.AT is for the link of a replica only.");
    }
    server()->at(context, static_cast<std::uint64_t>(number));
    return api::ReplyWithSimpleString(context, "OK");
}

// The first batch of every reign: it proves that effects come by the tap, and changes nothing.
int tap_command(Context context, Words, int) { return api::ReplyWithSimpleString(context, "OK"); }

int refuse_command(Context context, Words words, int count) {
    long long why = 0;
    if (count != 2 || api::StringToLongLong(words[1], &why) != api::kOk) {
        why = 0;
    }
    if (is_from_link(context)) {
        server()->stream_is_broken();
    }
    return api::ReplyWithError(context, refusal_text(static_cast<Refusal>(why)));
}

// --- SENTINEL -------------------------------------------------------------------------------------------------------

std::string id_of(PeerAddress const& peer) {  // forty digits, as a sentinel's
    std::string id = std::to_string(server()->settings().cluster_key) + std::to_string(peer.replica);
    return std::string(40 - std::min<std::size_t>(id.size(), 40), '0') + id;
}

Pairs describe(PeerAddress const& peer, bool leads, bool alive) {
    std::size_t const others = server()->settings().peers.size() - 1;
    std::string const down = alive ? "" : (leads ? ",s_down,o_down" : ",s_down");
    Pairs pairs{
        {"name", leads ? server()->settings().service : peer.host + ":" + std::to_string(peer.port)},
        {"ip", peer.host},
        {"port", std::to_string(peer.port)},
        {"runid", id_of(peer)},
        {"flags", (leads ? "master" : "slave") + down},
    };
    if (leads) {
        pairs.insert(pairs.end(), {{"num-slaves", std::to_string(others)},
                                   {"num-other-sentinels", std::to_string(others)},
                                   {"quorum", std::to_string((others + 1) / 2 + 1)}});
    } else {
        PeerAddress const* const leader = server()->leader();
        pairs.insert(pairs.end(), {{"master-link-status", alive ? "ok" : "err"},
                                   {"master-host", leader == nullptr ? "?" : leader->host},
                                   {"master-port", leader == nullptr ? "0" : std::to_string(leader->port)},
                                   {"slave-priority", "100"}});
    }
    return pairs;
}

void reply_leader(Context context) {
    PeerAddress const* const leader = server()->leader();
    ModuleSettings const& settings = server()->settings();
    // While nobody is known the last resort is a description that says "down": clients then ask elsewhere, or again.
    PeerAddress const& shown = leader != nullptr ? *leader : *server()->peer(settings.replica);
    reply(context, describe(shown, true, leader != nullptr));
}

void reply_others(Context context, bool with_leader) {
    ModuleSettings const& settings = server()->settings();
    PeerAddress const* const leader = server()->leader();
    std::uint32_t const alive = server()->status().alive;
    std::vector<Pairs> shown;
    for (PeerAddress const& each : settings.peers) {
        bool const skipped = with_leader ? each.replica == settings.replica : &each == leader;
        if (!skipped) {
            shown.push_back(describe(each, false, ((alive >> each.replica) & 1U) != 0));
        }
    }
    api::ReplyWithArray(context, static_cast<long>(shown.size()));
    for (Pairs const& each : shown) {
        reply(context, each);
    }
}

int sentinel_command(Context context, Words words, int count) {
    std::string const what = count > 1 ? lower(text_of(words[1])) : "";
    bool const named = count > 2;
    if (named && text_of(words[2]) != server()->settings().service) {
        return what == "get-master-addr-by-name" ? api::ReplyWithNull(context)
                                                 : api::ReplyWithError(context, "ERR No such master with that name");
    }
    if (what == "masters") {
        api::ReplyWithArray(context, 1);
        reply_leader(context);
    } else if (what == "master" && named) {
        reply_leader(context);
    } else if ((what == "slaves" || what == "replicas") && named) {
        reply_others(context, false);
    } else if (what == "sentinels" && named) {
        reply_others(context, true);
    } else if (what == "get-master-addr-by-name" && named) {
        PeerAddress const* const leader = server()->leader();
        if (leader == nullptr) {
            return api::ReplyWithNull(context);
        }
        api::ReplyWithArray(context, 2);
        reply(context, leader->host);
        reply(context, std::to_string(leader->port));
    } else if (what == "ckquorum" && named) {
        return api::ReplyWithSimpleString(context, "OK");
    } else if (what == "myid") {
        reply(context, id_of(*server()->peer(server()->settings().replica)));
    } else {
        return api::ReplyWithError(context,
                                   "ERR Mu answers SENTINEL MASTERS, MASTER, REPLICAS, SLAVES, SENTINELS, CKQUORUM, "
                                   "MYID and GET-MASTER-ADDR-BY-NAME only.");
    }
    return api::kOk;
}

// --- ROLE, INFO, WAIT -----------------------------------------------------------------------------------------------

int role_command(Context context, Words, int) {
    ModuleSettings const& settings = server()->settings();
    PeerAddress const* const leader = server()->leader();
    auto const executed = static_cast<long long>(server()->ledger_view().executed);
    if (server()->accepts()) {
        mu_status_t const now = server()->status();
        std::vector<PeerAddress const*> followers;
        for (PeerAddress const& each : settings.peers) {
            if (each.replica != settings.replica && ((now.alive >> each.replica) & 1U) != 0) {
                followers.push_back(&each);
            }
        }
        api::ReplyWithArray(context, 3);
        reply(context, "master");
        api::ReplyWithLongLong(context, executed);
        api::ReplyWithArray(context, static_cast<long>(followers.size()));
        for (PeerAddress const* const each : followers) {
            api::ReplyWithArray(context, 3);
            reply(context, each->host);
            reply(context, std::to_string(each->port));
            reply(context, std::to_string(executed));
        }
        return api::kOk;
    }
    api::ReplyWithArray(context, 5);
    reply(context, "slave");
    reply(context, leader == nullptr ? "" : leader->host);
    api::ReplyWithLongLong(context, leader == nullptr ? 0 : leader->port);
    reply(context, server()->role() == Role::following ? "connected" : "sync");
    return api::ReplyWithLongLong(context, executed);
}

// Replaces the value of a line "name:value".
void set_line(std::string& text, std::string const& name, std::string const& value) {
    std::size_t const at = text.find("\r\n" + name + ":");
    if (at != std::string::npos) {
        std::size_t const begin = at + 3 + name.size();
        text.replace(begin, text.find("\r\n", begin) - begin, value);
    }
}

char const* role_name(Role role) noexcept {
    static constexpr std::array kNames{"starting", "following", "leading", "doubting", "joining"};
    return kNames.at(static_cast<std::size_t>(role));
}

int info_command(Context context, Words words, int count) {
    RedisModuleCallReply* const natural =
        api::Call(context, "INFO", "v", words + 1, static_cast<std::size_t>(count - 1));
    std::size_t length = 0;
    char const* const bytes = natural == nullptr ? nullptr : api::CallReplyStringPtr(natural, &length);
    if (bytes == nullptr) {
        return natural == nullptr ? api::ReplyWithError(context, "ERR INFO failed")
                                  : api::ReplyWithCallReply(context, natural);
    }
    std::string text(bytes, length);
    api::FreeCallReply(natural);
    PeerAddress const* const leader = server()->leader();
    // Redis takes the link for its leader: clients are told of the real one.
    set_line(text, "master_host", leader == nullptr ? "" : leader->host);
    set_line(text, "master_port", leader == nullptr ? "0" : std::to_string(leader->port));
    std::size_t const section = text.find("# Replication\r\n");
    if (section != std::string::npos) {
        Ledger::View const view = server()->ledger_view();
        Server::Quantiles const took = server()->recent_latencies();
        text.insert(section + 15, "mu_replica:" + std::to_string(server()->settings().replica) +
                                      "\r\nmu_role:" + role_name(server()->role()) +
                                      "\r\nmu_accepts_writes:" + (server()->accepts() ? "1" : "0") +
                                      "\r\nmu_batches:" + std::to_string(view.batches) +
                                      "\r\nmu_executed:" + std::to_string(view.executed) +
                                      "\r\nmu_trusted:" + (server()->holds_data() ? "1" : "0") +
                                      "\r\nmu_replication_p50_ns:" + std::to_string(took.p50) +
                                      "\r\nmu_replication_p99_ns:" + std::to_string(took.p99) + "\r\n");
    }
    return api::ReplyWithVerbatimString(context, text.data(), text.size());
}

// Every write that was answered is in the logs of a majority already.
int wait_command(Context context, Words words, int count) {
    long long wanted = 0;
    if (count != 3 || api::StringToLongLong(words[1], &wanted) != api::kOk) {
        return api::ReplyWithError(context, "ERR value is not an integer or out of range");
    }
    if (!server()->accepts()) {
        return api::ReplyWithError(context, "ERR WAIT cannot be used with replica instances.");
    }
    return api::ReplyWithLongLong(context, static_cast<long long>(server()->status().confirmed) - 1);
}

}  // namespace

bool add_commands(RedisModuleCtx* context) {
    constexpr char const* kFlags = "readonly fast allow-stale allow-loading";
    bool added = true;
    for (auto const& [name, command] : {std::pair<char const*, api::Command>{"MU.AT", at_command},
                                        {"MU.TAP", tap_command},
                                        {"MU.REFUSE", refuse_command},
                                        {"MU.ROLE", role_command},
                                        {"MU.INFO", info_command},
                                        {"MU.WAIT", wait_command},
                                        {"sentinel", sentinel_command}}) {
        added = api::CreateCommand(context, name, command, kFlags, 0, 0, 0) == api::kOk && added;
    }
    // It writes nothing: a replica refuses what says that it writes.
    return api::CreateCommand(context, "MU.READONLY", refuse_command, "write fast allow-stale allow-loading", 0, 0,
                              0) == api::kOk &&
           added;
}

}  // namespace mu::redis
