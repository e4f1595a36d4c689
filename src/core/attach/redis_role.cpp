// Which part redis plays: following, leading, doubting, joining; all of it between two passes of its event loop, when
// nothing is half executed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "attach/redis_server.hpp"
#include "attach/redis_transactions.hpp"
#include "protocol/settings.hpp"
#include "runtime/clock.hpp"

namespace mu::redis {
namespace {

constexpr std::int64_t kDisarmedFor = 1'000 * kMillisecond;   // before a tap that failed is tried again
constexpr std::int64_t kDonorAnswers = 300 * kMillisecond;    // or another one is asked
constexpr std::size_t kMostDoublings = 6;                     // of that, from round to round
constexpr long long kDonorSilent = 10;                        // seconds, in the middle of its data: it has stopped
constexpr std::int64_t kStreamCheck = 1'000 * kMillisecond;   // and before it leads
constexpr std::int64_t kDonorMarks = 2'000 * kMillisecond;    // after the data has come
constexpr std::size_t kAskedBeforeSilent = 2;                 // times, each of those that are alive
constexpr std::int64_t kNobodyGives = 1'500 * kMillisecond;   // while every other replica was asked several times
constexpr std::int64_t kConnectAgain = 2'000 * kMillisecond;  // redis tries by itself once a second
constexpr std::size_t kRoundsUntilTold = 2;                   // in which nobody gave data
constexpr std::int64_t kPromoteTimeout = 20 * kMillisecond;
constexpr char const* kMarkChannel = "__mu__:at";

template <class... Words>
bool succeeds(RedisModuleCtx* context, char const* command, Words... words) {
    constexpr char const* kFormat = "ccc";
    RedisModuleCallReply* const reply = api::Call(context, command, kFormat + (3 - sizeof...(words)), words...);
    bool const good = reply != nullptr && api::CallReplyType(reply) != api::kReplyError;
    if (reply != nullptr) {
        api::FreeCallReply(reply);
    }
    return good;
}

// Of one end of a connection; negative if it has none.
int port_of(int descriptor, int (*end)(int, sockaddr*, socklen_t*)) noexcept {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (end(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        (address.ss_family != AF_INET && address.ss_family != AF_INET6)) {
        return -1;
    }
    in_port_t port = 0;  // at the same place for both families
    std::memcpy(&port, reinterpret_cast<char const*>(&address) + offsetof(sockaddr_in, sin_port), sizeof port);
    return ntohs(port);
}

int listening_port(RedisModuleCtx* context) {
    RedisModuleServerInfoData* const info = api::GetServerInfo(context, "server");
    int wrong = 0;
    auto const port = static_cast<int>(api::ServerInfoGetFieldSigned(info, "tcp_port", &wrong));
    api::FreeServerInfo(context, info);
    return port;
}

// Others that take this redis's data must not go on with what may never be decided.
void break_replicas(RedisModuleCtx* context) {
    RedisModuleCallReply* const reply = api::Call(context, "CLIENT", "ccc", "KILL", "TYPE", "replica");
    if (reply != nullptr) {
        api::FreeCallReply(reply);
    }
}

// Of the data set that is on its way: whether the donor has said nothing for long.
bool donor_is_silent(RedisModuleCtx* context) {
    RedisModuleServerInfoData* const info = api::GetServerInfo(context, "replication");
    int wrong = 0;
    long long const seconds = api::ServerInfoGetFieldSigned(info, "master_sync_last_io_seconds_ago", &wrong);
    api::FreeServerInfo(context, info);
    return wrong == 0 && seconds > kDonorSilent;
}

// The servers share a password, which may have been changed by CONFIG SET.
void share_password(RedisModuleCtx* context) {
    RedisModuleCallReply* const reply = api::Call(context, "CONFIG", "cc", "GET", "requirepass");
    if (reply != nullptr && api::CallReplyType(reply) == api::kReplyArray && api::CallReplyLength(reply) == 2) {
        std::size_t length = 0;
        char const* const bytes = api::CallReplyStringPtr(api::CallReplyArrayElement(reply, 1), &length);
        static_cast<void>(succeeds(context, "CONFIG", "SET", "masterauth", std::string(bytes, length).c_str()));
    }
    if (reply != nullptr) {
        api::FreeCallReply(reply);
    }
}

}  // namespace

void Server::become(Role role) {
    static constexpr char const* kNames[] = {"starts", "follows", "leads", "is in doubt", "joins"};
    Role const before = role_.exchange(role, std::memory_order_acq_rel);
    if (before == Role::leading && role != Role::leading) {
        leadership_ends();
    }
    if (before != role) {
        api::Log(nullptr, "notice", "replica %u %s", settings_.replica, kNames[static_cast<int>(role)]);
    }
}

void Server::after_sleep(RedisModuleCtx* context) {
    bool const wanted = wanted_.exchange(false, std::memory_order_acq_rel);
    blackout_ = false;
    confirmed_ = false;  // also of a pass without a command: a blocked client's time may be up
    Role const present = role();
    if (present == Role::leading && !deposed_ && mu_leads(node_)) {
        if (!accepting_) {
            disarmed(context, "its test batch did not come by");
        } else if (wanted) {
            tick_leading(context);
        } else if (replicas_ > 0) {
            mark_for_replicas(context);
        }
    } else if (present == Role::leading) {
        accepting_ = false;
        break_backlogged();
        follow(context, ledger_.view().executed);
    } else if (present == Role::doubting || frozen_) {
        present == Role::doubting ? tick_doubting(context) : tick_joining(context);
    } else if (wanted) {
        if (present == Role::starting) {
            if ((api::GetContextFlags(context) & api::kLoading) == 0) {
                follow(context, 0);
            }
        } else {
            present == Role::following ? tick_following(context) : tick_joining(context);
        }
    }
    if (wanted) {
        consider_fitness(context);
        tell_of_leader(context);
        if (dump_wanted_.exchange(false, std::memory_order_acq_rel)) {
            dump_latencies();
        }
    }
    executed_ = false;  // what Mu asks of redis goes by the filter, too
}

bool Server::replicate_from_nobody(RedisModuleCtx* context) { return succeeds(context, "REPLICAOF", "no", "one"); }

// REPLICAOF NO ONE first: redis then takes its own history for the one to be continued, whatever it followed before.
void Server::replicate_from(RedisModuleCtx* context, std::string const& host, int port) {
    replicated_port_ = port;
    connects_ = 0;
    listens_at_ = listening_port(context);
    know_link(-1);
    if (!replicate_from_nobody(context) ||
        !succeeds(context, "REPLICAOF", host.c_str(), std::to_string(port).c_str())) {
        api::Log(context, "warning", "REPLICAOF %s %d failed", host.c_str(), port);
    }
}

void Server::follow(RedisModuleCtx* context, std::uint64_t number) {
    deposed_ = false;
    frozen_ = false;
    asked_ = 0;
    if (role() != Role::following) {
        static_cast<void>(stream_was_sound(context));  // what came when it was frozen was refused
    }
    ledger_.stop_writing();
    link_.shut();
    become(Role::following);
    followed_at_ = monotonic_now();
    link_.open(number);
    replicate_from(context, "127.0.0.1", link_.port());
}

void Server::tick_following(RedisModuleCtx* context) {
    Ledger::View const view = ledger_.view();
    if (link_.take_lost()) {
        if (view.trusted && view.executed == link_.sent()) {
            follow(context, view.executed);
        } else {
            ledger_.distrust();
        }
    }
    if (monotonic_now() - stream_checked_at_ > kStreamCheck && !stream_was_sound(context)) {
        stream_is_broken();
    }
    if (!ledger_.view().trusted) {
        begin_join(context);
    } else if (!link_.feeds() && monotonic_now() - followed_at_ > kConnectAgain) {
        follow(context, view.executed);  // nothing has been sent since: redis is where it was
    } else if (ledger_.ready_to_write()) {
        promote(context);
    } else if (replicas_ > 0) {
        link_.mark();
    }
}

// The reign is in force, and redis has executed all before it. What is left: that this leadership has not been
// interrupted since, and that the tap works. That it shows by its first batch, before any client may write.
void Server::promote(RedisModuleCtx* context) {
    std::uint64_t tenure = 0;
    if (!fit_.load(std::memory_order_relaxed) || mu_confirm(node_, kPromoteTimeout, &tenure) != MU_OK ||
        !ledger_.ready_to_write()) {
        return;
    }
    if (!stream_was_sound(context)) {
        stream_is_broken();
        return;
    }
    static_cast<void>(begin_writing(context, tenure));
}

bool Server::begin_writing(RedisModuleCtx* context, std::uint64_t tenure) {
    armed_checked_at_ = 0;
    link_.shut();
    std::uint64_t const reign = ledger_.start_writing();
    if (reign == 0 || !tap_is_armed(context) || !replicate_from_nobody(context)) {
        ledger_.stop_writing();
        return false;
    }
    tenure_ = tenure;
    reign_ = reign;
    batches_ = 0;
    batch_.clear();
    database_ = 0;  // the first batch begins in it
    accepting_ = false;
    confirmed_ = false;
    deposed_ = false;
    become(Role::leading);
    api::SelectDb(context, 0);
    api::Replicate(context, "MU.TAP", "l", static_cast<long long>(settings_.replica));
    tell_of_leader(context);
    return true;
}

void Server::tick_leading(RedisModuleCtx* context) {
    if (!tap_is_armed(context)) {
        disarmed(context, "redis's settings are not what it needs");
        return;
    }
    if (replicas_ > 0) {
        marked_ = 0;
        mark_for_replicas(context);
    }
}

void Server::begin_join_with_lost_batch(RedisModuleCtx* context) {
    Ledger::View const view = ledger_.view();
    is_intact_ = view.trusted && !lost_.empty();
    lost_at_ = view.executed;
    joining_since_ = monotonic_now();
    begin_join(context);
}

// Effects may have gone by it: what redis holds is not known to be what the batches make. Unless no client's command
// was executed yet: then what redis has written, and not made durable, is all there is.
void Server::disarmed(RedisModuleCtx* context, char const* why) {
    api::Log(context, "warning", "replica %u: the tap is not armed (%s): it neither leads nor accepts writes",
             settings_.replica, why);
    disarmed_until_ = monotonic_now() + kDisarmedFor;
    lost_ = accepting_ ? OwnedBytes{} : std::move(batch_);
    batch_ = OwnedBytes{};
    accepting_ = false;
    break_backlogged();
    begin_join_with_lost_batch(context);
}

void Server::tick_doubting(RedisModuleCtx* context) {
    if (fate_ == Fate::open && ledger_.view().trusted) {
        Verdict verdict = ledger_.verdict(batches_);
        std::uint64_t tenure = 0;
        if (verdict == Verdict::pending && mu_leads(node_) && mu_confirm(node_, kPromoteTimeout, &tenure) == MU_OK &&
            tenure != tenure_) {
            // A later tenure of one's own has sealed: what is decided of the earlier one is applied here by now.
            verdict = ledger_.verdict(batches_);
            verdict = verdict == Verdict::pending ? Verdict::lost : verdict;
        }
        if (verdict == Verdict::decided) {
            lost_.clear();
            api::Log(context, "notice", "replica %u: the batch in doubt was decided", settings_.replica);
            follow(context, ledger_.view().executed);
            return;
        }
        if (verdict == Verdict::pending) {
            if ((api::GetContextFlags(context) & api::kIsReplica) == 0) {
                // From here on redis changes nothing by itself, and answers nobody that asks for data.
                link_.shut();
                break_replicas(context);
                replicate_from(context, "127.0.0.1", link_.port());
            }
            return;
        }
    }
    api::Log(context, "notice", "replica %u: the batch in doubt was not decided", settings_.replica);
    begin_join_with_lost_batch(context);
}

// --- Joining --------------------------------------------------------------------------------------------------------

// Followers first: a leader has enough to do. Whoever does not seem to be alive may be silent only, because it is
// paused, and have what nobody else has: it is asked if the others have nothing to give.
PeerAddress const* Server::choose_donor() {
    mu_status_t const now = status();
    std::vector<PeerAddress const*> donors;
    std::vector<PeerAddress const*> silent;
    PeerAddress const* leader = nullptr;
    for (PeerAddress const& each : settings_.peers) {
        if (each.replica == settings_.replica) {
            continue;
        }
        if (((now.alive >> each.replica) & 1U) == 0) {
            silent.push_back(&each);
        } else if (each.replica == now.leader) {
            leader = &each;
        } else {
            donors.push_back(&each);
        }
    }
    if (leader != nullptr) {
        donors.push_back(leader);
    }
    if (asked_ > kAskedBeforeSilent * donors.size()) {
        donors.insert(donors.end(), silent.begin(), silent.end());
    }
    return donors.empty() ? nullptr : donors[donor_++ % donors.size()];
}

// Whether redis has executed all that was replicated to it. If a command of its link's fails there, it goes on
// nevertheless; but it counts such errors.
bool Server::stream_was_sound(RedisModuleCtx* context) {
    RedisModuleServerInfoData* const info = api::GetServerInfo(context, "stats");
    int wrong = 0;
    std::int64_t const errors = api::ServerInfoGetFieldSigned(info, "unexpected_error_replies", &wrong);
    api::FreeServerInfo(context, info);
    bool const sound = wrong != 0 || errors <= stream_errors_;
    stream_errors_ = wrong != 0 ? stream_errors_ : errors;
    stream_checked_at_ = monotonic_now();
    return sound;
}

void Server::begin_join(RedisModuleCtx* context) {
    if (!redeems_.load(std::memory_order_relaxed)) {
        mu_stand_aside(node_, true);
        fit_.store(false, std::memory_order_release);
    }
    ledger_.distrust();
    ledger_.stop_writing();
    link_.shut();
    frozen_ = false;
    deposed_ = false;
    become(Role::joining);
    break_replicas(context);
    ++asked_;
    PeerAddress const* const donor = choose_donor();
    // One that has much data takes its time to fork: each is waited for longer from round to round.
    std::size_t const rounds = std::min<std::size_t>(asked_ / settings_.peers.size(), kMostDoublings);
    patience_until_ = monotonic_now() + (kDonorAnswers << rounds);
    static_cast<void>(stream_was_sound(context));  // what was wrong before, other data make good
    donor_gave_data_ = false;
    transferring_ = false;
    spoiled_ = false;
    if (donor == nullptr) {
        // There is nobody else. As a replica without a link redis at least shows nobody what it holds.
        replicate_from(context, "127.0.0.1", link_.port());
        return;
    }
    api::Log(context, "notice", "replica %u takes the data of replica %u", settings_.replica, donor->replica);
    if (asked_ == kRoundsUntilTold * settings_.peers.size()) {
        api::Log(
            context, "warning",
            "replica %u: nobody has given it data yet; it goes on asking, and what was decided is kept by the others. "
            "Redis says above why; if it is not let in, start it with the others' --masterauth and --masteruser",
            settings_.replica);
    }
    if (!settings_.own_login) {
        share_password(context);
    }
    replicate_from(context, donor->host, donor->port);
}

void Server::tick_joining(RedisModuleCtx* context) {
    if (frozen_) {
        follow(context, joined_at_);
        return;
    }
    try_to_redeem(context);
    if (role() != Role::joining) {
        return;
    }
    std::int64_t const now = monotonic_now();
    int const flags = api::GetContextFlags(context);
    bool const online = (flags & api::kReplicaOnline) != 0;
    bool const transferring = (flags & (api::kReplicaTransferring | api::kLoading)) != 0;
    bool const failed =
        spoiled_ || (transferring_ && !transferring && !online) || (transferring && donor_is_silent(context));
    transferring_ = transferring;
    if (!failed && (transferring || (online && !donor_gave_data_))) {
        patience_until_ = now + kDonorMarks;
        donor_gave_data_ = online;
    } else if (failed || now > patience_until_) {
        begin_join(context);  // no data came, or it has come and nobody said where it stands
    }
}

void Server::data_are_replaced() noexcept {
    is_intact_ = false;
    redeems_.store(false, std::memory_order_release);
    lost_ = OwnedBytes{};
}

// Leader after leader may lose its last batch before the others have joined again, until nobody is left whose data can
// be had. Nothing is lost as long as one of them holds all that counts, and its lost batch: nobody was told that this
// failed, so it may take effect after all. It leads, and proposes that batch again, before anything else.
void Server::try_to_redeem(RedisModuleCtx* context) {
    bool const may = is_intact_ && ledger_.view().batches == lost_at_;
    bool const waited = monotonic_now() - joining_since_ > kNobodyGives;
    redeems_.store(may && waited, std::memory_order_release);
    std::uint64_t tenure = 0;
    if (!may || !waited || !mu_leads(node_) || !ledger_.awaits_writer() ||
        mu_confirm(node_, kPromoteTimeout, &tenure) != MU_OK || !ledger_.redeem(lost_at_)) {
        return;
    }
    if (!begin_writing(context, tenure)) {
        ledger_.distrust();
        return;
    }
    api::Log(context, "notice", "replica %u proposes the lost batch again: nobody else has the data",
             settings_.replica);
    batch_ = std::move(lost_);  // the tap's test comes behind it
    data_are_replaced();
}

void Server::at(RedisModuleCtx* context, std::uint64_t number) {
    if (role() == Role::following) {
        ledger_.executed(number);
        if (mu_leads(node_)) {
            wake();
        }
    } else if (role() == Role::joining && !frozen_ && !spoiled_) {
        if (!stream_was_sound(context)) {
            stream_is_broken();
        } else if (ledger_.trust(number)) {
            joined_at_ = number;
            frozen_ = true;
            wake();
        }
    }
}

void Server::stream_is_broken() {
    if (role() == Role::following) {
        api::Log(nullptr, "warning", "replica %u: a replicated command was refused", settings_.replica);
        ledger_.distrust();
        wake();
    } else if (role() == Role::joining && !frozen_) {
        spoiled_ = true;
        wake();
    }
}

// A client may happen to come from a port of that number, or choose to; but it has come to the port where redis listens.
bool Server::is_from_link(int descriptor) const noexcept {
    if (descriptor >= 0 && descriptor == known_link()) {
        return true;
    }
    int const theirs = port_of(descriptor, getpeername);
    bool const is = theirs > 0 && theirs == replicated_port_ && port_of(descriptor, getsockname) != listens_at_;
    if (is) {
        know_link(descriptor);
    }
    return is;
}

bool Server::may_be_copied() const noexcept {
    return (role() == Role::following && fit_.load(std::memory_order_relaxed)) ||
           (role() == Role::leading && accepting_);
}

// A leader says where it stands in the stream to its own replicas, by a message that is in no batch. At this moment
// nothing is executed that is not decided.
void Server::mark_for_replicas(RedisModuleCtx* context) {
    std::uint64_t const executed = ledger_.view().executed;
    if (executed == marked_) {
        return;
    }
    marked_ = executed;
    RedisModuleCallReply* const reply =
        api::Call(context, "PUBLISH", "!Acc", kMarkChannel, std::to_string(executed).c_str());
    if (reply != nullptr) {
        api::FreeCallReply(reply);
    }
}

}  // namespace mu::redis
