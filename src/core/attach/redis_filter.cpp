// The command filter. It runs for every command, so the usual ones leave it after a look at a table.
//
// Invariant: what can neither be replicated nor be ignored is refused with an error that says so; and while redis's
// data may not be shown (it joins, or is in doubt), only commands that touch no data get through.
#include "attach/redis_filter.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "attach/redis_needs.hpp"
#include "attach/redis_server.hpp"
#include "attach/redis_transactions.hpp"

namespace mu::redis {
namespace {

using Context = RedisModuleCommandFilterCtx*;

std::string_view text_of(RedisModuleString const* string) noexcept {
    std::size_t length = 0;
    char const* const bytes = api::StringPtrLen(string, &length);
    return {bytes, length};
}

std::string_view argument(Context context, int index) noexcept {
    return index < api::CommandFilterArgsCount(context) ? text_of(api::CommandFilterArgGet(context, index))
                                                        : std::string_view{};
}

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    return result;
}

void put(Context context, int index, std::string_view text) {
    api::CommandFilterArgReplace(context, index, api::CreateString(nullptr, text.data(), text.size()));
}

// In a transaction whatever stands in a command's place would be queued, and the rest executed. So there redis has to
// refuse by itself, which has EXEC execute nothing: on a replica a command that is said to write, else one that is not there.
void have_redis_refuse(Context context, std::string_view why) {
    bool const is_replica = (api::GetContextFlags(nullptr) & api::kIsReplica) != 0;
    std::size_t const code = why.find(' ');
    put(context, 0, why.starts_with("READONLY") && is_replica ? "MU.READONLY" : why.substr(code + 1));
}

// An EXEC with an argument ends its transaction: redis drops what was queued, and says so.
void refuse(Context context, Refusal why) {
    if (lower(argument(context, 0)) == "exec") {
        api::CommandFilterArgInsert(context, 1, api::CreateString(nullptr, "refused", 7));
        transaction_ends(descriptor_served());
        return;
    }
    for (int last = api::CommandFilterArgsCount(context) - 1; last > 0; --last) {
        api::CommandFilterArgDelete(context, last);
    }
    int const client = descriptor_served();
    if (may_be_in_transaction(client) && !server()->is_from_link(client)) {
        have_redis_refuse(context, refusal_text(why));
        return;
    }
    put(context, 0, "MU.REFUSE");
    std::string const number = std::to_string(static_cast<int>(why));
    api::CommandFilterArgInsert(context, 1, api::CreateString(nullptr, number.data(), number.size()));
}

// --- Commands that are looked at -------------------------------------------------------------------------------------

void never(Context context) { refuse(context, Refusal::bypasses_log); }

// Settings that replication stands on, each with the value that it has: to set it to that changes nothing. Those without
// one are not to be set at all.
std::unordered_map<std::string, std::optional<std::string_view>> fixed_settings() {
    std::unordered_map<std::string, std::optional<std::string_view>> fixed{
        {"appenddirname", std::nullopt},
        {"appendfilename", std::nullopt},
        {"replicaof", std::nullopt},
        {"slaveof", std::nullopt},
        {"dir", std::nullopt},
        {"io-threads-do-reads", std::nullopt},
        {"repl-diskless-load", std::nullopt},
        {"repl-diskless-sync-delay", std::nullopt},
    };
    if (!server()->settings().own_login) {  // else a new password may be told to all servers
        fixed.emplace("masterauth", std::nullopt);
        fixed.emplace("masteruser", std::nullopt);
    }
    constexpr std::string_view kReplica = "replica-";
    for (char const* const each : {"min-replicas-to-write", "min-slaves-to-write"}) {  // redis does not see who follows
        fixed.emplace(each, "0");
    }
    for (Need const& each : kNeeds) {
        fixed.emplace(each.setting, each.value);
        if (each.setting.starts_with(kReplica)) {  // it has its older name, too
            fixed.emplace("slave-" + std::string(each.setting.substr(kReplica.size())), each.value);
        }
    }
    return fixed;
}

void config(Context context) {
    static auto const fixed = fixed_settings();
    if (lower(argument(context, 1)) != "set") {
        return;
    }
    for (int i = 2; i < api::CommandFilterArgsCount(context); i += 2) {
        auto const found = fixed.find(lower(argument(context, i)));
        if (found != fixed.end() && found->second != lower(argument(context, i + 1))) {
            refuse(context, Refusal::setting);
            return;
        }
    }
}

void debug(Context context) {
    static std::unordered_set<std::string> const loses{"reload",    "loadaof",  "restart",       "crash-and-recover",
                                                       "replicate", "populate", "change-repl-id"};
    if (loses.contains(lower(argument(context, 1)))) {
        refuse(context, Refusal::bypasses_log);
    }
}

void module(Context context) {
    if (lower(argument(context, 1)).ends_with("load") || lower(argument(context, 1)) == "loadex") {
        refuse(context, Refusal::bypasses_log);
    }
}

// Effects that a script keeps from the stream would exist on the leader only. Whether its program does that.
bool hides_effects(Context context, int program) {
    return argument(context, program).find("set_repl") != std::string_view::npos;
}

void eval(Context context) {
    if (hides_effects(context, 1)) {  // what follows is data
        refuse(context, Refusal::hidden_effects);
    }
}

// SCRIPT LOAD, FUNCTION LOAD with REPLACE or without, FUNCTION RESTORE: the program is the one argument or the other.
void script(Context context) {
    if (hides_effects(context, 2) || hides_effects(context, 3)) {
        refuse(context, Refusal::hidden_effects);
    }
}

// By this channel a leader tells a redis that copies it where it stands.
constexpr std::string_view kMarkChannel = "__mu__:at";

void publish(Context context) {
    if (argument(context, 1) == kMarkChannel) {
        refuse(context, Refusal::own_channel);
    }
}

void replica(Context context) {
    if (!server()->may_be_copied()) {
        refuse(context, Refusal::not_copied);
    }
}

void client(Context context) {
    std::string const what = lower(argument(context, 1));
    if (what == "pause") {
        refuse(context, Refusal::stops_replication);
    } else if (what == "capa") {  // Valkey's
        refuse(context, Refusal::names_link);
    }
}

void wait_for_file(Context context) { refuse(context, Refusal::keeps_no_file); }

void begin_transaction(Context) { transaction_begins(descriptor_served()); }
void end_transaction(Context) { transaction_ends(descriptor_served()); }

void role(Context context) { put(context, 0, "MU.ROLE"); }
void info(Context context) { put(context, 0, "MU.INFO"); }
void wait(Context context) { put(context, 0, "MU.WAIT"); }

using Look = void (*)(Context);

std::unordered_map<std::string_view, Look> const& looked_at() {
    static std::unordered_map<std::string_view, Look> const table{
        {"config", config},
        {"debug", debug},
        {"module", module},
        {"eval", eval},
        {"eval_ro", eval},
        {"script", script},
        {"function", script},
        {"role", role},
        {"info", info},
        {"wait", wait},
        {"replicaof", never},
        {"slaveof", never},
        {"failover", never},
        {"bgrewriteaof", never},
        {"cluster", never},
        {"psync", replica},
        {"sync", replica},
        {"publish", publish},
        {"client", client},
        {"waitaof", wait_for_file},
        {"multi", begin_transaction},
        {"exec", end_transaction},
        {"discard", end_transaction},
        {"reset", end_transaction},
    };
    return table;
}

// --- Commands that touch no data -------------------------------------------------------------------------------------

bool touches_no_data(std::string const& name) {
    static std::unordered_set<std::string> const names{
        "ping",     "echo",      "info",         "role",        "hello",        "auth",     "client",
        "sentinel", "subscribe", "psubscribe",   "unsubscribe", "command",      "config",   "acl",
        "quit",     "reset",     "select",       "latency",     "slowlog",      "shutdown", "time",
        "monitor",  "lolwut",    "punsubscribe", "ssubscribe",  "sunsubscribe", "replconf", "discard",
        "memory",   "module",    "debug",        "psync",       "sync",  // whether data may be copied is looked at below
        "multi",  // else what follows would not be taken for a transaction by a server that leads by then
    };
    return names.contains(name) || name.starts_with("mu.");
}

// What a redis in an endless script still does, whoever leads meanwhile.
bool ends_script(Context context, std::string const& name) {
    return (name == "script" || name == "function") && lower(argument(context, 1)) == "kill";
}

// While redis takes another one's data: that one's commands pass until redis is frozen, and its mark is turned into ours.
// Whether the command was refused.
bool joining(Context context, std::string const& name) {
    Server& here = *server();
    bool const is_from_link = here.is_from_link(descriptor_served());
    if (is_from_link ? here.frozen() : !touches_no_data(name)) {
        refuse(context, Refusal::not_leading);
        return true;
    }
    if (is_from_link && name == "publish" && argument(context, 1) == kMarkChannel) {
        put(context, 0, "MU.AT");
        api::CommandFilterArgDelete(context, 1);
    }
    return false;
}

// Redis lets a follower's clients do what may change its data: a PFCOUNT of one key renews what the key remembers of it,
// and a script may call that. Whether the command was refused.
bool keep_unchanged(Context context, std::string const& name) {
    if (name == "pfcount" && api::CommandFilterArgsCount(context) == 2) {
        refuse(context, Refusal::changes_follower);
        return true;
    }
    if (name == "eval" || name == "evalsha" || name == "fcall") {
        put(context, 0, name + "_ro");
    }
    return false;
}

bool reads_are_refused(std::string const& name) {
    Server const& here = *server();
    bool const answers = here.settings().stale_reads && here.holds_data() && here.settings_hold();
    return !answers && !touches_no_data(name) && !here.is_from_link(descriptor_served());
}

// Of a command that this server accepts from nobody, or only from its link: whether it was refused.
bool refused(Context context, std::string const& name) {
    Server const& here = *server();
    if (here.role() == Role::joining) {
        return joining(context, name);
    }
    if (here.role() != Role::following) {
        if (!touches_no_data(name)) {
            refuse(context, Refusal::not_leading);
            return true;
        }
        return false;
    }
    if (reads_are_refused(name) || (name == "exec" && is_overtaken(descriptor_served()))) {
        refuse(context, Refusal::stale_reads);
        return true;
    }
    return keep_unchanged(context, name);
}

}  // namespace

