// The verbs fabric under a Cluster: real endpoints in this process, one RDMA device each (MU_VERBS_DEVICES), and before
// each of their channels one that holds back what is posted.
//
// What lands, lands by a real queue pair, and what an endpoint refuses it refuses itself. Three things are the holder's
// own: which operations are handed on, and when; an operation that fails by the test's hand never reaches the endpoint,
// and what follows a failed one on the replication plane fails too until the next tenure, as behind a queue pair in the
// error state (the other planes' queue pairs are replaced by themselves); and a torn write is handed on as several.
#include <array>
#include <deque>
#include <utility>

#include "common/assert.hpp"
#include "fabric/gather.hpp"
#include "protocol/regions.hpp"
#include "support/held_world.hpp"
#include "support/slots.hpp"
#include "verbs/verbs_world.hpp"

namespace mu::test {
namespace {

constexpr std::array kAllPlanes{Plane::replication, Plane::background, Plane::learner};

struct Held {
    Posted what;
    std::uint64_t id = 0;
    std::vector<std::byte> bytes;  // of a write
    std::span<std::byte> into;     // of a read
    std::size_t landed = 0;        // bytes that were handed on
    bool refused = false;          // some of them were

    [[nodiscard]] std::size_t length() const noexcept { return bytes.size() + into.size(); }
};

class HeldChannel final : public Channel {
public:
    HeldChannel(Endpoint& endpoint, Plane plane, bool const& lands_at_once,
                std::array<bool, kMaxReplicas> const& cut) noexcept
        : real_(endpoint.channel(plane)),
          stays_failed_(plane == Plane::replication),
          lands_at_once_(lands_at_once),
          cut_(cut) {}

    // --- For the replica ---
    bool connect(ReplicaId peer) noexcept override {
        if (cut_[peer]) return false;
        Incarnation const before = real_.connected(peer);
        bool const connected = real_.connect(peer);
        if (real_.connected(peer) != before) begin_anew(peer);
        return connected;
    }
    [[nodiscard]] Incarnation connected(ReplicaId peer) const noexcept override { return real_.connected(peer); }
    void begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept override {
        begin_anew(peer);
        real_.begin_tenure(peer, tenure, key);
    }
    void write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes, std::uint64_t id) noexcept override {
        Held held{{Operation::write, region, at}, id, std::vector<std::byte>(bytes_of(bytes)), {}};
        copy_gather(held.bytes.data(), bytes, 0, held.bytes.size());
        hold(to, std::move(held));
    }
    void read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
              std::uint64_t id) noexcept override {
        hold(from, {{Operation::read, region, at}, id, {}, into});
    }
    void confirm(ReplicaId to, std::uint64_t id) noexcept override {
        hold(to, {{Operation::confirm, Region::log, 0}, id, {}, {}});
    }
    std::size_t poll(std::span<Completion> completions) noexcept override {
        std::size_t const count = std::min(completions.size(), done_.size());
        auto const end = done_.begin() + static_cast<std::ptrdiff_t>(count);
        std::copy(done_.begin(), end, completions.begin());
        done_.erase(done_.begin(), end);
        return count;
    }
    void ring(ReplicaId, Plane) noexcept override {}  // nobody sleeps

    // --- For the test ---
    [[nodiscard]] std::deque<Held> const& held(ReplicaId peer) const { return queues_[peer].held; }
    bool land(ReplicaId to) { return finish(to, true, true); }
    bool fail(ReplicaId to) { return finish(to, false, false); }
    bool fail_after_effect(ReplicaId to) { return finish(to, true, false); }
    bool land_partly(ReplicaId to, std::size_t words) {
        if (queues_[to].held.empty() || cut_[to] || held(to).front().length() == 0) return false;
        hand_on(to, words * kWordBytes);
        return true;
    }
    void land_all(ReplicaId to) {
        while (land(to)) {
        }
    }

private:
    struct Queue {
        std::deque<Held> held;
        bool failed = false;  // until the next tenure or connection
    };

