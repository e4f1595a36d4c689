#include "fabric/verbs_peers.hpp"

#include <chrono>
#include <cstring>

#include "common/assert.hpp"
#include "common/prompt_thread.hpp"
#include "common/quiet_thread.hpp"

namespace mu {

namespace {

constexpr auto kTick = std::chrono::milliseconds(2);
constexpr std::uint64_t kProbePeriod = 5;   // ticks
constexpr std::uint64_t kRelaxedLook = 10;  // ticks between looks at the registry while everybody is linked
constexpr char kFarewell[] = "left";        // in the place of a card: a registry that has forgotten it says ""

std::vector<ReplicaId> all_but_oneself(EndpointOptions const& options) {
    std::vector<ReplicaId> others;
    for (ReplicaId const member : options.members) {
        if (member != options.replica) others.push_back(member);
    }
    return others;
}

std::string name_of_card(EndpointOptions const& options, ReplicaId from, ReplicaId to) {
    return "mu/" + options.cluster + "/" + std::to_string(from) + "/" + std::to_string(to);
}

std::vector<std::string> names_of_cards(EndpointOptions const& options, std::vector<ReplicaId> const& from) {
    std::vector<std::string> names;
    for (ReplicaId const peer : from) {
        names.push_back(name_of_card(options, peer, options.replica));
    }
    return names;
}

}  // namespace

VerbsPeers::VerbsPeers(VerbsDevice const& device, VerbsCompletions const& completions, VerbsAcceptor& acceptor,
                       VerbsMemory const& memory, EndpointOptions const& options, std::shared_ptr<Registry> registry,
                       std::function<void()> ring_own_planes)
    : device_(device),
      completions_(completions),
      acceptor_(acceptor),
      memory_(memory),
      options_(options),
      registry_(std::move(registry)),
      ring_own_planes_(std::move(ring_own_planes)),
      others_(all_but_oneself(options)),
      clerk_(registry_, names_of_cards(options, others_)),
      landing_(8 * kMaxReplicas),
      landing_registration_(device, landing_, IBV_ACCESS_LOCAL_WRITE) {}

VerbsPeers::~VerbsPeers() { stop(false); }

void VerbsPeers::start() {
    clerk_.start();
    thread_ = quiet_thread([this] { run(); });
}

void VerbsPeers::stop(bool farewell) noexcept {
    {
        std::lock_guard const guard(nap_mutex_);
        stopping_ = true;
    }
    nap_over_.notify_all();
    if (!thread_.joinable()) return;
    thread_.join();
    clerk_.stop(farewell ? std::optional<std::string>(kFarewell) : std::nullopt);
    for (ReplicaId const id : others_) {
        std::lock_guard const guard(peers_[id].mutex);
        if (peers_[id].link != nullptr) peers_[id].link->break_off();
    }
}

std::shared_ptr<VerbsLink> VerbsPeers::link(ReplicaId peer) noexcept {
    if (peer > kMaxReplicaId) return nullptr;
    std::lock_guard const guard(peers_[peer].mutex);
    return peers_[peer].link;
}

PeerState VerbsPeers::state(ReplicaId peer) const noexcept {
    if (peer > kMaxReplicaId) return {};
    if (peer == options_.replica) return {memory_.incarnation, false};
    Peer const& it = peers_[peer];
    bool const gone = it.gone.load(std::memory_order_acquire);
    return {it.present.load(std::memory_order_acquire), gone};
}

std::string VerbsPeers::problem(ReplicaId peer) const {
    if (peer > kMaxReplicaId) return {};
    std::lock_guard const guard(peers_[peer].mutex);
    return peers_[peer].problem;
}

void VerbsPeers::say(Peer& peer, std::string const& problem) {
    std::lock_guard const guard(peer.mutex);
    peer.problem = problem;
}

// --- The thread -----------------------------------------------------------------------------------------------------

void VerbsPeers::run() noexcept {
    become_prompt();
    for (;;) {
        tick();
        std::unique_lock guard(nap_mutex_);
        if (nap_over_.wait_for(guard, kTick, [this] { return stopping_; })) return;
    }
}

bool VerbsPeers::all_linked() const noexcept {
    for (ReplicaId const id : others_) {
        if (peers_[id].link == nullptr) return false;
    }
    return true;
}

void VerbsPeers::tick() noexcept {
    take_in_probes();
    for (ReplicaId const id : others_) {
        Peer& peer = peers_[id];
        if (peer.link != nullptr && peer.link->broken()) retire(id, "it does not answer; being reconnected");
        if (peer.link == nullptr && peer.offered == nullptr) offer(id);
    }
    if (std::optional<RegistryClerk::Sight> const sight = clerk_.take()) take_in_sight(*sight);
    tell_cards();
    if (!all_linked() || ticks_ % kRelaxedLook == 0) clerk_.send();
    if (ticks_ % kProbePeriod == 0) probe();
    acceptor_.tidy();
    ++ticks_;
}

void VerbsPeers::take_in_sight(RegistryClerk::Sight const& sight) noexcept {
    for (std::size_t i = 0; i < others_.size(); ++i) {
        if (sight.answered) {
            step(others_[i], sight.texts[i]);
        } else if (peers_[others_[i]].link == nullptr) {
            say(peers_[others_[i]], "the registry at " + registry_->describe() + " does not answer");
        }
    }
}

void VerbsPeers::step(ReplicaId id, std::string const& text) noexcept {
    Peer& peer = peers_[id];
    if (text.empty()) return;
    if (text == kFarewell) {
        if (peer.link != nullptr) retire(id, "it has taken its leave");
        return;
    }
    std::optional<VerbsCard> const card = VerbsCard::parse(text, options_.cluster_key);
    if (!card) {
        say(peer, "what the registry says of it is of a cluster with another key or secret");
    } else if (card->layout != kVerbsLayout || card->ring_bytes != memory_.ring.size() ||
               card->background_bytes != memory_.background.size()) {
        say(peer, "its log or background region has another size, or it runs another version of Mu");
    } else {
        take_in(id, *card);
    }
}

void VerbsPeers::take_in(ReplicaId id, VerbsCard const& card) noexcept {
    Peer& peer = peers_[id];
    if (card.incarnation < peer.present.load(std::memory_order_relaxed)) return;  // of a life that is over
    if (peer.link != nullptr) {
        VerbsCard const& linked = peer.link->remote();
        if (card.incarnation != linked.incarnation || card.attempt != linked.attempt) {
            retire(id, "it has begun anew; being reconnected");
        }
        return;
    }
    if (peer.offered == nullptr) return;
    bool const same = peer.card.seen_incarnation == card.incarnation && peer.card.seen_attempt == card.attempt;
    if (peer.card.connected != 0 && !same) {
        withdraw_offer(peer);  // it was connected to queue pairs that are gone
        return;
    }
    peer.card.seen_incarnation = card.incarnation;
    peer.card.seen_attempt = card.attempt;
    if (card.seen_incarnation != memory_.incarnation || card.seen_attempt != peer.card.attempt) return;
    if (peer.card.connected == 0 && !connect(id, card)) {
        say(peer, "its queue pairs cannot be connected; the next attempt is under way");
        withdraw_offer(peer);
        return;
    }
    peer.card.connected = 1;
    if (card.connected != 0) establish(id);
}

// The next tick offers others.
void VerbsPeers::withdraw_offer(Peer& peer) noexcept { peer.offered = nullptr; }

// New queue pairs, for a connection that has still to come about.
void VerbsPeers::offer(ReplicaId id) noexcept {
    Peer& peer = peers_[id];
    try {
        auto link = std::make_shared<VerbsLink>(device_, completions_);
        std::optional<VerbsAcceptor::Offer> const inbox = acceptor_.prepare(id);
        if (!inbox) return;
        VerbsCard card;
        card.layout = kVerbsLayout;
        card.incarnation = memory_.incarnation;
        card.attempt = peer.card.attempt + 1;
        std::memcpy(card.gid, device_.gid().raw, sizeof card.gid);
        card.lid = device_.lid();
        card.mtu = device_.mtu();
        link->describe(card);
        card.queue_pairs[index_of(Line::log_in)] = inbox->queue_pair;
        card.sends_from[index_of(Line::log_in)] = inbox->sends_from;
        card.background_at = reinterpret_cast<std::uint64_t>(memory_.background.data());
        card.background_key = memory_.background_key;
        card.background_bytes = memory_.background.size();
        card.log_at = reinterpret_cast<std::uint64_t>(memory_.ring.data());
        card.log_read_key = acceptor_.read_key();
        card.ring_bytes = memory_.ring.size();
        peer.card = card;
        peer.offered = std::move(link);
    } catch (std::exception const& error) {
        say(peer, error.what());
    }
}

bool VerbsPeers::connect(ReplicaId id, VerbsCard const& card) noexcept {
    return peers_[id].offered->connect(card) && acceptor_.connect(id, card.end_of(Line::log_out));
}

void VerbsPeers::establish(ReplicaId id) noexcept {
    Peer& peer = peers_[id];
    {
        std::lock_guard const guard(peer.mutex);
        peer.link = std::move(peer.offered);
        peer.problem.clear();
    }
    peer.present.store(peer.link->incarnation(), std::memory_order_release);
    peer.gone.store(false, std::memory_order_release);
    ring_own_planes_();
}

void VerbsPeers::retire(ReplicaId id, std::string const& why) noexcept {
    Peer& peer = peers_[id];
    {
        std::lock_guard const guard(peer.mutex);
        peer.link->break_off();
        peer.link.reset();  // channels keep it until they connect anew
        peer.problem = why;
    }
    peer.probing = false;
    peer.gone.store(true, std::memory_order_release);
    if (options_.on_departure) options_.on_departure();
    ring_own_planes_();
}

void VerbsPeers::tell_cards() noexcept {
    for (ReplicaId const id : others_) {
        Peer& peer = peers_[id];
        if (peer.offered == nullptr && peer.link == nullptr) continue;
        std::string const text = peer.card.text(options_.cluster_key);
        if (text == peer.told) continue;
        clerk_.tell(name_of_card(options_, options_.replica, id), text);
        peer.told = text;
    }
}

void VerbsPeers::probe() noexcept {
    for (ReplicaId const id : others_) {
        Peer& peer = peers_[id];
        if (peer.link == nullptr || peer.probing) continue;
        VerbsCard const& remote = peer.link->remote();
        ibv_sge into{};
        into.addr = reinterpret_cast<std::uint64_t>(landing_.data() + std::size_t{8} * id);
        into.length = 8;
        into.lkey = landing_registration_.local_key();
        ibv_send_wr read{};
        read.wr_id = (remote.attempt << 8U) | id;
        read.sg_list = &into;
        read.num_sge = 1;
        read.opcode = IBV_WR_RDMA_READ;
        read.send_flags = IBV_SEND_SIGNALED;
        read.wr.rdma.remote_addr = remote.background_at;
        read.wr.rdma.rkey = static_cast<std::uint32_t>(remote.background_key);
        peer.probing = peer.link->pair(Line::probe).post(read);
        if (!peer.probing) peer.link->break_off();
    }
}

void VerbsPeers::take_in_probes() noexcept {
    std::array<ibv_wc, kMaxReplicas> done;
    for (int count = completions_.probe.poll(done); count > 0; count = completions_.probe.poll(done)) {
        for (ibv_wc const& it : std::span(done).first(static_cast<std::size_t>(count))) {
            Peer& peer = peers_[it.wr_id & 0xffU];
            if (peer.link == nullptr || peer.link->remote().attempt != it.wr_id >> 8U) continue;
            peer.probing = false;
            if (it.status != IBV_WC_SUCCESS) peer.link->break_off();
        }
    }
}

}  // namespace mu
