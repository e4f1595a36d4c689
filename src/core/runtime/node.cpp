#include "runtime/node.hpp"

#include <algorithm>
#include <cstring>

#include "common/assert.hpp"
#include "fabric/segment.hpp"
#include "runtime/clock.hpp"

namespace mu {
namespace {

std::size_t size_in_slot(ClientRequest const& request) noexcept {
    return request.command.size() + (request.session.client != 0 ? kSessionBytes : 0);
}

ShmOptions with_background(ShmOptions options) {
    options.background_bytes = sizeof(BackgroundRegion);
    return options;
}

void nap(int round) noexcept {
    if (round < 64) {
        cpu_relax();
    } else {
        std::this_thread::sleep_for(std::chrono::microseconds(round < 256 ? 5 : 50));
    }
}

}  // namespace

Node::Node(NodeOptions options, StateMachine& machine)
    : options_(std::move(options)),
      format_(options_.shm.cluster_key, options_.shm.ring_bytes, Integrity::stamp),
      fabric_(with_background(options_.shm)),
      replica_(fabric_, format_, options_.settings, machine, fabric_.incarnation()) {
    in_flight_.reserve(64);
    fabric_.refuse_strangers();
}

Node::~Node() { close(); }

void Node::start() {
    background_ = std::thread([this] { run_background(); });
    replication_ = std::thread([this] { run_replication(); });
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
        failure_ = what;
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
    bool const finished = attempt(request);
    release();
    return finished;
}

bool Node::attempt(ClientRequest& request) {
    if (closed_.load(std::memory_order_relaxed)) {
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
        finish(request, Outcome::ok);
        return true;
    }
    in_flight_.push_back({request.offset, end, &request, 0, false});
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
        return replica_.shared().leader.load(std::memory_order_acquire) == options_.settings.self &&
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
            see_through(request, queued, monotonic_now() >= deadline);
            release();
        } else if (!queued && request.offset == 0) {
            enqueue(request);
            queued = true;
            continue;  // the plane may have been let go in between
        }
        nap(round);
    }
}

// Holding the plane: brings the request one step further; ends it if it is late.
void Node::see_through(ClientRequest& request, bool queued, bool late) {
    drain();
    if (request.done.load(std::memory_order_relaxed) == 0 && !queued && request.offset == 0 && attempt(request)) {
        return;
    }
    step_once();
    if (request.done.load(std::memory_order_relaxed) != 0 || !late) {
        return;
    }
    if (request.offset != 0) {
        // What is in flight before it is no younger: nothing of it can be told any more.
        fail_in_flight(Outcome::indeterminate);
    } else {
        finish(request, Outcome::no_majority);
    }
}

void Node::finish(ClientRequest& request, Outcome outcome) noexcept {
    request.outcome = outcome;
    request.done.store(1, std::memory_order_release);  // the caller may be gone from here on
}

// --- The queue of callers that found the plane held -----------------------------------------------------------------

void Node::enqueue(ClientRequest& request) noexcept {
    ClientRequest* head = queue_.load(std::memory_order_relaxed);
    do {
        request.next = head;
    } while (!queue_.compare_exchange_weak(head, &request, std::memory_order_seq_cst));
}

