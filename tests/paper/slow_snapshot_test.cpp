// Bring-up whose snapshot takes longer than a learner is given for a piece of it.
#include <doctest/doctest.h>

#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

TEST_CASE("(c) The time that a snapshot takes to be made is not the learner's: it arrives, and is made once") {
    Cluster cluster({.log_bytes = 65536});
    cluster.form();
    std::size_t const commands = 2 * kPieceBytes / 1000 + 1;  // of a snapshot of more than two pieces
    for (std::size_t i = 0; i < commands; ++i) {
        cluster.decide(std::string(1000, 'x'));
    }
    cluster.machine(1).on_snapshot = [&] { cluster.pass(3 * quick_settings().transfer_timeout); };
    cluster.crash(3);
    cluster.restart(3);
    REQUIRE(cluster.run_until([&] { return cluster.replica(3).shared().joined.load(); }));
    CHECK(cluster.history(3).size() == commands);
    CHECK(cluster.machine(1).snapshots == 1);
}
