#include "runtime/node.hpp"

#include <algorithm>
#include <cstring>

#include "common/assert.hpp"
#include "common/quiet_thread.hpp"
#include "fabric/shm.hpp"
#include "runtime/clock.hpp"
#include "runtime/tuning.hpp"

namespace mu {
namespace {

std::unique_ptr<Endpoint> open_endpoint(NodeOptions const& options, Processors& processors) {
    EndpointOptions endpoint = options.endpoint;
    endpoint.background_bytes = sizeof(BackgroundRegion);
    endpoint.on_departure = [&processors] { processors.free(); };
    if (options.verbs) {
        return open_verbs(endpoint, *options.verbs);
    }
    return std::make_unique<ShmFabric>(endpoint);
}

// A read asks a majority, and holds the plane until it has answered: whatever the medium, a round trip takes less.
constexpr Nanoseconds kReadPolls = 2 * kMillisecond;
constexpr int kPollsBetweenLooks = 100;  // at the clock

constexpr int kSpins = 64;  // before the first nap

void nap(int round) noexcept {
    if (round < kSpins) {
        cpu_relax();
    } else {
        std::this_thread::sleep_for(std::chrono::microseconds(round < 256 ? 5 : 50));
    }
}

}  // namespace

Node::Node(NodeOptions options, StateMachine& machine)
    : options_(std::move(options)),
      endpoint_(open_endpoint(options_, processors_)),
      fabric_(*endpoint_),
      format_(options_.endpoint.cluster_key, options_.endpoint.ring_bytes,
              fabric_.ordered_writes() ? Integrity::stamp : Integrity::checksum),
      replica_(fabric_, format_, for_medium(options_.settings, fabric_.is_soft()), machine, fabric_.incarnation()) {
    in_flight_.reserve(64);
    fabric_.refuse_strangers();
    hear_of_forks();
}

Node::~Node() {
    close();
    forget_forks();
}

void Node::start() {
    background_ = quiet_thread([this] { run_background(); });
    replication_ = quiet_thread([this] { run_replication(); });
}

void Node::close() noexcept {
    if (stopping_.exchange(true)) {
        return;
    }
    end_threads();
    answer_all();
    give_up_leading();
    fabric_.leave();
    lock_.unlock();
}

void Node::abandon() noexcept {
    if (stopping_.exchange(true)) {
        return;
    }
    end_threads();
    answer_all();
    fabric_.abandon();
    lock_.unlock();
}

void Node::end_threads() noexcept {
    Channel& channel = fabric_.channel(Plane::background);
    ReplicaId const self = options_.settings.self;
    for (std::thread* const thread : {&background_, &replication_}) {
        if (thread->joinable()) {
            channel.ring(self, Plane::background);
            channel.ring(self, Plane::replication);
            thread->join();
        }
    }
}

// Takes the plane, and keeps it.
void Node::answer_all() noexcept {
    lock_.lock();
    closed_.store(true, std::memory_order_release);
    fail_in_flight(Outcome::indeterminate);
    for (ClientRequest* request = take_queue(); request != nullptr;) {
        ClientRequest* const next = request->next;
        finish(*request, Outcome::not_leader);
        request = next;
    }
}

// Whoever holds the plane from here on finds a follower that is never stepped: nothing is stored any more.
void Node::give_up_leading() noexcept {
    replica_.shared().halted.store(true, std::memory_order_release);
    try {
        replica_.step_replication(monotonic_now(), nullptr);
    } catch (std::exception const& error) {
        halt(error.what());
    }
}

std::uint32_t Node::max_command() const noexcept {
    return format_.max_value() - static_cast<std::uint32_t>(commands_prefix_bytes(1) + kSessionBytes);
}

std::string Node::failure() const { return failed_.load(std::memory_order_acquire) ? failure_ : std::string{}; }

void Node::halt(char const* what) noexcept {
    if (!failed_.load(std::memory_order_relaxed)) {
        try {
            failure_ = what;
        } catch (std::bad_alloc const&) {
            failure_ = "out of memory";  // so short that it takes none
        }
        failed_.store(true, std::memory_order_release);
    }
    replica_.shared().halted.store(true, std::memory_order_release);
}

// --- One request ----------------------------------------------------------------------------------------------------

bool Node::try_run(ClientRequest& request) {
    if (request.command.size() > max_command()) {
        finish(request, Outcome::too_large);
        return true;
    }
    if (!lock_.try_lock()) {
        return false;
    }
    Held const held(*this, std::adopt_lock);
    return attempt(request);
}

bool Node::attempt(ClientRequest& request) {
    if (ended()) {
        finish(request, Outcome::not_leader);
        return true;
    }
    request.next = nullptr;
    bool const alone = !request.wants_reply && request.session.client == 0 && in_flight_.empty();
    if (alone) {
        return attempt_alone(request);
    }
    Outcome const outcome = offer(&request, 1, size_in_slot(request));
    if (outcome == Outcome::ok) {
        settle();
        return request.done.load(std::memory_order_relaxed) != 0;
    }
    return turned_away(request, outcome);
}

// The shortest way: one command, nothing before it, no reply to wait for. Nothing is queued, copied or allocated.
bool Node::attempt_alone(ClientRequest& request) {
    std::uint32_t const prefix[2] = {1, static_cast<std::uint32_t>(request.command.size())};
    static_assert(sizeof prefix == commands_prefix_bytes(1));
    Nanoseconds const began = latencies_.begin(monotonic_now);
    Outcome const outcome = replica_.propose(std::as_bytes(std::span(prefix)), request.command);
    if (outcome != Outcome::ok) {
        return turned_away(request, outcome);
    }
    Replicator const& leader = replica_.replicator();
    Offset const end = leader.tail();
    request.offset = end - slot_bytes(static_cast<std::uint32_t>(sizeof prefix + request.command.size()));
    in_flight_under_ = leader.proposal();
    replica_.advance();
    if (leader.leading() && leader.decided() >= end) {
        if (began != Latencies::kUntimed) [[unlikely]] {
            latencies_.note(monotonic_now() - began);
        }
        finish(request, Outcome::ok);
        return true;
    }
    in_flight_.push_back({request.offset, end, &request, false, began});
    settle();
    return request.done.load(std::memory_order_relaxed) != 0;
}

// Nothing was proposed. True if there is no use in waiting.
bool Node::turned_away(ClientRequest& request, Outcome outcome) noexcept {
    if (worth_waiting(outcome)) {
        return false;
    }
    finish(request, outcome);
    return true;
}

// Whether the reason may pass by itself: followers catch up, or this replica is about to lead.
bool Node::worth_waiting(Outcome outcome) const noexcept {
    if (closed_.load(std::memory_order_relaxed)) {
        return false;
    }
    if (outcome == Outcome::not_leader) {
        // One that nobody answers cannot say who leads; it may be answered in time.
        Shared const& shared = replica_.shared();
        bool const unheard = shared.unheard.load(std::memory_order_acquire);
        return (unheard || shared.leader.load(std::memory_order_acquire) == options_.settings.self) &&
               !failed_.load(std::memory_order_relaxed);
    }
    return outcome == Outcome::no_room || outcome == Outcome::no_majority;
}

void Node::run(ClientRequest& request, Nanoseconds deadline) {
    bool queued = false;
    for (int round = 0;; ++round) {
        if (request.done.load(std::memory_order_acquire) != 0) {
            // Turned away in company, with nothing proposed: try again while there is time.
            bool const again = worth_waiting(request.outcome) && monotonic_now() < deadline;
            if (!again) {
                return;
            }
            request.done.store(0, std::memory_order_relaxed);
            queued = false;
        }
        if (lock_.try_lock()) {
            {
                Held const held(*this, std::adopt_lock);
                see_through(request, queued, monotonic_now() >= deadline);
            }
            lock_.give_way();
        } else if (!queued && request.offset == 0) {
            enqueue(request);
            queued = true;
            continue;  // the plane may have been let go in between
        } else if (queued && round >= kSpins && monotonic_now() >= deadline && withdraw(request)) {
            finish(request, Outcome::busy);
            return;
        }
        nap(round);
    }
}

// Holding the plane: brings the request one step further; ends it if it is late.
void Node::see_through(ClientRequest& request, bool queued, bool late) {
    if (is_copy_) {
        finish(request, Outcome::not_leader);  // it is this thread's own that has forked inside apply
        return;
    }
    drain();
    if (request.done.load(std::memory_order_relaxed) == 0 && !queued && request.offset == 0 && attempt(request)) {
        return;
    }
    step_once();
    if (request.done.load(std::memory_order_relaxed) != 0 || !late) {
        return;
    }
    if (request.offset != 0) {
        forget(request);
        finish(request, Outcome::indeterminate);
    } else {
        if (queued) {
            withdraw(request);  // another caller that withdraws may have it in his hands
        }
        finish(request, Outcome::no_majority);
    }
}

void Node::finish(ClientRequest& request, Outcome outcome) noexcept {
    request.outcome = outcome;
    request.done.store(1, std::memory_order_release);  // the caller may be gone from here on
}

// --- Many, and reads ------------------------------------------------------------------------------------------------

void Node::run_many(std::span<ClientRequest> requests, Nanoseconds deadline) {
    std::size_t begun = 0;
    for (int round = 0; begun < requests.size(); ++round) {
        std::size_t count = 0;
        std::size_t bytes = 0;
        while (begun + count < requests.size()) {
            ClientRequest& request = requests[begun + count];
            std::size_t const more = size_in_slot(request);
            if (count > 0 && commands_prefix_bytes(count + 1) + bytes + more > format_.max_value()) {
                break;
            }
            request.next = nullptr;
            if (count > 0) {
                requests[begun + count - 1].next = &request;
            }
            bytes += more;
            ++count;
        }
        std::size_t const before = begun;
        begun += offer_some(requests, begun, count, bytes, deadline);
        if (begun == before) {
            nap(round);
        } else {
            round = 0;
        }
    }
    for (ClientRequest& request : requests) {
        if (request.offset != 0) {
            run(request, deadline);
        }
    }
}

// Offers the next `count` of a batch in one slot. How many of it are settled or in flight by that: none, if it is to be
// tried again; all that are left, if they were turned away.
std::size_t Node::offer_some(std::span<ClientRequest> requests, std::size_t begun, std::size_t count, std::size_t bytes,
                             Nanoseconds deadline) {
    if (!lock_.lock_until(deadline)) {
        return turn_away(requests.subspan(begun), Outcome::busy);
    }
    Held const held(*this, std::adopt_lock);
    // Nothing follows what may be lost: a batch takes effect up to some command, and not beyond.
    bool const broken = begun > 0 && requests[begun - 1].done.load(std::memory_order_relaxed) != 0 &&
                        requests[begun - 1].outcome != Outcome::ok;
    Outcome const outcome = broken || ended() ? Outcome::not_leader : offer(&requests[begun], count, bytes);
    if (outcome == Outcome::ok) {
        settle();
        return count;
    }
    if (!broken && worth_waiting(outcome) && monotonic_now() < deadline) {
        step_once();
        return 0;
    }
    return turn_away(requests.subspan(begun), outcome);
}

std::size_t Node::turn_away(std::span<ClientRequest> requests, Outcome outcome) noexcept {
    for (ClientRequest& request : requests) {
        finish(request, outcome);
    }
    return requests.size();
}

Outcome Node::begin_exclusive_read(Nanoseconds deadline) {
    for (int round = 0;; ++round) {
        {
            if (!lock_.lock_until(deadline)) {
                return Outcome::busy;
            }
            Held held(*this, std::adopt_lock);
            std::optional<Outcome> const outcome = try_read();
            if (outcome == Outcome::ok) {
                held.leave_held();
            }
            if (outcome) {
                return *outcome;
            }
            step_once();
        }
        if (monotonic_now() >= deadline) {
            return Outcome::no_majority;
        }
        nap(round);
    }
}

// Nothing: it is worth trying again.
std::optional<Outcome> Node::try_read() {
    if (ended()) {
        return Outcome::not_leader;
    }
    if (!replica_.replicator().leading()) {
        return worth_waiting(Outcome::not_leader) ? std::nullopt : std::optional(Outcome::not_leader);
    }
    std::optional<Outcome> outcome;
    try {
        replica_.begin_read();
        Nanoseconds until = 0;
        do {
            for (int i = 0; i < kPollsBetweenLooks && !outcome; ++i) {
                outcome = replica_.poll_read(this);
            }
            until = until == 0 && !outcome ? monotonic_now() + kReadPolls : until;
        } while (!outcome && monotonic_now() < until);
        settle();
    } catch (std::exception const& error) {
        halt(error.what());
        return std::nullopt;
    }
    return outcome;
}

}  // namespace mu
