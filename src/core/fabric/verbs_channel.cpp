#include "fabric/verbs_channel.hpp"

#include <algorithm>
#include <cstring>

#include "common/assert.hpp"
#include "common/ordered_copy.hpp"
#include "fabric/gather.hpp"

namespace mu {

namespace {

constexpr std::size_t kAlignment = 8;       // of what is staged
constexpr std::size_t kPartsOfStaging = 4;  // the largest part is so much of a queue's staging memory
constexpr std::size_t kRoundOfCompletions = 16;

// Work requests are numbered by queue, epoch and part: | epoch 24 | peer 8 | part 32 |.
std::uint64_t number_of(std::uint32_t epoch, ReplicaId peer, std::uint64_t part) noexcept {
    return (std::uint64_t{epoch & 0xff'ffffU} << 40U) | (std::uint64_t{peer} << 32U) | (part & 0xffff'ffffU);
}

}  // namespace

VerbsChannel::VerbsChannel(VerbsTools const& tools, CompletionQueue const& completions, Line line,
                           std::size_t staging_bytes)
    : tools_(tools),
      completions_(completions),
      line_(line),
      staging_(staging_bytes * tools.members.size()),
      staging_registration_(tools.device, staging_, IBV_ACCESS_LOCAL_WRITE) {
    for (std::size_t i = 0; i < tools.members.size(); ++i) {
        queues_[tools.members[i]].staging = std::span(staging_).subspan(i * staging_bytes, staging_bytes);
    }
}

bool VerbsChannel::connect(ReplicaId peer) noexcept {
    if (peer == tools_.self) {
        queues_[peer].failed = false;
        return true;
    }
    std::shared_ptr<VerbsLink> found = tools_.peers.link(peer);
    if (found == nullptr) return false;
    Queue& queue = queues_[peer];
    if (found->broken()) return false;  // until another one takes its place
    if (queue.link == found) return true;
    fail(peer, queue);
    queue.link = std::move(found);
    queue.failed = false;
    queue.dirty = false;
    queue.log_key = 0;
    queue.inbox = queue.link->remote().end_of(Line::log_in).queue_pair;
    return true;
}

Incarnation VerbsChannel::connected(ReplicaId peer) const noexcept {
    if (peer > kMaxReplicaId) return 0;
    if (peer == tools_.self) return queues_[peer].failed ? 0 : tools_.memory.incarnation;
    Queue const& queue = queues_[peer];
    // A link that has broken is none: whoever asks connects anew.
    return queue.link == nullptr || queue.link->broken() ? 0 : queue.link->incarnation();
}

bool VerbsChannel::usable(Queue const& queue) const noexcept {
    return !queue.failed && queue.link != nullptr && !queue.link->broken();
}

void VerbsChannel::begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept {
    Queue& queue = queues_[peer];
    fail(peer, queue);  // what is open was written by the tenure before
    queue.proposal = tenure.proposal;
    if (peer == tools_.self) {
        queue.failed = false;
        return;
    }
    InboxKey const inbox = InboxKey::unpack(key);
    queue.log_key = inbox.registration;
    if (key == 0 || queue.link == nullptr || queue.link->broken()) return;
    // A queue pair that has carried nothing yet, and whose other end is the inbox of the grant, is ready as it is. One that
    // has cannot begin again at the same inbox: that expects later packets, and would take the first ones for repeated
    // ones, which it acknowledges without storing them.
    bool ready = !queue.dirty;
    if (inbox.queue_pair != queue.inbox) {
        RemoteEnd remote = queue.link->remote().end_of(Line::log_in);
        remote.queue_pair = inbox.queue_pair;
        ready = queue.link->pair(Line::log_out).connect(remote, inbox.sends_from, IBV_ACCESS_LOCAL_WRITE);
        queue.inbox = inbox.queue_pair;
        queue.dirty = !ready;
    }
    queue.failed = !ready;
}

// --- Operations -----------------------------------------------------------------------------------------------------

void VerbsChannel::write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes,
                         std::uint64_t id) noexcept {
    std::size_t const length = bytes_of(bytes);
    std::size_t const size = region == Region::log ? tools_.memory.ring.size() : tools_.memory.background.size();
    MU_ASSERT(at <= size && length <= size - at);  // a write does not wrap: the protocol fills the end of the ring
    if (to == tools_.self) {
        on_own_memory(Operation::write, region, at, bytes, {}, id);
        return;
    }
    Queue& queue = queues_[to];
    bool const permitted = region == Region::background || queue.log_key != 0;
    if (!usable(queue) || !permitted) {
        finish_at_once(to, Operation::write, id, false);
        return;
    }
    VerbsCard const& remote = queue.link->remote();
    std::size_t const most = queue.staging.size() / kPartsOfStaging;
    for (std::size_t done = 0; done < length; done += most) {
        Part part;
        part.length = static_cast<std::uint32_t>(std::min(most, length - done));
        part.last = done + part.length == length;
        part.id = id;
        part.address = (region == Region::log ? remote.log_at : remote.background_at) + at + done;
        part.key = region == Region::log ? queue.log_key : static_cast<std::uint32_t>(remote.background_key);
        part.place = static_cast<std::uint32_t>(done);  // until it is staged: where its bytes begin
        add(queue, std::move(part), &bytes);
    }
}

void VerbsChannel::read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
                        std::uint64_t id) noexcept {
    std::size_t const size = region == Region::log ? tools_.memory.ring.size() : tools_.memory.background.size();
    MU_ASSERT(at <= size && into.size() <= size - at);
    if (from == tools_.self) {
        on_own_memory(Operation::read, region, at, {}, into, id);
        return;
    }
    Queue& queue = queues_[from];
    if (!usable(queue)) {
        finish_at_once(from, Operation::read, id, false);
        return;
    }
    VerbsCard const& remote = queue.link->remote();
    std::size_t const most = queue.staging.size() / kPartsOfStaging;
    for (std::size_t done = 0; done < into.size(); done += most) {
        Part part;
        part.operation = Operation::read;
        part.length = static_cast<std::uint32_t>(std::min(most, into.size() - done));
        part.last = done + part.length == into.size();
        part.id = id;
        part.address = (region == Region::log ? remote.log_at : remote.background_at) + at + done;
        part.key = static_cast<std::uint32_t>(region == Region::log ? remote.log_read_key : remote.background_key);
        part.into = into.data() + done;
        add(queue, std::move(part), nullptr);
    }
}

