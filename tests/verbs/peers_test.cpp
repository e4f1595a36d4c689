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

}  // namespace mu::test
