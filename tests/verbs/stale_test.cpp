// What arrives late must not be taken for what is new: packets that a writer sent over its old connection, and
// acknowledgements of them. In the guest the network is made slow, so that there always are some.
#include "verbs/network.hpp"
#include "verbs/verbs_world.hpp"

namespace mu::test {

namespace {

constexpr std::size_t kRounds = 90;
constexpr std::size_t kOutstanding = 8;
// One way. A change of writer takes less; and there and back is more than a queue pair's time limit (17 ms), so that some
// packets are sent twice.
constexpr int kDelayMs = 12;

// What is on its way when the writer is stopped: writes only, acknowledgements only (so far), or both.
enum class Moment : std::uint8_t { posted, landed, acknowledged };
constexpr std::size_t kMoments = 3;

// Writes a log full, again and again, and stops in the middle of it.
class Flood {
public:
    Flood(VerbsWorld& world, Channel& channel, ReplicaId to) : world_(world), channel_(channel), to_(to) {}

    [[nodiscard]] bool stop_at(Moment moment, unsigned char fill) {
        std::vector<std::byte> const bytes = filled(kRingBytes / 2, fill);
        std::uint64_t const first = next_;
        std::size_t acknowledged = 0;
        return eventually(world_, [&] {
            while (next_ - first - acknowledged < kOutstanding) {
                channel_.write(to_, Region::log, next_ % 2 * bytes.size(), {bytes}, next_);
                ++next_;
            }
            std::array<Completion, 16> done;
            std::size_t const count = channel_.poll(done);  // and post
            for (Completion const& it : std::span(done).first(count)) {
                if (it.id >= first && it.success) ++acknowledged;
            }
            bool const landed = shows(world_.endpoint(to_).log().bytes, 0, bytes);
            return moment == Moment::posted || (moment == Moment::landed ? landed : acknowledged > 0);
        });
    }

private:
    VerbsWorld& world_;
    Channel& channel_;
    ReplicaId to_;
    std::uint64_t next_ = std::uint64_t{1} << 32U;  // apart from a Driver's own ids
};

}  // namespace

TEST_CASE(
    "F1, F2: nothing that was on its way when its writer was revoked lands, or is acknowledged as what came later") {
    Network network;
    for (ReplicaId host = 1; host <= 3; ++host) {
        network.make("delay " + std::to_string(host) + " " + std::to_string(kDelayMs));
    }
    VerbsWorld world(3);
    Driver old_writer(world, 1);
    Driver third(world, 3);
    Driver owner(world, 2);
    Driver behind(world, 1, Plane::background);
    Flood flood(world, old_writer.channel(), 2);
    REQUIRE(owner.connect(2));
    REQUIRE(behind.connect(2));
    std::uint64_t tenure = 0;
    for (std::size_t round = 0; round < kRounds; ++round) {
        auto const fill = static_cast<unsigned char>(round % 100 + 1);
        old_writer.lead(2, ++tenure);
        REQUIRE(flood.stop_at(static_cast<Moment>(round / 3 % kMoments), fill));
        // The log goes to its owner, to another one, or to the same one again.
        Driver& next = round % 3 == 0 ? owner : round % 3 == 1 ? third : old_writer;
        next.lead(2, ++tenure);
        std::vector<std::byte> const later = filled(kRingBytes, static_cast<unsigned char>(fill + 100));
        REQUIRE_MESSAGE(next.write(2, Region::log, 0, {later}), "round " << round);
        REQUIRE_MESSAGE(copy_of(world.endpoint(2).log().bytes) == later, "acknowledged too soon in round " << round);
        // Whatever the old writer had sent is there once this is, which it sends behind it, over the same cable.
        REQUIRE(behind.write(2, Region::background, 0, {filled(8, fill)}));
        REQUIRE_MESSAGE(copy_of(world.endpoint(2).log().bytes) == later, "overwritten late in round " << round);
    }
}

}  // namespace mu::test