char const* refusal_text(Refusal refusal) noexcept {
    switch (refusal) {
        case Refusal::not_leading:
            return "READONLY This replica does not lead; ask SENTINEL GET-MASTER-ADDR-BY-NAME who does.";
        case Refusal::bypasses_log:
            return "ERR Refused by Mu: this would change or replace data behind the replicated log.";
        case Refusal::setting:
            return "ERR Refused by Mu: replication depends on this setting; it is fixed while the server runs.";
        case Refusal::hidden_effects:
            return "ERR Refused by Mu: redis.set_repl hides effects from the replicas; let all effects replicate.";
        case Refusal::not_copied:
            return "NOMASTERLINK This replica's data may not be copied now; ask another replica.";
        case Refusal::own_channel:
            return "ERR Refused by Mu: the channel __mu__:at is its own.";
        case Refusal::stale_reads:
            return "READONLY This replica follows, and followers here do not answer reads either; ask the leader.";
        case Refusal::stops_replication:
            return "ERR Refused by Mu: CLIENT PAUSE would stop replication, too; `mu pause` lets another replica lead.";
        case Refusal::changes_follower:
            return "READONLY PFCOUNT of one key renews what the key remembers; ask the leader, or for several keys.";
        case Refusal::names_link:
            return "ERR Refused by Mu: REDIRECT would name what a server replicates inside its process, not who leads; "
                   "ask SENTINEL GET-MASTER-ADDR-BY-NAME.";
        case Refusal::keeps_no_file:
            return "ERR Refused by Mu: it keeps no file; a reply to a write says that a majority holds it.";
    }
    return "ERR Refused by Mu.";
}

void filter_command(Context context) {
    Server& here = *server();
    here.command_comes();
    bool const accepts = here.accepts();
    // A batch was allowed by the leader's filter, so this passes.
    bool const in_batch = !accepts && here.role() == Role::following && here.is_from_link(descriptor_served());
    std::string_view const given = argument(context, 0);
    // Nothing that is looked at has three letters, and GET and SET are most of what comes.
    if ((accepts || in_batch) && given.size() == 3) {
        return;
    }
    std::string const name = lower(given);
    if (!accepts && !in_batch && (ends_script(context, name) || refused(context, name))) {
        return;
    }
    auto const found = looked_at().find(name);
    if (found != looked_at().end()) {
        found->second(context);
    }
}

}  // namespace mu::redis