// A real write, into the page behind the ring: a device need not look at the key of one without bytes.
void VerbsChannel::confirm(ReplicaId to, std::uint64_t id) noexcept {
    Queue& queue = queues_[to];
    std::uint64_t const word = id;
    Gather const bytes{std::as_bytes(std::span(&word, 1))};
    std::uint64_t const at = tools_.memory.ring.size() + std::uint64_t{8} * tools_.self;
    if (to == tools_.self) {
        finish_at_once(to, Operation::confirm, id,
                       !queue.failed && tools_.acceptor.store_own(queue.proposal, at, bytes));
        return;
    }
    if (!usable(queue) || queue.log_key == 0) {
        finish_at_once(to, Operation::confirm, id, false);
        return;
    }
    Part part;
    part.operation = Operation::confirm;
    part.length = sizeof word;
    part.id = id;
    part.address = queue.link->remote().log_at + at;
    part.key = queue.log_key;
    add(queue, std::move(part), &bytes);
}

void VerbsChannel::on_own_memory(Operation operation, Region region, std::uint64_t at, Gather const& bytes,
                                 std::span<std::byte> into, std::uint64_t id) noexcept {
    Queue& queue = queues_[tools_.self];
    bool success = !queue.failed;
    if (operation == Operation::read) {
        std::byte const* const from =
            region == Region::log ? tools_.memory.ring.data() : tools_.memory.background.data();
        racy_copy_out(into.data(), from + at, into.size());
    } else if (region == Region::background) {
        copy_gather(tools_.memory.background.data() + at, bytes, 0, bytes_of(bytes));
    } else {
        success = success && tools_.acceptor.store_own(queue.proposal, at, bytes);
        queue.failed = !success;  // as for any peer: after one failure nothing more, until the next tenure
    }
    finish_at_once(tools_.self, operation, id, success);
}

// --- Staging --------------------------------------------------------------------------------------------------------