    void hold(ReplicaId peer, Held held) {
        queues_[peer].held.push_back(std::move(held));
        if (lands_at_once_) land_all(peer);
    }
    bool finish(ReplicaId peer, bool lands, bool told) {
        Queue& queue = queues_[peer];
        if (queue.held.empty() || (lands && cut_[peer])) return false;
        if (lands) hand_on(peer, queue.held.front().length());
        Held const& front = queue.held.front();
        bool const success = told && !front.refused;
        queue.failed = queue.failed || (stays_failed_ && !success);
        done_.push_back({peer, front.what.kind, success, front.id});
        queue.held.pop_front();
        return true;
    }
    // Up to `most` more bytes of the front; a confirmation has none.
    void hand_on(ReplicaId peer, std::size_t most) {
        Held& front = queues_[peer].held.front();
        front.refused = front.refused || queues_[peer].failed;
        std::size_t const length = std::min(most, front.length() - front.landed);
        bool const is_confirm = front.what.kind == Operation::confirm;
        if (front.refused || (length == 0 && !is_confirm)) return;
        std::uint64_t const at = front.what.at + front.landed;
        if (is_confirm) {
            real_.confirm(peer, front.id);
        } else if (front.what.kind == Operation::write) {
            Gather const piece{std::span(front.bytes).subspan(front.landed, length)};
            real_.write(peer, front.what.region, at, piece, front.id);
        } else {
            real_.read(peer, front.what.region, at, front.into.subspan(front.landed, length), front.id);
        }
        front.landed += length;
        front.refused = !completed();
    }
    [[nodiscard]] bool completed() {
        std::array<Completion, 1> done;
        while (real_.poll(done) == 0) {
        }
        return done[0].success;
    }
    void begin_anew(ReplicaId peer) {
        while (fail(peer)) {
        }
        queues_[peer].failed = false;
    }

    Channel& real_;
    bool stays_failed_;
    bool const& lands_at_once_;
    std::array<bool, kMaxReplicas> const& cut_;
    std::array<Queue, kMaxReplicas> queues_;
    std::vector<Completion> done_;
};

// One life of one replica: its endpoint, with held channels in place of its own.
class HeldFabric final : public Fabric {
public:
    HeldFabric(std::unique_ptr<Endpoint> endpoint, bool const& lands_at_once, std::array<bool, kMaxReplicas> const& cut)
        : endpoint_(std::move(endpoint)),
          channels_{HeldChannel(*endpoint_, Plane::replication, lands_at_once, cut),
                    HeldChannel(*endpoint_, Plane::background, lands_at_once, cut),
                    HeldChannel(*endpoint_, Plane::learner, lands_at_once, cut)} {}

    [[nodiscard]] HeldChannel& channel(Plane plane) noexcept override {
        return channels_[static_cast<std::size_t>(plane)];
    }
    [[nodiscard]] std::span<std::byte> background() noexcept override { return endpoint_->background(); }
    [[nodiscard]] LogView log() noexcept override { return endpoint_->log(); }
    [[nodiscard]] bool same_log(LogView const& view) noexcept override { return endpoint_->same_log(view); }
    [[nodiscard]] std::span<std::byte const> own_log() noexcept override { return endpoint_->own_log(); }
    [[nodiscard]] Proposal permission() const noexcept override { return endpoint_->permission(); }
    [[nodiscard]] std::uint64_t permit(Tenure const& tenure, Keeper& keeper) noexcept override {
        return endpoint_->permit(tenure, keeper);
    }
    [[nodiscard]] PeerState peer(ReplicaId peer) noexcept override { return endpoint_->peer(peer); }
    [[nodiscard]] bool ordered_writes() const noexcept override { return endpoint_->ordered_writes(); }

    [[nodiscard]] Endpoint& endpoint() { return *endpoint_; }

private:
    std::unique_ptr<Endpoint> endpoint_;
    std::array<HeldChannel, kPlanes> channels_;
};

class HeldVerbs final : public HeldWorld {
public:
    explicit HeldVerbs(HeldOptions const& options) : options_(options), registry_(std::make_shared<MemoryRegistry>()) {
        for (ReplicaId replica = 1; replica <= options.replicas; ++replica) {
            begin_life(replica);
        }
        for (ReplicaId replica = 1; replica <= options.replicas; ++replica) {
            await_links(replica);
        }
    }

    [[nodiscard]] Fabric& fabric(ReplicaId replica) override { return life(replica); }
    [[nodiscard]] bool alive(ReplicaId replica) const override { return lives_[replica] != nullptr; }
    [[nodiscard]] Incarnation incarnation(ReplicaId replica) const override { return incarnations_[replica]; }
    void crash(ReplicaId replica) override {
        life(replica).endpoint().abandon();
        lives_[replica].reset();
        for (ReplicaId other = 1; other <= options_.replicas; ++other) {
            await(other, [&](Fabric& seen) { return seen.peer(replica).gone; });
        }
    }
    void restart(ReplicaId replica) override {
        begin_life(replica);
        await_links(replica);
    }
    void cut(ReplicaId from, ReplicaId to) override { cut_[from][to] = true; }
    void heal(ReplicaId from, ReplicaId to) override {
        cut_[from][to] = false;
        if (lands_at_once_) land_everything();
    }
    [[nodiscard]] bool is_cut(ReplicaId from, ReplicaId to) const override { return cut_[from][to]; }

