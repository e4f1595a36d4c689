// The sim fabric under a Cluster; and which fabric it is that is under it.
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "fabric/sim.hpp"
#include "protocol/regions.hpp"
#include "support/held_world.hpp"

namespace mu::test {
namespace {

class HeldSim final : public HeldWorld {
public:
    explicit HeldSim(HeldOptions const& options)
        : world_({.replicas = options.replicas,
                  .log_bytes = options.log_bytes,
                  .background_bytes = sizeof(BackgroundRegion),
                  .revocation = options.revocation}) {}

    [[nodiscard]] Fabric& fabric(ReplicaId replica) override { return world_.fabric(replica); }
    [[nodiscard]] bool alive(ReplicaId replica) const override { return world_.alive(replica); }
    [[nodiscard]] Incarnation incarnation(ReplicaId replica) const override { return world_.incarnation(replica); }
    void crash(ReplicaId replica) override {
        world_.crash(replica);
        world_.report_gone(replica);
    }
    void restart(ReplicaId replica) override { world_.restart(replica); }
    void cut(ReplicaId from, ReplicaId to) override { world_.cut(from, to); }
    void heal(ReplicaId from, ReplicaId to) override { world_.heal(from, to); }
    [[nodiscard]] bool is_cut(ReplicaId from, ReplicaId to) const override { return world_.is_cut(from, to); }

    void auto_deliver(bool on) override { world_.auto_deliver(on); }
    [[nodiscard]] std::vector<Posted> posted(Way const& way) const override {
        SimQueue const& queue = world_.queue(queue_of(way));
        std::vector<Posted> posted;
        for (std::size_t i = 0; i < queue.size(); ++i) {
            posted.push_back({queue.at(i).kind, queue.at(i).region, queue.at(i).at});
        }
        return posted;
    }
    [[nodiscard]] std::size_t words_left(Way const& way) const override { return world_.words_left(queue_of(way)); }
    bool land(Way const& way) override { return world_.land(queue_of(way)); }
    bool land_partly(Way const& way, std::size_t words) override { return world_.land_partly(queue_of(way), words); }
    bool fail(Way const& way) override { return world_.fail(queue_of(way)); }
    bool fail_after_effect(Way const& way) override { return world_.fail_after_effect(queue_of(way)); }
    bool land_unacknowledged(Way const& way) override { return world_.land_unacknowledged(queue_of(way)); }

private:
    [[nodiscard]] QueueId queue_of(Way const& way) const { return world_.queue_of(way.writer, way.plane, way.target); }

    SimWorld world_;
};

}  // namespace

bool on_verbs() {
    char const* const named = std::getenv("MU_PAPER_FABRIC");
    std::string const name = named == nullptr ? "sim" : named;
    if (name != "sim" && name != "verbs") throw std::invalid_argument("MU_PAPER_FABRIC is neither sim nor verbs");
    return name == "verbs";
}

int between_moments() { return on_verbs() ? 4 : 1; }

std::unique_ptr<HeldWorld> make_held_world(HeldOptions const& options) {
    return on_verbs() ? make_held_verbs(options) : make_held_sim(options);
}

std::unique_ptr<HeldWorld> make_held_sim(HeldOptions const& options) { return std::make_unique<HeldSim>(options); }

std::span<Revocation const> revocations() {
    static constexpr std::array kBoth{Revocation::by_area, Revocation::by_refusal};
    return on_verbs() ? std::span(kBoth).last(1) : std::span(kBoth);
}

}  // namespace mu::test