void VerbsChannel::add(Queue& queue, Part part, Gather const* bytes) noexcept {
    bool const in_order = queue.parts.empty() || queue.parts.back().staged;
    if (in_order) stage(queue, part, bytes);
    if (!part.staged && bytes != nullptr) {
        part.held = std::make_unique<std::byte[]>(part.length);
        copy_gather(part.held.get(), *bytes, part.place, part.length);
    }
    queue.parts.push_back(std::move(part));
}

void VerbsChannel::stage(Queue& queue, Part& part, Gather const* bytes) noexcept {
    std::uint32_t place = 0;
    std::byte* const room = take_room(queue, part.length, place);
    if (room == nullptr) return;
    if (part.held != nullptr) {
        std::memcpy(room, part.held.get(), part.length);
        part.held.reset();
    } else if (bytes != nullptr) {
        copy_gather(room, *bytes, part.place, part.length);
    }
    part.place = place;
    part.staged = true;
}

// Staging memory is used as a ring, in the order of the parts; a part does not wrap.
std::byte* VerbsChannel::take_room(Queue& queue, std::uint32_t length, std::uint32_t& place) noexcept {
    std::size_t const size = queue.staging.size();
    std::size_t const bytes = align_up(length, kAlignment);
    if (queue.parts.empty()) queue.staged_from = queue.staged_to = 0;
    std::size_t at = queue.staged_to % size;
    std::size_t const skipped = at + bytes > size ? size - at : 0;
    if (queue.staged_to - queue.staged_from + skipped + bytes > size) return nullptr;
    queue.staged_to += skipped + bytes;
    at = (queue.staged_to - bytes) % size;
    place = static_cast<std::uint32_t>(at);
    return queue.staging.data() + at;
}

void VerbsChannel::give_room_back(Queue& queue, Part const& part) noexcept {
    if (!part.staged) return;
    std::size_t const size = queue.staging.size();
    std::size_t const at = queue.staged_from % size;
    queue.staged_from += (part.place >= at ? part.place - at : size - at) + align_up(part.length, kAlignment);
}

// --- Posting --------------------------------------------------------------------------------------------------------

// Builds work requests for what is staged and not posted, in chain_; returns how many parts they carry.
std::size_t VerbsChannel::build_chain(ReplicaId peer, Queue& queue) noexcept {
    std::size_t const most = queue.staging.size() / kPartsOfStaging;
    std::size_t const room = kMaxSends - queue.requests;
    std::size_t taken = 0;
    std::size_t count = 0;
    for (std::size_t i = queue.posted; i < queue.parts.size(); ++i) {
        Part& part = queue.parts[i];
        if (!part.staged) stage(queue, part, nullptr);
        if (!part.staged) break;
        std::uint64_t const local = reinterpret_cast<std::uint64_t>(queue.staging.data() + part.place);
        Request* const before = count == 0 ? nullptr : &chain_[count - 1];
        bool const goes_on = before != nullptr && part.operation == Operation::write &&
                             before->wr.opcode == IBV_WR_RDMA_WRITE && before->wr.wr.rdma.rkey == part.key &&
                             before->wr.wr.rdma.remote_addr + before->bytes.length == part.address &&
                             before->bytes.addr + before->bytes.length == local &&
                             before->bytes.length + part.length <= most;
        if (!goes_on && count == room) break;
        ++taken;
        if (goes_on) {
            before->bytes.length += part.length;
            continue;
        }
        Request& request = chain_[count++];
        request.bytes = {local, part.length, staging_registration_.local_key()};
        request.wr = {};
        request.wr.sg_list = &request.bytes;
        request.wr.num_sge = 1;
        request.wr.opcode = part.operation == Operation::read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
        request.wr.wr.rdma.remote_addr = part.address;
        request.wr.wr.rdma.rkey = part.key;
        if (before != nullptr) before->wr.next = &request.wr;
    }
    if (count == 0) return 0;
    std::uint32_t const inline_bytes = queue.link->pair(line_).inline_bytes();
    for (Request& request : std::span(chain_).first(count)) {
        bool const fits = request.wr.opcode == IBV_WR_RDMA_WRITE && request.bytes.length <= inline_bytes;
        request.wr.send_flags = fits ? unsigned{IBV_SEND_INLINE} : 0U;
    }
    ibv_send_wr& last = chain_[count - 1].wr;
    last.send_flags |= IBV_SEND_SIGNALED;
    last.wr_id = number_of(queue.epoch, peer, queue.first + queue.posted + taken - 1);
    queue.chains.push_back({queue.first + queue.posted + taken - 1, count});
    queue.requests += count;
    return taken;
}