ClientRequest* Node::take_queue() {
    ClientRequest* newest = queue_.exchange(nullptr, std::memory_order_seq_cst);
    ClientRequest* oldest = nullptr;
    while (newest != nullptr) {  // it is a stack: callers are served in the order in which they came
        ClientRequest* const next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void Node::drain() {
    while (queue_.load(std::memory_order_seq_cst) != nullptr) {
        offer_queue(take_queue());
    }
}

void Node::offer_queue(ClientRequest* queue) {
    while (queue != nullptr) {
        ClientRequest* const first = queue;
        ClientRequest* last = queue;
        std::size_t count = 1;
        std::size_t bytes = size_in_slot(*queue);
        while (last->next != nullptr &&
               commands_prefix_bytes(count + 1) + bytes + size_in_slot(*last->next) <= format_.max_value()) {
            last = last->next;
            ++count;
            bytes += size_in_slot(*last);
        }
        queue = last->next;
        last->next = nullptr;
        Outcome const outcome =
            closed_.load(std::memory_order_relaxed) ? Outcome::not_leader : offer(first, count, bytes);
        if (outcome == Outcome::ok) {
            settle();
            continue;
        }
        // Nothing of it was proposed; whoever can wait tries again by itself.
        for (ClientRequest* request = first; request != nullptr;) {
            ClientRequest* const next = request->next;
            finish(*request, outcome);
            request = next;
        }
    }
}

// Lets go of the plane. Whoever left a request or a wish in the meantime is served first, so nothing is left behind.
void Node::release() {
    for (;;) {
        drain();
        if (step_wanted_.load(std::memory_order_relaxed)) {
            step_once();
        }
        lock_.unlock();
        if (queue_.load(std::memory_order_seq_cst) == nullptr || !lock_.try_lock()) {
            return;
        }
    }
}

// --- Slots ----------------------------------------------------------------------------------------------------------

Outcome Node::offer(ClientRequest* first, std::size_t count, std::size_t bytes) {
    prefix_.assign(commands_prefix_bytes(count), std::byte{0});
    auto const count_word = static_cast<std::uint32_t>(count);
    std::memcpy(prefix_.data(), &count_word, 4);
    std::span<std::byte const> body = first->command;
    bool const in_place = count == 1 && first->session.client == 0;
    if (!in_place) {
        body_.clear();
        body_.reserve(bytes);
    }
    bool wants_reply = false;
    std::size_t at = 4;
    for (ClientRequest* request = first; request != nullptr; request = request->next, at += 4) {
        bool const has_session = request->session.client != 0;
        std::uint32_t const length =
            static_cast<std::uint32_t>(size_in_slot(*request)) | (has_session ? kSessionBit : 0);
        std::memcpy(prefix_.data() + at, &length, 4);
        wants_reply = wants_reply || request->wants_reply;
        if (has_session) {
            auto const session = std::as_bytes(std::span(&request->session, 1));
            body_.insert(body_.end(), session.begin(), session.end());
        }
        if (!in_place) {
            body_.insert(body_.end(), request->command.begin(), request->command.end());
        }
    }
    Outcome const outcome = replica_.propose(prefix_, in_place ? body : std::span<std::byte const>(body_));
    if (outcome == Outcome::ok) {
        Offset const end = replica_.replicator().tail();
        Offset const slot = end - slot_bytes(static_cast<std::uint32_t>(prefix_.size() + bytes));
        for (ClientRequest* request = first; request != nullptr; request = request->next) {
            request->offset = slot;
        }
        in_flight_under_ = replica_.replicator().proposal();
        in_flight_.push_back({slot, end, first, 0, wants_reply});
    }
    return outcome;
}

// Takes in completions and tells those whose slot was decided (and executed, if they want the reply).
void Node::settle() {
    try {
        replica_.advance();
        Replicator const& leader = replica_.replicator();
        if (leader.leading() && !in_flight_.empty()) {
            bool wanted = false;
            for (InFlight const& slot : in_flight_) {
                wanted = wanted || (slot.wants_reply && slot.end <= leader.decided());
            }
            if (wanted) {
                replica_.execute_decided(this);
            }
        }
    } catch (std::exception const& error) {
        halt(error.what());
        fail_in_flight(Outcome::indeterminate);
        return;
    }
    Replicator const& leader = replica_.replicator();
    if (!leader.leading() || leader.proposal() != in_flight_under_) {
        fail_in_flight(Outcome::indeterminate);
        return;
    }
    auto const undecided = std::find_if(in_flight_.begin(), in_flight_.end(),
                                        [&](InFlight const& slot) { return slot.end > leader.decided(); });
    for (auto slot = in_flight_.begin(); slot != undecided; ++slot) {
        for (ClientRequest* request = slot->first; request != nullptr;) {
            ClientRequest* const next = request->next;
            finish(*request, Outcome::ok);
            request = next;
        }
    }
    in_flight_.erase(in_flight_.begin(), undecided);
}

void Node::reply(Offset slot, std::uint32_t index, ReplyStatus status, std::span<std::byte const> bytes) {
    for (InFlight& in_flight : in_flight_) {
        if (in_flight.slot != slot || in_flight.first == nullptr || index < in_flight.index) {
            continue;
        }
        ClientRequest* request = in_flight.first;
        for (std::uint32_t at = in_flight.index; at < index && request != nullptr; ++at) {
            request = request->next;
        }
        if (request != nullptr && request->wants_reply) {
            request->status = status;
            request->reply.assign(bytes.begin(), bytes.end());
        }
        return;
    }
}

void Node::fail_in_flight(Outcome outcome) {
    for (InFlight& slot : in_flight_) {
        for (ClientRequest* request = slot.first; request != nullptr;) {
            ClientRequest* const next = request->next;
            finish(*request, outcome);
            request = next;
        }
    }
    in_flight_.clear();
}

bool Node::wait_until_leading(Nanoseconds deadline) noexcept {
    constexpr Nanoseconds kLook = 50 * kMillisecond;  // a closing replica wakes nobody
    std::atomic_ref<std::uint32_t> const leading(leading_);
    while (leading.load(std::memory_order_acquire) == 0) {
        Nanoseconds const left = deadline - monotonic_now();
        if (left <= 0 || closed()) {
            return false;
        }
        futex_sleep(leading_, 0, std::min(left, kLook));
    }
    return true;
}

// Holding the plane, after a step.
void Node::announce_leadership() noexcept {
    std::uint32_t const leads = replica_.leads() ? 1 : 0;
    std::atomic_ref<std::uint32_t> const leading(leading_);
    if (leads != leading.load(std::memory_order_relaxed)) {
        leading.store(leads, std::memory_order_release);
        if (leads != 0) {
            futex_wake_all(leading_);
        }
    }
}

void Node::step_once() {
    step_wanted_.store(false, std::memory_order_relaxed);
    if (closed_.load(std::memory_order_relaxed)) {
        return;
    }
    try {
        replica_.step_replication(monotonic_now(), this);
    } catch (std::exception const& error) {
        halt(error.what());
    }
    announce_leadership();
    if (!in_flight_.empty()) {
        settle();
    }
}

bool Node::step_while_held() {
    step_once();
    std::this_thread::yield();
    return replica_.replicator().leading();
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
        lock_.lock();
        Outcome const outcome =
            closed_.load(std::memory_order_relaxed) ? Outcome::not_leader : offer(&requests[begun], count, bytes);
        if (outcome == Outcome::ok) {
            begun += count;
            round = 0;
            settle();
        } else if (!worth_waiting(outcome) || monotonic_now() >= deadline) {
            for (ClientRequest& request : requests.subspan(begun)) {
                finish(request, outcome);
            }
            begun = requests.size();
        } else {
            step_once();
        }
        release();
        if (outcome != Outcome::ok) {
            nap(round);
        }
    }
    for (ClientRequest& request : requests) {
        if (request.offset != 0) {
            run(request, deadline);
        }
    }
}

Outcome Node::begin_exclusive_read(Nanoseconds deadline) {
    for (int round = 0;; ++round) {
        lock_.lock();
        std::optional<Outcome> outcome = closed() ? std::optional(Outcome::not_leader) : std::nullopt;
        try {
            if (!outcome && replica_.replicator().leading()) {
                replica_.begin_read();
                for (int i = 0; i < 1000 && !outcome; ++i) {
                    outcome = replica_.poll_read(this);
                }
                settle();
            } else if (!outcome && !worth_waiting(Outcome::not_leader)) {
                outcome = Outcome::not_leader;
            }
        } catch (std::exception const& error) {
            halt(error.what());
        }
        if (outcome == Outcome::ok) {
            return Outcome::ok;  // still holding the plane
        }
        if (!outcome) {
            step_once();
        }
        release();
        if (outcome) {
            return *outcome;
        }
        if (monotonic_now() >= deadline) {
            return Outcome::no_majority;
        }
        nap(round);
    }
}

}  // namespace mu
