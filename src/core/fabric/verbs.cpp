#include "fabric/verbs.hpp"

#include <unistd.h>

#include <algorithm>

#include "common/assert.hpp"
#include "fabric/segment_owner.hpp"
#include "fabric/verbs_acceptor.hpp"
#include "fabric/verbs_channel.hpp"
#include "fabric/verbs_peers.hpp"

namespace mu {

namespace {

constexpr std::size_t kReplicationStaging = std::size_t{1} << 20U;  // bytes a peer
constexpr std::size_t kLearnerStaging = std::size_t{1} << 19U;
constexpr std::size_t kBackgroundStaging = std::size_t{1} << 16U;
// Nobody on another host can wake a sleeper here, so nobody sleeps for longer.
constexpr Nanoseconds kLongestSleep = 2'000'000;

SegmentShape checked_shape(EndpointOptions const& options) {
    check_options(options);
    return {options.cluster_key, options.members, options.ring_bytes, options.background_bytes, 1, kSegmentPage};
}

std::shared_ptr<Registry> checked_registry(VerbsOptions const& options) {
    if (options.registry != nullptr) return options.registry;
    throw FabricError(FabricError::Code::system,
                      "the verbs fabric needs a registry, where replicas find each other, and none was named. Nothing "
                      "was changed. Start one with `mu registry`, and name its address (registry = \"host:port\", "
                      "MU_REGISTRY or DORY_REGISTRY_IP)");
}

}  // namespace

class VerbsFabric final : public Endpoint {
public:
    VerbsFabric(EndpointOptions const& endpoint, VerbsOptions const& options)
        : options_(endpoint),
          shape_(checked_shape(endpoint)),
          registry_(checked_registry(options)),
          device_(options),
          owner_(endpoint.directory, endpoint.cluster, endpoint.replica, shape_),
          acceptor_(device_, endpoint.replica, {segment().area(0), shape_.ring_bytes + kSegmentPage},
                    shape_.ring_bytes),
          background_(device_, {segment().background(), shape_.background_bytes},
                      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE),
          memory_{{segment().background(), shape_.background_bytes},
                  background_.remote_key(),
                  acceptor_.ring(),
                  segment().incarnation()},
          completions_(device_),
          peers_(device_, completions_, acceptor_, memory_, endpoint, registry_, [this] { ring_own_planes(); }),
          replication_(tools(), completions_.replication, Line::log_out, kReplicationStaging),
          background_channel_(tools(), completions_.background, Line::background, kBackgroundStaging),
          learner_(tools(), completions_.learner, Line::learner, kLearnerStaging) {
        owner_.publish();
        peers_.start();
    }
    ~VerbsFabric() override { leave(); }
    VerbsFabric(VerbsFabric const&) = delete;
    VerbsFabric& operator=(VerbsFabric const&) = delete;

    [[nodiscard]] Channel& channel(Plane plane) noexcept override {
        return plane == Plane::replication ? replication_ : plane == Plane::background ? background_channel_ : learner_;
    }
    [[nodiscard]] std::span<std::byte> background() noexcept override { return memory_.background; }
    [[nodiscard]] LogView log() noexcept override { return {acceptor_.ring(), acceptor_.permission(), 0}; }
    [[nodiscard]] bool same_log(LogView const& view) noexcept override {
        std::atomic_thread_fence(std::memory_order_acquire);
        return acceptor_.permission() == view.proposal;
    }
    [[nodiscard]] std::span<std::byte const> own_log() noexcept override { return acceptor_.ring(); }
    [[nodiscard]] Proposal permission() const noexcept override { return acceptor_.permission(); }
    [[nodiscard]] std::uint64_t permit(Tenure const& tenure, Keeper&) noexcept override {
        return acceptor_.permit(tenure);
    }
    [[nodiscard]] PeerState peer(ReplicaId peer) noexcept override { return peers_.state(peer); }
    [[nodiscard]] bool ordered_writes() const noexcept override { return false; }

    [[nodiscard]] Incarnation incarnation() const noexcept override { return memory_.incarnation; }
    [[nodiscard]] bool is_soft() const noexcept override { return device_.soft(); }
    [[nodiscard]] std::uint32_t ticket(Plane plane) noexcept override { return doorbell_ticket(bell(plane)); }
    void wait(Plane plane, std::uint32_t ticket, Nanoseconds timeout) noexcept override {
        sleep_on_doorbell(bell(plane), ticket, std::min(timeout, kLongestSleep));
    }
    [[nodiscard]] std::vector<Nanoseconds> bare_writes(std::span<ReplicaId const> to, std::uint64_t at,
                                                       std::size_t bytes, std::size_t count,
                                                       Nanoseconds (*clock)()) override {
        return learner_.bare_writes(to, at, bytes, count, clock);
    }
    [[nodiscard]] std::string lost() const override { return owner_.lost(); }
    [[nodiscard]] std::string notice() const override { return owner_.notice(); }
    [[nodiscard]] std::string peer_problem(ReplicaId peer) const override { return peers_.problem(peer); }
    void leave() noexcept override {
        if (process_ != ::getpid()) return;
        acceptor_.close();
        peers_.stop(true);
        owner_.leave();
    }
    void abandon() noexcept override {
        peers_.stop(false);
        owner_.abandon();
        process_ = 0;  // nothing is left to take leave of
    }

private:
    [[nodiscard]] Segment& segment() const noexcept { return *owner_.segment(); }
    [[nodiscard]] Doorbell& bell(Plane plane) const noexcept {
        return segment().header().doorbells[doorbell_of(plane)];
    }
    void ring_own_planes() noexcept {
        ring_doorbell(bell(Plane::replication));
        ring_doorbell(bell(Plane::background));
    }
    [[nodiscard]] VerbsTools tools() {
        return {device_, peers_, acceptor_, memory_, options_.members, options_.replica, [this](Plane plane) {
                    ring_doorbell(bell(plane));
                }};
    }

    // In the order in which they are needed; taken apart in the reverse order.
    EndpointOptions options_;
    SegmentShape shape_;
    std::shared_ptr<Registry> registry_;
    VerbsDevice device_;
    SegmentOwner owner_;
    VerbsAcceptor acceptor_;
    Registration background_;
    VerbsMemory memory_;
    VerbsCompletions completions_;
    VerbsPeers peers_;
    VerbsChannel replication_;
    VerbsChannel background_channel_;
    VerbsChannel learner_;
    pid_t process_ = ::getpid();
};

std::unique_ptr<Endpoint> open_verbs(EndpointOptions const& endpoint, VerbsOptions const& options) {
    return std::make_unique<VerbsFabric>(endpoint, options);
}

}  // namespace mu