void VerbsChannel::flush(ReplicaId peer) noexcept {
    Queue& queue = queues_[peer];
    while (queue.posted < queue.parts.size()) {
        if (!usable(queue)) {
            fail(peer, queue);
            return;
        }
        std::size_t const taken = build_chain(peer, queue);
        if (taken == 0) return;  // no room: with the next completions
        queue.posted += taken;
        queue.dirty = true;
        if (!queue.link->pair(line_).post(chain_[0].wr)) {
            fail(peer, queue);
            return;
        }
    }
}

void VerbsChannel::ring(ReplicaId peer, Plane plane) noexcept {
    if (peer == tools_.self) {
        tools_.ring_own(plane);
    } else if (peer <= kMaxReplicaId) {
        flush(peer);
    }
}

// --- Completions ----------------------------------------------------------------------------------------------------

std::size_t VerbsChannel::poll(std::span<Completion> completions) noexcept {
    for (ReplicaId const member : tools_.members) {
        if (member != tools_.self) flush(member);
    }
    std::array<ibv_wc, kRoundOfCompletions> done;
    int count = 0;
    do {
        count = completions_.poll(done);
        for (int i = 0; i < count; ++i) {
            take_in(done[static_cast<std::size_t>(i)]);
        }
    } while (count == static_cast<int>(done.size()));
    std::size_t const given = std::min(completions.size(), done_.size() - delivered_);
    std::copy_n(done_.begin() + static_cast<std::ptrdiff_t>(delivered_), given, completions.begin());
    delivered_ += given;
    if (delivered_ == done_.size()) {
        done_.clear();
        delivered_ = 0;
    }
    return given;
}

void VerbsChannel::take_in(ibv_wc const& done) noexcept {
    auto const peer = static_cast<ReplicaId>((done.wr_id >> 32U) & 0xffU);
    if (peer > kMaxReplicaId) return;
    Queue& queue = queues_[peer];
    if (done.wr_id >> 40U != (queue.epoch & 0xff'ffffU) || queue.parts.empty()) return;
    if (done.status != IBV_WC_SUCCESS) {
        fail(peer, queue);
        return;
    }
    auto const ahead = static_cast<std::uint32_t>(done.wr_id - (queue.first & 0xffff'ffffU));
    complete_through(peer, queue, queue.first + ahead);
}

void VerbsChannel::complete_through(ReplicaId peer, Queue& queue, std::uint64_t number) noexcept {
    while (queue.posted > 0 && queue.first <= number) {
        Part const& part = queue.parts.front();
        if (part.operation == Operation::read) {
            std::memcpy(part.into, queue.staging.data() + part.place, part.length);
        }
        if (part.last) finish(peer, part, true);
        give_room_back(queue, part);
        queue.parts.pop_front();
        ++queue.first;
        --queue.posted;
    }
    while (!queue.chains.empty() && queue.chains.front().last <= number) {
        queue.requests -= queue.chains.front().requests;
        queue.chains.pop_front();
    }
}

void VerbsChannel::fail(ReplicaId peer, Queue& queue) noexcept {
    queue.failed = true;
    if (queue.posted > 0) {
        queue.link->pair(line_).stop();  // nothing of it may still be sent from memory that is used again
        if (line_ != Line::log_out) queue.link->break_off();
    }
    for (Part const& part : queue.parts) {
        if (part.last) finish(peer, part, false);
    }
    queue.first += queue.parts.size();
    queue.parts.clear();
    queue.chains.clear();
    queue.posted = queue.requests = 0;
    ++queue.epoch;
}

void VerbsChannel::finish(ReplicaId peer, Part const& part, bool success) noexcept {
    finish_at_once(peer, part.operation, part.id, success);
}

void VerbsChannel::finish_at_once(ReplicaId peer, Operation operation, std::uint64_t id, bool success) noexcept {
    done_.push_back({peer, operation, success, id});
}

}  // namespace mu
