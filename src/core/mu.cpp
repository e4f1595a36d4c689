// The C face: a Node, a state machine made of callbacks, and outcomes as C sees them.
//
// Invariant: no exception crosses mu.h. What can throw (opening, memory) is caught here and becomes an outcome or a
// text that mu_last_error returns.
#include "mu.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "runtime/clock.hpp"
#include "runtime/dedicated.hpp"
#include "runtime/fabric_choice.hpp"
#include "runtime/node.hpp"
#include "runtime/tuning.hpp"

struct mu_bytes {
    mu::OwnedBytes& to;
    bool lacks_memory = false;  // what a callback wrote is not all there; it cannot be told, for it is not C++
};

namespace {

constexpr std::uint64_t kDefaultLogBytes = 1ULL << 20U;

constexpr char const* kCopy = "this process is a child of fork(), and the replica is its parent's";

thread_local std::string last_error;

std::span<std::byte const> view(void const* bytes, std::size_t length) noexcept {
    return {static_cast<std::byte const*>(bytes), length};
}

// Counts commands; the count travels at the head of every snapshot.
class CallbackMachine final : public mu::StateMachine {
public:
    explicit CallbackMachine(mu_machine const& machine) : machine_(machine) {}

    bool apply(std::span<std::byte const> command, mu::OwnedBytes& reply) override {
        mu_bytes out{reply};
        std::uint64_t const sequence = sequence_.load(std::memory_order_relaxed) + 1;
        std::uint32_t const forks = mu::Node::forks();
        bool const accepted = machine_.apply(machine_.context, sequence, command.data(), command.size(), &out);
        if (forks != mu::Node::forks()) {
            throw std::runtime_error(kCopy);
        }
        if (out.lacks_memory) {
            throw std::bad_alloc();  // nobody knows what a client would be told: this replica stops
        }
        sequence_.store(sequence, std::memory_order_release);
        return accepted;
    }
    bool snapshot(mu::OwnedBytes& out) override {
        std::uint64_t const sequence = sequence_.load(std::memory_order_relaxed);
        mu::ByteWriter(out).put(sequence);
        mu_bytes bytes{out};
        machine_.snapshot(machine_.context, sequence, &bytes);
        return !bytes.lacks_memory;
    }
    void restore(std::span<std::byte const> snapshot) override {
        mu::ByteReader reader(snapshot);
        auto const sequence = reader.take<std::uint64_t>();
        machine_.restore(machine_.context, sequence, snapshot.data() + sizeof sequence,
                         snapshot.size() - sizeof sequence);
        sequence_.store(sequence, std::memory_order_release);
    }
    void end_run() override {
        if (machine_.end_run != nullptr) {
            machine_.end_run(machine_.context);
        }
    }
    [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_.load(std::memory_order_acquire); }

private:
    mu_machine machine_;
    std::atomic<std::uint64_t> sequence_{0};
};

std::string text_or(char const* given, char const* otherwise) { return given != nullptr ? given : otherwise; }

mu::FabricChoice fabric_of(mu_options const& given) {
    return {text_or(given.fabric, "shm"),
            text_or(given.registry, ""),
            text_or(given.rdma_device, ""),
            static_cast<int>(given.rdma_port),
            given.rdma_gid_index != nullptr ? *given.rdma_gid_index : -1,
            static_cast<int>(given.rdma_mtu)};
}

mu::NodeOptions options_of(mu_options const& given) {
    if (given.struct_bytes != sizeof(mu_options) || given.cluster == nullptr || given.members == nullptr) {
        throw std::invalid_argument("mu_options wants struct_bytes = sizeof(mu_options), cluster and members.");
    }
    mu::NodeOptions options;
    options.verbs = mu::verbs_if_chosen(fabric_of(given));
    mu::Settings& settings = options.settings;
    if (given.dedicated_cores) {
        options.cores = mu::Cores::dedicated;
        mu::use_dedicated_cores(settings);
    }
    settings.self = given.replica_id;
    settings.members.assign(given.members, given.members + given.member_count);
    std::sort(settings.members.begin(), settings.members.end());
    settings.cluster_key = given.cluster_key;
    if (given.commit_idle_us != 0) {
        settings.commit_idle_after = given.commit_idle_us * mu::kMicrosecond;
    }
    if (given.idle_commit_off) {
        settings.commit_idle_after = 0;
    }
    if (given.follower_nap_us != 0) {
        options.follower_nap = given.follower_nap_us * mu::kMicrosecond;
    }
    if (given.stall_limit_ms != 0) {
        settings.stall_limit = given.stall_limit_ms * mu::kMillisecond;
    }
    mu::tune(settings, text_or(given.tuning, ""));
    options.endpoint.cluster = given.cluster;
    options.endpoint.cluster_key = given.cluster_key;
    options.endpoint.replica = given.replica_id;
    options.endpoint.members = settings.members;
    options.endpoint.ring_bytes = given.log_bytes != 0 ? given.log_bytes : kDefaultLogBytes;
    if (given.directory != nullptr) {
        options.endpoint.directory = given.directory;
    }
    return options;
}

}  // namespace

