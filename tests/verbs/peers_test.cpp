// What a replica hears of its peers, with and without the registry where they met.
#include "verbs/verbs_world.hpp"

namespace mu::test {

TEST_CASE("A death is known, and a peer's operations go on, while the registry keeps silent") {
    auto const registry = std::make_shared<SilentRegistry>();
    VerbsWorld world(3, registry);
    Driver leader(world, 1);
    leader.lead(2, 1);
    leader.lead(3, 1);
    {
        SilentRegistry::Silence const silence(*registry, "/1");
        silence.wait_until_asked();  // replica 1 waits for an answer from here on
        world.crash(2);
        REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).gone; }));
        CHECK(leader.write(3, Region::log, 0, {filled(64, 1)}));
        CHECK_FALSE(leader.write(2, Region::log, 0, {filled(64, 1)}));
    }
    world.restart(2);
    CHECK(eventually(world, [&] { return !world.endpoint(1).peer(2).gone; }));
}

TEST_CASE("A registry that has forgotten everything ends no connection") {
    // A look is asked for after what the one before the last has shown was taken in.
    constexpr int kLooks = 4;
    auto const registry = std::make_shared<SilentRegistry>();
    VerbsWorld world(2, registry);
    Driver leader(world, 1);
    leader.lead(2, 1);
    registry->forget();
    for (int look = 0; look < kLooks; ++look) {
        SilentRegistry::Silence(*registry, "/1").wait_until_asked();
    }
    CHECK_FALSE(world.endpoint(1).peer(2).gone);
    CHECK(leader.write(2, Region::log, 0, {filled(64, 1)}));
}

TEST_CASE("A peer that takes its leave is gone at once, and said to have left rather than not to answer") {
    VerbsWorld world(2);
    Driver leader(world, 1);
    leader.lead(2, 1);
    world.endpoint(2).leave();
    REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).gone; }));
    CHECK(world.endpoint(1).peer_problem(2) == "it has taken its leave");
}

}  // namespace mu::test
