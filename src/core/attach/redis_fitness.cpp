// Whether this replica could lead, who else does, and the thread that looks after both while redis is busy or asleep.
#include <sys/random.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>
#include <utility>

#include "attach/redis_needs.hpp"
#include "attach/redis_server.hpp"
#include "protocol/settings.hpp"
#include "runtime/clock.hpp"

namespace mu::redis {
namespace {

constexpr std::int64_t kArmedCheck = 1'000 * kMillisecond;  // of what nobody can change by a command
constexpr std::int64_t kConnectTakes = 100 * kMillisecond;  // of redis to the link; on a quiet machine one
constexpr std::int64_t kHangs = 500 * kMillisecond;         // in a long command, say: a follower that nobody waits for
constexpr std::int64_t kNobodyLeads = 300 * kMillisecond;   // although whoever could would have been elected by then

}  // namespace

void Server::consider_fitness(RedisModuleCtx* context) {
    brought_up_ = brought_up_ || has_caught_up();
    bool fit = false;
    if (role() == Role::leading) {
        fit = true;
    } else if (role() == Role::following) {
        std::int64_t const now = monotonic_now();
        bool const connects = link_.feeds() || now - followed_at_ < kConnectTakes;
        fit = holds_data() && connects && now > disarmed_until_ && tap_is_armed(context);
    } else if (role() == Role::joining) {
        fit = redeems_.load(std::memory_order_relaxed) && tap_is_armed(context);
    }
    if (fit_.exchange(fit, std::memory_order_acq_rel) != fit) {
        api::Log(context, "notice", "replica %u %s", settings_.replica,
                 fit ? "is able to lead" : "is not able to lead");
    }
    // A snapshot may have come since: then the node's own thread has set it aside, and that stands.
    bool const able = fit && (ledger_.view().trusted || redeems_.load(std::memory_order_relaxed));
    bool const last_resort = is_last_resort();  // asked each time: it counts for how long nobody has led
    mu_stand_aside(node_, !able && !last_resort);
}

// A fresh redis is empty until its engine is admitted and it has executed what had been decided by then; or it joins.
bool Server::has_caught_up() noexcept {
    // In this order: what the engine's snapshot brought is in the view of whoever finds it admitted.
    if (role() != Role::following || !status().admitted) {
        return false;
    }
    Ledger::View const view = ledger_.view();
    if (!view.trusted) {
        return false;
    }
    catches_up_to_ = catches_up_to_.value_or(view.batches);
    return view.executed >= *catches_up_to_;
}

// Only a leader's next decision tells a redis in doubt what became of its batch. If all that could lead are in doubt
// themselves, or join, one of them leads though its redis cannot write: its own log tells it (tick_doubting), and so it
// tells the others.
bool Server::is_last_resort() noexcept {
    std::int64_t const now = monotonic_now();
    std::uint32_t const leader = mu_leader(node_);
    if (role() != Role::doubting || (leader != 0 && leader != settings_.replica)) {
        leaderless_since_ = now;
    }
    return now - leaderless_since_ > kNobodyLeads;
}

bool Server::tap_is_armed(RedisModuleCtx* context) {
    std::int64_t const now = monotonic_now();
    if (armed_ && now - armed_checked_at_ < kArmedCheck) {
        return true;
    }
    armed_checked_at_ = now;
    bool const was_wrong = !settings_hold();
    look_at_settings(context);
    if (was_wrong && settings_hold() && role() == Role::following) {
        // With other settings redis may have changed its data by itself, or let a client change them.
        ledger_.distrust();
        armed_ = false;
        return armed_;
    }
    RedisModuleServerInfoData* const info = api::GetServerInfo(context, "persistence");
    int wrong = 0;
    armed_ = settings_hold() && api::ServerInfoGetFieldSigned(info, "aof_enabled", &wrong) == 1 && wrong == 0 &&
             api::ServerInfoGetFieldSigned(info, "aof_rewrite_in_progress", &wrong) == 0 &&
             api::ServerInfoGetFieldSigned(info, "aof_rewrite_scheduled", &wrong) == 0 && wrong == 0;
    api::FreeServerInfo(context, info);
    return armed_;
}

// What is wrong is told once, though it is looked at again and again until it is right.
void Server::look_at_settings(RedisModuleCtx* context) {
    std::string wrong = wrong_setting(context);
    if (!wrong.empty() && wrong != wrong_setting_) {
        api::Log(context, "warning",
                 "replica %u: %s: it neither leads nor accepts writes; what was decided is kept by the others. Set it "
                 "back by CONFIG SET, or start this server anew",
                 settings_.replica, wrong.c_str());
    }
    wrong_setting_ = std::move(wrong);
}

// Clients of SENTINEL subscribe to this.
void Server::tell_of_leader(RedisModuleCtx* context) {
    PeerAddress const* const present = leader();
    if (present == nullptr || present->replica == told_leader_) {
        return;
    }
    PeerAddress const* const before = peer(told_leader_);
    told_leader_ = present->replica;
    if (before == nullptr) {
        return;
    }
    std::string const text = settings_.service + " " + before->host + " " + std::to_string(before->port) + " " +
                             present->host + " " + std::to_string(present->port);
    RedisModuleString* const channel = api::CreateString(context, "+switch-master", 14);
    RedisModuleString* const message = api::CreateString(context, text.data(), text.size());
    api::PublishMessage(context, channel, message);
    api::FreeString(context, channel);
    api::FreeString(context, message);
}

// --- The control thread ---------------------------------------------------------------------------------------------

// A reign begins when this replica leads and redis could: it is proposed here, because that may take its time.
void Server::propose_reign() {
    RecordHead head{RecordKind::reign, settings_.replica, 0, 0, 0};
    while (head.reign == 0) {
        if (getrandom(&head.reign, sizeof head.reign, 0) != sizeof head.reign) {
            return;
        }
    }
    if (!ledger_.begin_reign(head.reign)) {
        return;
    }
    mu_outcome const outcome = mu_execute(node_, &head, sizeof head, settings_.timeout_ns, nullptr);
    if (outcome != MU_OK && outcome != MU_NOT_LEADER) {
        api::Log(nullptr, "notice", "replica %u: its reign does not begin yet: %s", settings_.replica,
                 mu_outcome_text(outcome));
    }
}

// Another one is elected then: an elected redis has to answer before anybody can write. A leader in a long command is
// given more time: to replace it costs its clients a fail-over, and itself its data.
void Server::consider_silence(std::int64_t now) noexcept {
    if (!wanted_.load(std::memory_order_acquire)) {
        answered_at_ = now;
        return;
    }
    bool const leads = role() == Role::leading;
    std::int64_t const limit = leads ? settings_.hung_after_ms * kMillisecond : kHangs;
    if ((leads ? limit == 0 : role() != Role::following) || now - answered_at_ <= limit) {
        return;
    }
    if (fit_.exchange(false, std::memory_order_acq_rel)) {
        api::Log(nullptr, "warning", "replica %u: redis has not finished a command for %lld ms: another one may lead",
                 settings_.replica, static_cast<long long>((now - answered_at_) / kMillisecond));
    }
    mu_stand_aside(node_, true);
}

// What it holds is kept by the others; started anew, it gets that from them.
void Server::end_if_engine_stopped() noexcept {
    char const* const why = mu_failure(node_);
    if (*why == '\0') {
        return;
    }
    if (!engine_stopped_) {
        engine_stopped_ = true;
        api::Log(nullptr, "warning",
                 "replica %u: its engine stopped by itself, so this server ends (start it anew): %s", settings_.replica,
                 why);
    }
    kill(getpid(), SIGTERM);  // again and again: redis forgets it while it writes down data that it has just taken
}

void Server::control() {
    constexpr std::int64_t kTickSettled = 100 * kMillisecond;
    constexpr std::int64_t kTick = 10 * kMillisecond;
    while (!stopping_.load(std::memory_order_acquire)) {
        if (settings_.parent != 0 && getppid() != settings_.parent) {
            kill(getpid(), SIGTERM);
        }
        Role const present = role();
        bool const fit = fit_.load(std::memory_order_acquire);
        bool const settled = fit && (present == Role::following || present == Role::leading);
        if (mu_leads(node_)) {
            bool const able = fit && (present == Role::following || redeems_.load(std::memory_order_acquire));
            if (able && !ledger_.awaits_writer()) {
                propose_reign();
                wake();
            }
            std::this_thread::sleep_for(std::chrono::nanoseconds(kTick));
        } else {
            static_cast<void>(mu_wait_until_leading(node_, settled ? kTickSettled : kTick));
            if (mu_leads(node_) && fit) {
                continue;
            }
        }
        consider_silence(monotonic_now());
        end_if_engine_stopped();
        wake();
    }
}

}  // namespace mu::redis