struct mu_node {
    mu_node(mu_options const& options, mu_machine const& callbacks)
        : machine(callbacks), node(options_of(options), machine), notice(node.fabric().notice()) {}

    [[nodiscard]] mu_outcome outcome_of(mu::Outcome outcome) const {
        if (node.is_copy()) {
            return MU_STOPPED;
        }
        switch (outcome) {
            case mu::Outcome::ok:
                return MU_OK;
            case mu::Outcome::not_leader:
                return node.closed() || !node.failure().empty() ? MU_STOPPED : MU_NOT_LEADER;
            case mu::Outcome::no_majority:
                return MU_NO_MAJORITY;
            case mu::Outcome::no_room:
                return MU_LOG_FULL;
            case mu::Outcome::too_large:
                return MU_TOO_LARGE;
            case mu::Outcome::busy:
                return MU_BUSY;
            case mu::Outcome::no_memory:
                return MU_NO_MEMORY;
            case mu::Outcome::indeterminate:
                return MU_INDETERMINATE;
        }
        return MU_INDETERMINATE;
    }

    void run(mu::ClientRequest& request, std::int64_t timeout_ns) {
        if (!node.try_run(request)) {
            node.run(request, mu::deadline_after(timeout_ns));
        }
    }

    CallbackMachine machine;
    mu::Node node;
    std::string const notice;
    std::string failure;
    std::atomic<std::uint32_t> mutable calls{0};  // under way
};

namespace {

// Around every call of a node, so that mu_close frees nothing that one still uses.
class Call {
public:
    explicit Call(mu_node const* node) noexcept : calls_(node->calls) {
        calls_.fetch_add(1, std::memory_order_relaxed);
    }
    ~Call() { calls_.fetch_sub(1, std::memory_order_release); }
    Call(Call const&) = delete;
    Call& operator=(Call const&) = delete;

private:
    std::atomic<std::uint32_t>& calls_;
};

}  // namespace

void mu_write(mu_bytes* bytes, void const* data, size_t length) {
    auto const more = view(data, length);
    try {
        bytes->to.insert(bytes->to.end(), more.begin(), more.end());
    } catch (std::exception const&) {
        bytes->lacks_memory = true;
    }
}

mu_node* mu_open(mu_options const* options, mu_machine const* machine) {
    try {
        auto node = std::make_unique<mu_node>(*options, *machine);
        node->node.replica().shared().aside.store(options->stands_aside, std::memory_order_release);
        node->node.start();
        last_error.clear();
        return node.release();
    } catch (std::exception const& error) {
        last_error = error.what();
        return nullptr;
    }
}

char const* mu_notice(mu_node const* node) { return node->notice.c_str(); }

