// What the holder of the plane does for callers: combines what they queued into slots, offers those, and tells each
// caller what became of it. Nothing here waits; everything here is done holding the plane.
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/assert.hpp"
#include "fabric/segment.hpp"
#include "runtime/clock.hpp"
#include "runtime/node.hpp"

namespace mu {

// --- The queue of callers that found the plane held -----------------------------------------------------------------

void Node::enqueue(ClientRequest& request) noexcept {
    ClientRequest* head = queue_.load(std::memory_order_relaxed);
    do {
        request.next = head;
    } while (!queue_.compare_exchange_weak(head, &request, std::memory_order_seq_cst));
}

// Takes one's own request out of the queue again, with or without the plane. False: a holder of the plane has taken it.
bool Node::withdraw(ClientRequest& request) noexcept {
    while (withdrawing_.test_and_set(std::memory_order_acquire)) {
        std::this_thread::yield();
    }
    bool found = false;
    for (ClientRequest* one = take_queue(); one != nullptr;) {
        ClientRequest* const next = one->next;
        if (one == &request) {
            found = true;
        } else {
            enqueue(*one);  // who waits there looks after itself: nobody has to be told
        }
        one = next;
    }
    withdrawing_.clear(std::memory_order_release);
    return found;
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
        Outcome const outcome = ended() ? Outcome::not_leader : offer(first, count, bytes);
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

// What the slot is to hold: its prefix in prefix_, and what is returned. A command by itself is not copied.
std::span<std::byte const> Node::lay_out(ClientRequest const* first, std::size_t count, std::size_t bytes) {
    prefix_.assign(commands_prefix_bytes(count), std::byte{0});
    auto const count_word = static_cast<std::uint32_t>(count);
    std::memcpy(prefix_.data(), &count_word, 4);
    bool const in_place = count == 1 && first->session.client == 0;
    if (!in_place) {
        body_.clear();
        body_.reserve(bytes);
    }
    std::size_t at = 4;
    for (ClientRequest const* request = first; request != nullptr; request = request->next, at += 4) {
        bool const has_session = request->session.client != 0;
        std::uint32_t const length =
            static_cast<std::uint32_t>(size_in_slot(*request)) | (has_session ? kSessionBit : 0);
        std::memcpy(prefix_.data() + at, &length, 4);
        if (has_session) {
            auto const session = std::as_bytes(std::span(&request->session, 1));
            body_.insert(body_.end(), session.begin(), session.end());
        }
        if (!in_place) {
            body_.insert(body_.end(), request->command.begin(), request->command.end());
        }
    }
    return in_place ? first->command : std::span<std::byte const>(body_);
}

// Whatever may lack memory comes before anything is proposed; proposing asks for none.
Outcome Node::offer(ClientRequest* first, std::size_t count, std::size_t bytes) noexcept {
    std::span<std::byte const> body;
    try {
        body = lay_out(first, count, bytes);
        in_flight_.push_back({});
    } catch (std::exception const&) {
        return Outcome::no_memory;
    }
    Nanoseconds const began = latencies_.begin(monotonic_now);
    Outcome const outcome = replica_.propose(prefix_, body);
    if (outcome != Outcome::ok) {
        in_flight_.pop_back();
        return outcome;
    }
    Offset const end = replica_.replicator().tail();
    Offset const slot = end - slot_bytes(static_cast<std::uint32_t>(prefix_.size() + bytes));
    bool wants_reply = false;
    std::uint32_t index = 0;
    for (ClientRequest* request = first; request != nullptr; request = request->next) {
        request->offset = slot;
        request->index = index++;
        wants_reply = wants_reply || request->wants_reply;
    }
    in_flight_under_ = replica_.replicator().proposal();
    in_flight_.back() = {slot, end, first, wants_reply, began};
    return outcome;
}

// Takes in completions and tells those whose slot was decided (and executed, if they want the reply).
void Node::settle() {
    if (ended()) {
        fail_in_flight(Outcome::indeterminate);
        return;
    }
    try {
        replica_.advance();
        Replicator const& leader = replica_.replicator();
        if (leader.leading() && !in_flight_.empty()) {
            note_decided();
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

// Before anything is executed: what that costs is the state machine's.
void Node::note_decided() noexcept {
    Replicator const& leader = replica_.replicator();
    if (leader.proposal() != in_flight_under_) {
        return;  // they were another tenure's, and are about to fail
    }
    for (InFlight& slot : in_flight_) {
        if (slot.began != Latencies::kUntimed && slot.end <= leader.decided()) [[unlikely]] {
            latencies_.note(monotonic_now() - std::exchange(slot.began, Latencies::kUntimed));
        }
    }
}

// Replies come in the order of the slot's commands: the search goes on where the last one was found.
void Node::reply(Offset slot, std::uint32_t index, ReplyStatus status, std::span<std::byte const> bytes) {
    auto const found = std::find_if(in_flight_.begin(), in_flight_.end(),
                                    [slot](InFlight const& in_flight) { return in_flight.slot == slot; });
    if (found == in_flight_.end()) {
        return;
    }
    if (found->replied == nullptr || index < found->replied->index) {
        found->replied = found->first;
    }
    while (found->replied->index < index && found->replied->next != nullptr) {
        found->replied = found->replied->next;
    }
    ClientRequest& request = *found->replied;
    if (request.index == index && request.wants_reply) {  // else its caller has gone
        request.status = status;
        request.reply.assign(bytes.begin(), bytes.end());
    }
}

// Its caller goes. What it has proposed may be decided all the same, without anybody to be told; the others that are in
// flight, in the same slot or another, are not touched.
void Node::forget(ClientRequest& request) noexcept {
    auto const found = std::find_if(in_flight_.begin(), in_flight_.end(),
                                    [&](InFlight const& in_flight) { return in_flight.slot == request.offset; });
    MU_ASSERT(found != in_flight_.end());
    found->replied = nullptr;
    ClientRequest** link = &found->first;
    while (*link != &request) {
        MU_ASSERT(*link != nullptr);
        link = &(*link)->next;
    }
    *link = request.next;
    if (found->first == nullptr) {
        in_flight_.erase(found);
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
    fabric_.works_on(sched_getcpu());
    try {
        replica_.step_replication(monotonic_now(), this);
    } catch (std::exception const& error) {
        halt(error.what());
        if (is_copy_) {
            return;
        }
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

}  // namespace mu
