#include "attach/redis_server.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/quiet_thread.hpp"
#include "protocol/settings.hpp"
#include "runtime/clock.hpp"

namespace mu::redis {
namespace {

Server* the_server = nullptr;

// On shared cores a follower looks at a busy log this seldom, and its redis gets what was decided in groups: cheaper by
// half, and a processor that is not woken every moment takes over the leader's redis or its clients when they crowd one.
// The price is as much more lag, and a fail-over that is longer by a part of it (a sleeping look cannot be woken).
constexpr std::uint32_t kFollowerNapMicroseconds = 5000;

constexpr std::int64_t kConnectsFor = 1'000 * kMillisecond;  // as often as redis's cron tries
constexpr std::size_t kMostConnects = 8;                     // in that time; a host has several addresses

// What the node calls, on whatever thread works for it.
struct Callbacks {
    Ledger& ledger;
    Link& link;
    std::atomic<mu_node*> node{nullptr};
};

bool apply(void* context, std::uint64_t, void const* record, std::size_t length, mu_bytes*) {
    return static_cast<Callbacks*>(context)->ledger.apply({static_cast<std::byte const*>(record), length});
}

void snapshot(void* context, std::uint64_t, mu_bytes* out) {
    OwnedBytes bytes;
    static_cast<Callbacks*>(context)->ledger.snapshot(bytes);
    mu_write(out, bytes.data(), bytes.size());
}

void restore(void* context, std::uint64_t, void const* bytes, std::size_t length) {
    auto& callbacks = *static_cast<Callbacks*>(context);
    mu_node* const node = callbacks.node.load(std::memory_order_acquire);
    if (!callbacks.ledger.restore({static_cast<std::byte const*>(bytes), length}) && node != nullptr) {
        mu_stand_aside(node, true);  // before the node may become eligible
    }
}

void end_run(void* context) {
    auto& callbacks = *static_cast<Callbacks*>(context);
    callbacks.ledger.end_run();
    callbacks.link.pump();
}

void drain(int descriptor, void*, int) {
    std::uint64_t ignored = 0;
    [[maybe_unused]] ssize_t const taken = read(descriptor, &ignored, sizeof ignored);
}

std::unique_ptr<Callbacks> callbacks;

}  // namespace

Server* server() noexcept { return the_server; }

Server::Server(ModuleSettings settings)
    : settings_(std::move(settings)), ledger_(settings_.replica), link_(ledger_), latencies_(1U << 20U) {
    the_server = this;
}

Server::~Server() { stop(); }

std::string Server::start() {
    waker_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    end_of_pass_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    auto const end_pass = [](int, void*, int) { pass_ends(); };
    if (waker_ < 0 || api::EventLoopAdd(waker_, api::kReadable, drain, nullptr) != api::kOk || end_of_pass_ < 0 ||
        api::EventLoopAdd(end_of_pass_, api::kReadable, end_pass, nullptr) != api::kOk) {
        return std::string("redis's event loop takes no descriptor: ") + std::strerror(errno);
    }
    if (std::string wrong = install_tap(*this, end_of_pass_); !wrong.empty()) {
        return wrong;
    }
    if (std::string wrong = link_.start(); !wrong.empty()) {
        return wrong;
    }
    std::vector<std::uint32_t> members;
    for (PeerAddress const& each : settings_.peers) {
        members.push_back(each.replica);
    }
    callbacks = std::make_unique<Callbacks>(ledger_, link_);
    mu_machine const machine{callbacks.get(), apply, snapshot, restore, end_run};
    mu_options options{};
    options.struct_bytes = sizeof options;
    options.cluster = settings_.cluster.c_str();
    options.cluster_key = settings_.cluster_key;
    options.replica_id = settings_.replica;
    options.members = members.data();
    options.member_count = members.size();
    options.fabric = settings_.fabric.c_str();
    options.directory = settings_.directory.c_str();
    options.registry = settings_.registry.c_str();
    options.rdma_device = settings_.rdma_device.c_str();
    options.rdma_port = settings_.rdma_port;
    options.rdma_mtu = settings_.rdma_mtu;
    options.rdma_gid_index = &settings_.rdma_gid_index;
    options.log_bytes = settings_.log_bytes;
    options.dedicated_cores = settings_.dedicated_cores;
    options.idle_commit_off = settings_.commit_idle_us == 0;
    options.commit_idle_us = settings_.commit_idle_us;
    options.stall_limit_ms = settings_.stall_limit_ms;
    options.tuning = settings_.tuning.c_str();
    options.follower_nap_us = kFollowerNapMicroseconds;
    options.stands_aside = true;  // until redis has shown that it can
    node_ = mu_open(&options, &machine);
    if (node_ == nullptr) {
        return mu_last_error();
    }
    if (std::string const notice = mu_notice(node_); !notice.empty()) {
        api::Log(nullptr, "warning", "replica %u %s", settings_.replica, notice.c_str());
    }
    callbacks->node.store(node_, std::memory_order_release);
    control_ = quiet_thread([this] { control(); });
    return {};
}

void Server::stop() noexcept {
    stopping_.store(true, std::memory_order_release);
    if (control_.joinable()) {
        control_.join();
    }
    mu_node* const node = std::exchange(node_, nullptr);
    if (node != nullptr) {
        mu_close(node);
    }
    link_.stop();
}

void Server::wake() noexcept {
    wanted_.store(true, std::memory_order_release);
    std::uint64_t const one = 1;
    [[maybe_unused]] ssize_t const written = write(waker_, &one, sizeof one);
}

void Server::ask_for_dump() noexcept {
    dump_wanted_.store(true, std::memory_order_release);
    wake();
}

PeerAddress const* Server::peer(std::uint32_t replica) const noexcept {
    auto const found = std::find_if(settings_.peers.begin(), settings_.peers.end(),
                                    [&](PeerAddress const& each) { return each.replica == replica; });
    return found == settings_.peers.end() ? nullptr : &*found;
}

// A donor that refuses redis altogether, because it wants another password, is tried again without a pause, thousands of
// times a second, and each time costs ten lines in the log.
bool Server::may_connect() noexcept {
    std::int64_t const now = monotonic_now();
    if (now - connects_since_ > kConnectsFor) {
        connects_ = 0;
        connects_since_ = now;
    }
    return role() != Role::joining || ++connects_ <= kMostConnects;
}

// One that does not accept writes itself knows only what the election says.
PeerAddress const* Server::leader() const noexcept {
    std::uint32_t const elected = accepts() ? settings_.replica : mu_leader(node_);
    return elected == settings_.replica && !accepts() ? nullptr : peer(elected);
}

mu_status_t Server::status() const noexcept {
    mu_status_t now{};
    mu_status(node_, &now);
    return now;
}

}  // namespace mu::redis