void mu_close(mu_node* node) {
    if (node == nullptr || node->node.is_copy()) {
        return;
    }
    node->node.close();
    while (node->calls.load(std::memory_order_acquire) != 0) {  // they have been told, and are on their way out
        std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    delete node;
}

mu_outcome mu_execute(mu_node* node, void const* command, size_t length, int64_t timeout_ns, mu_reply* reply) {
    Call const call(node);
    mu::ClientRequest request;
    request.command = view(command, length);
    request.wants_reply = true;
    node->run(request, timeout_ns);
    mu_outcome const outcome = node->outcome_of(request.outcome);
    if (outcome != MU_OK) {
        return outcome;
    }
    if (reply != nullptr) {
        reply->length = request.reply.size();
        std::size_t const taken = std::min(reply->capacity, request.reply.size());
        if (reply->bytes != nullptr && taken != 0) {
            std::memcpy(reply->bytes, request.reply.data(), taken);
        }
    }
    return request.status == mu::ReplyStatus::ok ? MU_OK : MU_REJECTED;
}

mu_outcome mu_propose(mu_node* node, void const* command, size_t length, int64_t timeout_ns) {
    Call const call(node);
    mu::ClientRequest request;
    request.command = view(command, length);
    node->run(request, timeout_ns);
    return node->outcome_of(request.outcome);
}

mu_outcome mu_confirm(mu_node* node, int64_t timeout_ns, uint64_t* tenure) {
    Call const call(node);
    mu::Outcome const outcome = node->node.begin_exclusive_read(mu::deadline_after(timeout_ns));
    if (outcome == mu::Outcome::ok) {
        if (tenure != nullptr) {
            *tenure = node->node.replica().replicator().proposal();
        }
        node->node.end_exclusive_read();
    }
    return node->outcome_of(outcome);
}

bool mu_leads(mu_node const* node) {
    Call const call(node);
    return !node->node.is_copy() && node->node.replica().leads();
}

uint32_t mu_leader(mu_node const* node) {
    Call const call(node);
    return node->node.is_copy() ? mu::kNobody : node->node.replica().shared().leader.load(std::memory_order_acquire);
}

size_t mu_max_command(mu_node const* node) {
    Call const call(node);
    return node->node.max_command();
}

bool mu_wait_until_leading(mu_node* node, int64_t timeout_ns) {
    Call const call(node);
    return node->node.wait_until_leading(mu::deadline_after(timeout_ns));
}

void mu_pause(mu_node* node, bool paused) {
    Call const call(node);
    node->node.pause(paused);
}

void mu_stand_aside(mu_node* node, bool aside) {
    Call const call(node);
    node->node.replica().shared().aside.store(aside, std::memory_order_release);
}

void mu_status(mu_node* node, mu_status_t* status) {
    Call const call(node);
    mu::Replica const& replica = node->node.replica();
    if (node->node.is_copy()) {
        *status = {};
        status->replica_id = replica.settings().self;
        return;
    }
    node->node.hold();
    mu::Shared const& shared = replica.shared();
    *status = mu_status_t{
        .replica_id = replica.settings().self,
        .leader = shared.leader.load(std::memory_order_acquire),
        .leads = replica.leads(),
        .admitted = !replica.forming(),
        .paused = shared.paused.load(std::memory_order_acquire),
        .tenure = replica.replicator().proposal(),
        .applied = replica.executor().applied().offset,
        .decided = std::max(
            {replica.replicator().decided(), replica.replayer().decided(), replica.executor().applied().offset}),
        .sequence = node->machine.sequence(),
        .confirmed = static_cast<std::uint32_t>(replica.replicator().writers().size()),
        .alive = shared.alive.load(std::memory_order_acquire) | (1U << replica.settings().self),
    };
    node->node.release();
}

char const* mu_last_error(void) { return last_error.c_str(); }

char const* mu_failure(mu_node* node) {
    node->failure = node->node.is_copy() ? kCopy : node->node.failure();
    return node->failure.c_str();
}

char const* mu_outcome_text(mu_outcome outcome) {
    switch (outcome) {
        case MU_OK:
            return "decided";
        case MU_NOT_LEADER:
            return "this replica does not lead; nothing was proposed";
        case MU_NO_MAJORITY:
            return "no majority of the replicas can be reached; nothing was proposed";
        case MU_LOG_FULL:
            return "the log has no room until the followers have applied more; nothing was proposed";
        case MU_TOO_LARGE:
            return "no slot takes a command of this size; nothing was proposed";
        case MU_INDETERMINATE:
            return "proposed, and not known to be decided";
        case MU_REJECTED:
            return "decided, and rejected by the state machine";
        case MU_STOPPED:
            return "this replica was closed or has stopped";
        case MU_BUSY:
            return "this replica was occupied by other commands for all of the given time; nothing was proposed";
        case MU_NO_MEMORY:
            return "this process has no memory left to propose it with; nothing was proposed";
    }
    return "no outcome";
}
