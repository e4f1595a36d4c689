// Copies that a leader lays into a log where it, or an earlier tenure of its, has stored the same slot before.
#include <doctest/doctest.h>

#include "common/ordered_copy.hpp"
#include "support/cluster.hpp"

using namespace mu;
using namespace mu::test;

namespace {

// 1 has a command in its own log, which lies whole, though refused, in its area at 2 as well; 2 has laid a seal of its own
// over the head of that, and 1, leading again, is about to copy the command to 2 and to 3.
struct TaughtAgain : Cluster {
    explicit TaughtAgain(std::string const& command) {
        form();
        hold();
        ask(2);  // it has granted its own log to itself
        REQUIRE(propose(1, command) == Outcome::ok);
        land(1, 1);
        land(1, 2);
        lose(1, 3);
        depose(1, 2);
        grant(3, 2);
        step_replication(2);
        land(2, 2);
        step_replication(2);
        REQUIRE(replicator(2).sealing());
        lose(2, 3);  // the seal is in 2's own log, and nowhere else
        REQUIRE(take_over(1, {3}, Stage::sealing));
        for (int i = 0; i < 20 && !writes_to_2(); ++i) {
            pass(20 * kMicrosecond);
            grant(2, 1);  // carries the seal over into 1's area
            if (!posted(1, 2).empty()) {
                land(1, 2);
            }
            step_replication(1);
        }
        REQUIRE(writes_to_2());
    }
    [[nodiscard]] bool writes_to_2() {
        std::vector<Posted> const under_way = posted(1, 2);
        return !under_way.empty() && under_way.front().kind == Operation::write;
    }
    void decide_without_2() {
        for (int i = 0; i < 2; ++i) {
            land(1, 1);
            land(1, 3);
            step_replication(1);
        }
        replica(1).advance();
        REQUIRE(replicator(1).leading());
    }
};

}  // namespace

TEST_CASE("A torn copy of a slot is not taken for whole because an earlier store of it left its canary there") {
    std::string const command(200, 'S');
    TaughtAgain cluster(command);
    while (cluster.words_left(1, 2) == 1) {
        cluster.land_one(1, 2);
    }
    REQUIRE(cluster.tear(1, 2, sizeof(SlotHeader) / kWord));  // its head, and nothing of the command
    CHECK(cluster.knows(2).empty());
    cluster.decide_without_2();
    cluster.lose(1, 2);
    cluster.crash(1);
    cluster.lose(1, 3);
    cluster.let_go();
    REQUIRE(cluster.run_until([&] { return cluster.leader() == 2; }, 20000));
    cluster.decide("next");
    cluster.run(500);
    CHECK(cluster.history(3) == Commands{command, "next"});
    CHECK(cluster.history(2) == Commands{command, "next"});
}
