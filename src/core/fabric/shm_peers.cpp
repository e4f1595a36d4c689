#include "fabric/shm_peers.hpp"

#include <chrono>
#include <exception>
#include <utility>

#include "common/prompt_thread.hpp"
#include "fabric/process.hpp"
#include "fabric/segment_lock.hpp"
#include "fabric/shm_life.hpp"

namespace mu {

namespace {

// How often an absent peer is looked for: often while a cluster starts, seldom when somebody stays away.
constexpr std::chrono::milliseconds kLookOften{10};
constexpr std::chrono::milliseconds kLookSeldom{50};
constexpr Nanoseconds kSeldomAfter = 2'000'000'000;

Nanoseconds monotonic_now() noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace

ShmPeers::ShmPeers(SegmentShape const& shape, std::string const& directory, std::string const& cluster, ReplicaId self,
                   std::shared_ptr<Segment> own, std::function<void()> on_departure)
    : shape_(shape),
      directory_(directory),
      cluster_(cluster),
      self_(self),
      own_(std::move(own)),
      on_departure_(std::move(on_departure)) {
    peers_[self_].segment = own_;
    peers_[self_].present = own_->incarnation();
}

ShmPeers::~ShmPeers() { stop(); }

void ShmPeers::refuse_strangers() const {
    constexpr Incarnation kNone = ~Incarnation{0};  // nothing is to be mapped
    for (ReplicaId const replica : shape_.members) {
        std::string const path = segment_path(directory_, cluster_, replica);
        FoundSegment const found = find_segment(path, shape_, replica, kNone);
        if (found.problem.empty()) continue;
        // What dead runs left is no obstacle; of another user's nobody can tell whether he lives.
        if (found.kind != FabricError::Code::permission_denied && !look_at_lock(path + ".lock").held) continue;
        throw FabricError(found.kind, "replica " + std::to_string(self_) + " of cluster " + cluster_ +
                                          " cannot run beside replica " + std::to_string(replica) + ": " +
                                          found.problem + ". Nothing of it was changed");
    }
}

void ShmPeers::start() {
    for (ReplicaId const replica : shape_.members) {
        if (replica == self_) continue;
        Peer& peer = peers_[replica];
        peer.peers = this;
        peer.replica = replica;
        auto const body = [](void* watched) {
            auto& it = *static_cast<Peer*>(watched);
            it.peers->watch(it);
        };
        peer.watcher = named_quiet_thread(("mu-watch-" + std::to_string(replica)).c_str(), body, &peer);
    }
}

void ShmPeers::stop() noexcept {
    {
        std::lock_guard const lock(nap_mutex_);
        stopping_.store(true, std::memory_order_seq_cst);
    }
    nap_over_.notify_all();
    for (Peer& peer : peers_) {
        if (!peer.watcher.joinable()) continue;
        // A watcher that maps a segment only now finds stopping_ set before it sleeps on it.
        if (std::shared_ptr<Segment> const found = segment(peer.replica)) stop_awaiting(line_of(*found));
        peer.watcher.join();
    }
}

std::shared_ptr<Segment> ShmPeers::segment(ReplicaId peer) noexcept {
    if (peer > kMaxReplicaId) return nullptr;
    std::lock_guard const lock(peers_[peer].mutex);
    return peers_[peer].segment;
}

PeerState ShmPeers::state(ReplicaId peer) const noexcept {
    if (peer > kMaxReplicaId) return {};
    // In this order: an end that is read later than the incarnation can only be newer.
    Incarnation const present = peers_[peer].present.load(std::memory_order_acquire);
    Incarnation const ended = peers_[peer].ended.load(std::memory_order_acquire);
    return {present, present != 0 && ended >= present};
}

bool ShmPeers::is_runnable(ReplicaId peer) noexcept {
    std::shared_ptr<Segment> const found = segment(peer);
    if (found == nullptr) return false;
    SegmentIdentity const& identity = found->header().identity;
    ProcessState const process = look_at_process(identity.pid);
    if (process.letter == 0 || process.started_at != identity.process_started_at) return false;
    return process.letter == 'R' || process.letter == 'S' || process.letter == 'D';
}

std::string ShmPeers::problem(ReplicaId peer) const {
    if (peer > kMaxReplicaId) return {};
    std::lock_guard const lock(peers_[peer].mutex);
    return peers_[peer].problem;
}

void ShmPeers::watch(Peer& peer) noexcept {
    become_prompt();
    Nanoseconds absent_since = monotonic_now();
    for (;;) {
        std::shared_ptr<Segment> const found = look(peer);
        if (found == nullptr) {
            if (!nap(absent_since)) return;
            continue;
        }
        arrive(peer, found);
        if (!await_end(found->header(), line_of(*found), stopping_)) return;
        depart(peer, *found);
        absent_since = monotonic_now();
    }
}

// A segment of a life that is not known to have ended; null if there is none.
std::shared_ptr<Segment> ShmPeers::look(Peer& peer) noexcept {
    FoundSegment found;
    try {
        found = find_segment(segment_path(directory_, cluster_, peer.replica), shape_, peer.replica, peer.ended);
    } catch (std::exception const& error) {  // no address space or memory for it: perhaps the next time
        found.problem = error.what();
    }
    {
        std::lock_guard const lock(peer.mutex);
        peer.problem.swap(found.problem);
    }
    if (found.segment != nullptr && has_ended(found.segment->header(), line_of(*found.segment))) {
        // The remains of a dead run: its end is news, but there is nothing to connect to.
        peer.ended.store(found.segment->incarnation(), std::memory_order_release);
        meet(peer, found.segment->incarnation());
        return nullptr;
    }
    return found.segment;
}

// False when it is time to stop.
bool ShmPeers::nap(Nanoseconds since) noexcept {
    auto const span = monotonic_now() - since < kSeldomAfter ? kLookOften : kLookSeldom;
    std::unique_lock lock(nap_mutex_);
    return !nap_over_.wait_for(lock, span, [this] { return stopping_.load(std::memory_order_relaxed); });
}

void ShmPeers::arrive(Peer& peer, std::shared_ptr<Segment> const& segment) noexcept {
    {
        std::lock_guard const lock(peer.mutex);
        peer.segment = segment;
    }
    meet(peer, segment->incarnation());
}

void ShmPeers::meet(Peer& peer, Incarnation incarnation) noexcept {
    // Before anything of it counts here: whoever follows it finds this, or nothing here knows of it.
    std::atomic_ref<Incarnation>(own_->header().seen.latest[peer.replica])
        .store(incarnation, std::memory_order_seq_cst);
    peer.present.store(incarnation, std::memory_order_release);
    ring_own_planes();
}

void ShmPeers::depart(Peer& peer, Segment& segment) noexcept {
    segment.set_gone();  // channels that use it fail their operations from here on
    if (on_departure_) on_departure_();
    {
        std::lock_guard const lock(peer.mutex);
        peer.segment.reset();
    }
    peer.ended.store(segment.incarnation(), std::memory_order_release);
    ring_own_planes();
}

void ShmPeers::ring_own_planes() noexcept {
    for (Doorbell& bell : own_->header().doorbells) {
        ring_doorbell(bell);
    }
}

}  // namespace mu