    void auto_deliver(bool on) override {
        lands_at_once_ = on;
        if (on) land_everything();
    }
    [[nodiscard]] std::vector<Posted> posted(Way const& way) const override {
        std::vector<Posted> posted;
        for (Held const& held : channel(way).held(way.target)) {
            posted.push_back(held.what);
        }
        return posted;
    }
    [[nodiscard]] std::size_t words_left(Way const& way) const override {
        Held const& front = channel(way).held(way.target).front();
        return (front.length() - front.landed) / kWordBytes;
    }
    bool land(Way const& way) override { return alive(way.writer) && channel(way).land(way.target); }
    bool land_partly(Way const& way, std::size_t words) override {
        return alive(way.writer) && channel(way).land_partly(way.target, words);
    }
    bool fail(Way const& way) override { return alive(way.writer) && channel(way).fail(way.target); }
    bool fail_after_effect(Way const& way) override {
        return alive(way.writer) && channel(way).fail_after_effect(way.target);
    }
    bool land_unacknowledged(Way const&) override { return false; }

private:
    static constexpr Nanoseconds kMoment = 200'000;  // between two looks

    [[nodiscard]] HeldFabric& life(ReplicaId replica) const {
        MU_ASSERT(lives_[replica] != nullptr);
        return *lives_[replica];
    }
    [[nodiscard]] HeldChannel& channel(Way const& way) const { return life(way.writer).channel(way.plane); }
    void begin_life(ReplicaId replica) {
        VerbsOptions verbs;
        verbs.registry = registry_;
        verbs.device = verbs_device(replica);
        EndpointOptions options = shm_options(directory_, replica, options_.replicas);
        options.ring_bytes = options_.log_bytes;
        options.background_bytes = sizeof(BackgroundRegion);
        std::unique_ptr<Endpoint> endpoint = open_verbs(options, verbs);
        incarnations_[replica] = endpoint->incarnation();
        lives_[replica] = std::make_unique<HeldFabric>(std::move(endpoint), lands_at_once_, cut_[replica]);
    }
    void await_links(ReplicaId replica) {
        for (ReplicaId other = 1; other <= options_.replicas; ++other) {
            if (!alive(other)) continue;
            await(other, [&](Fabric& seen) { return reaches(seen, replica); });
            await(replica, [&](Fabric& seen) { return reaches(seen, other); });
        }
    }
    [[nodiscard]] bool reaches(Fabric& seen, ReplicaId replica) const {
        PeerState const state = seen.peer(replica);
        return state.incarnation == incarnation(replica) && !state.gone;
    }
    // Until a replica that lives has had the news.
    template <class Predicate>
    void await(ReplicaId replica, Predicate const& has) {
        if (!alive(replica)) return;
        Endpoint& endpoint = life(replica).endpoint();
        for (int i = 0; i < kPatience; ++i) {
            std::uint32_t const ticket = endpoint.ticket(Plane::background);
            if (has(endpoint)) return;
            endpoint.wait(Plane::background, ticket, kMoment);
        }
        FAIL("a replica has not heard of another's life or death");
    }
    void land_everything() {
        for (ReplicaId writer = 1; writer <= options_.replicas; ++writer) {
            for (ReplicaId target = 1; alive(writer) && target <= options_.replicas; ++target) {
                for (Plane const plane : kAllPlanes) {
                    life(writer).channel(plane).land_all(target);
                }
            }
        }
    }

    HeldOptions options_;
    PrivateDirectory directory_;
    std::shared_ptr<MemoryRegistry> registry_;
    bool lands_at_once_ = true;
    std::array<std::array<bool, kMaxReplicas>, kMaxReplicas> cut_{};
    std::array<Incarnation, kMaxReplicas> incarnations_{};
    std::array<std::unique_ptr<HeldFabric>, kMaxReplicas> lives_;
};

}  // namespace

std::unique_ptr<HeldWorld> make_held_verbs(HeldOptions const& options) { return std::make_unique<HeldVerbs>(options); }

}  // namespace mu::test
