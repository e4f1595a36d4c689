// The acceptor's side of permissions: whom a replica lets write its log, and what it answers.
#include "protocol/permission.hpp"

#include <doctest/doctest.h>

#include <cstring>

#include "support/acceptor.hpp"

using namespace mu;
using namespace mu::test;

TEST_CASE("★ The promise is part of the grant: the word becomes p, and then every lower proposal is refused") {
    Acceptor acceptor;
    auto const first = acceptor.ask(2, make_proposal(5, 2));
    REQUIRE(first);
    CHECK(first->word == make_proposal(5, 2));
    CHECK(acceptor.word() == make_proposal(5, 2));
    auto const lower = acceptor.ask(3, make_proposal(4, 3));
    REQUIRE(lower);
    CHECK(lower->proposal == make_proposal(4, 3));
    CHECK(acceptor.word() == make_proposal(5, 2));
}

TEST_CASE("★ A refusal returns the word, and no key") {
    Acceptor acceptor;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2)));
    auto const refusal = acceptor.ask(3, make_proposal(4, 3));
    REQUIRE(refusal);
    CHECK(refusal->word == make_proposal(5, 2));
    CHECK(refusal->word > refusal->proposal);
    CHECK(refusal->key == 0);
    CHECK(refusal->incarnation == acceptor.world.incarnation(1));
}

TEST_CASE("★ The word alone decides, early or late: a request that arrives after a higher grant is refused too") {
    Acceptor acceptor;
    acceptor.post(3, make_proposal(4, 3));  // early, but not looked at before the higher one was granted
    acceptor.post(2, make_proposal(5, 2));
    acceptor.step();
    CHECK(acceptor.answer_to(2)->word == make_proposal(5, 2));
    acceptor.step();
    REQUIRE(acceptor.answer_to(3));
    CHECK(acceptor.answer_to(3)->word == make_proposal(5, 2));
}

TEST_CASE("A grant names the grantor's incarnation, its applied position and where its chain ends") {
    Acceptor acceptor;
    Position const end = acceptor.accept({"one", "two"});
    auto const grant = acceptor.ask(2, make_proposal(5, 2));
    REQUIRE(grant);
    CHECK(grant->incarnation == acceptor.world.incarnation(1));
    CHECK(grant->from == Position{});
    CHECK(grant->end == end);
    CHECK(grant->key != 0);
}

TEST_CASE("A grant carries the chain over to the new writer's log: nothing accepted is lost by granting") {
    Acceptor acceptor;
    Position const end = acceptor.accept({"one", "two", "three"});
    REQUIRE(acceptor.ask(2, make_proposal(5, 2)));
    REQUIRE(acceptor.ask(3, make_proposal(6, 3), 1, kSecond));
    LogView const view = acceptor.fabric().log();
    CHECK(view.proposal == make_proposal(6, 3));
    CHECK(acceptor.format.chain_end(view.bytes, {}) == end);
    CHECK(text_of(acceptor.format.parse(view.bytes, {})->value) == "one");
}

TEST_CASE("What a late store has begun to overwrite while it was carried over is not carried over") {
    Acceptor acceptor;
    Position const first = acceptor.accept({"one"});
    static_cast<void>(acceptor.accept({"one", "two"}));
    auto* const ring = const_cast<std::byte*>(acceptor.fabric().log().bytes.data());
    acceptor.world.on_permit([&](ReplicaId, PermitStage stage) {
        if (stage == PermitStage::copied) std::memset(ring + acceptor.format.place(first.offset), 0x5a, sizeof(Offset));
    });
    auto const grant = acceptor.ask(2, make_proposal(5, 2));
    REQUIRE(grant);
    CHECK(grant->end == first);
    CHECK(acceptor.format.chain_end(acceptor.fabric().log().bytes, {}) == first);
}

TEST_CASE("Asked again with the same proposal and another nonce, it answers with the same key again") {
    Acceptor acceptor;
    auto const first = acceptor.ask(2, make_proposal(5, 2), 1);
    auto const again = acceptor.ask(2, make_proposal(5, 2), 2);
    REQUIRE((first && again));
    CHECK(again->nonce == 2);
    CHECK(again->key == first->key);
    CHECK(again->word == first->word);
}

TEST_CASE("A request is answered once: the same proposal and nonce again is the same request") {
    Acceptor acceptor;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2)));
    acceptor.forget_answer(2);
    acceptor.step();
    CHECK_FALSE(acceptor.answer_to(2));
}

TEST_CASE("A live writer keeps the log for the minimum hold; then a higher proposal takes it") {
    Acceptor acceptor;
    acceptor.shared.alive = 1U << 2U;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2), 1, kSecond));
    CHECK_FALSE(acceptor.ask(3, make_proposal(6, 3), 1, kSecond + acceptor.settings.minimum_hold - 1));
    CHECK(acceptor.word() == make_proposal(5, 2));
    auto const late = acceptor.ask(3, make_proposal(6, 3), 1, kSecond + acceptor.settings.minimum_hold);
    REQUIRE(late);
    CHECK(late->word == make_proposal(6, 3));
}

TEST_CASE("A writer that is not read as live keeps nothing") {
    Acceptor acceptor;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2), 1, kSecond));
    auto const grant = acceptor.ask(3, make_proposal(6, 3), 1, kSecond);
    REQUIRE(grant);
    CHECK(grant->word == make_proposal(6, 3));
}

TEST_CASE("The same writer may raise its proposal during its own minimum hold") {
    Acceptor acceptor;
    acceptor.shared.alive = 1U << 2U;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2), 1, kSecond));
    auto const grant = acceptor.ask(2, make_proposal(6, 2), 2, kSecond);
    REQUIRE(grant);
    CHECK(grant->word == make_proposal(6, 2));
}

TEST_CASE("Granting again at an equal proposal does not prolong the minimum hold") {
    Acceptor acceptor;
    acceptor.shared.alive = 1U << 2U;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2), 1, kSecond));
    Nanoseconds const over = kSecond + acceptor.settings.minimum_hold;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2), 2, over - 1));
    CHECK(acceptor.ask(3, make_proposal(6, 3), 1, over));
}

TEST_CASE("★ A replica that was not admitted has no memory of its promises: it answers nobody, not even itself") {
    Acceptor acceptor;
    acceptor.region().own.admitted = 0;
    CHECK_FALSE(acceptor.ask(2, make_proposal(5, 2)));
    CHECK_FALSE(acceptor.permission.grant_self({make_proposal(6, 1), acceptor.world.incarnation(1), 1}, 0));
    CHECK(acceptor.word() == kNoProposal);
    acceptor.region().own.admitted = acceptor.world.incarnation(1);
    acceptor.step();
    CHECK(acceptor.answer_to(2));
}

TEST_CASE("★ One that was admitted in another life is not admitted in this one") {
    Acceptor acceptor;
    acceptor.region().own.admitted = acceptor.world.incarnation(1) + 7;
    CHECK_FALSE(acceptor.ask(2, make_proposal(5, 2)));
}

TEST_CASE("A stale incarnation's request is void: its tenure has ended with it") {
    Acceptor acceptor;
    acceptor.post(2, make_proposal(5, 2));
    acceptor.world.crash(2);
    acceptor.world.restart(2);
    acceptor.step();
    CHECK(acceptor.word() == kNoProposal);
    CHECK(acceptor.ask(2, make_proposal(5, 2), 2));
}

TEST_CASE(
    "A restarted replica that chooses a proposal which its earlier life has used is refused: that was another tenure") {
    Acceptor acceptor;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2)));
    acceptor.world.crash(2);
    acceptor.world.restart(2);
    auto const refusal = acceptor.ask(2, make_proposal(5, 2), 2);
    REQUIRE(refusal);
    CHECK(refusal->word > refusal->proposal);
    CHECK(refusal->key == 0);
    CHECK(acceptor.word() == make_proposal(5, 2));
}

TEST_CASE("A request under somebody else's proposal is void") {
    Acceptor acceptor;
    CHECK_FALSE(acceptor.ask(2, make_proposal(5, 3)));
    CHECK(acceptor.word() == kNoProposal);
}

TEST_CASE("Every proposal that was asked for is remembered, so that a takeover can choose one above it") {
    Acceptor acceptor;
    REQUIRE(acceptor.ask(2, make_proposal(9, 2)));
    REQUIRE(acceptor.ask(3, make_proposal(4, 3)));
    CHECK(acceptor.shared.highest_seen == make_proposal(9, 2));
}

TEST_CASE("One's own request is granted, refused and held by the same rules as a peer's") {
    Acceptor acceptor;
    Incarnation const self = acceptor.world.incarnation(1);
    acceptor.shared.alive = 1U << 2U;
    REQUIRE(acceptor.ask(2, make_proposal(5, 2), 1, kSecond));
    auto const lower = acceptor.permission.grant_self({make_proposal(5, 1), self, 1}, kSecond);
    REQUIRE(lower);
    CHECK(lower->word == make_proposal(5, 2));
    CHECK_FALSE(acceptor.permission.grant_self({make_proposal(6, 1), self, 2}, kSecond));
    auto const later =
        acceptor.permission.grant_self({make_proposal(6, 1), self, 3}, kSecond + acceptor.settings.minimum_hold);
    REQUIRE(later);
    CHECK(later->word == make_proposal(6, 1));
}

TEST_CASE("Being admitted raises the word to the bringing leader's proposal before anything is granted") {
    Acceptor acceptor;
    acceptor.region().own.admitted = 0;
    Tenure const leader{3, acceptor.world.incarnation(3), make_proposal(7, 3)};
    REQUIRE(acceptor.permission.admit(leader));
    CHECK(acceptor.word() == make_proposal(7, 3));
    CHECK(acceptor.region().own.admitted == acceptor.world.incarnation(1));
    auto const lower = acceptor.ask(2, make_proposal(6, 2));
    REQUIRE(lower);
    CHECK(lower->word == make_proposal(7, 3));
}

TEST_CASE("A torn request is not a request: it is answered once it is whole") {
    Acceptor acceptor;
    acceptor.post(2, make_proposal(5, 2));
    std::uint64_t const check = acceptor.region().peers[2].request.check;
    acceptor.region().peers[2].request.check ^= 1;
    acceptor.step();
    CHECK(acceptor.word() == kNoProposal);
    acceptor.region().peers[2].request.check = check;
    acceptor.step();
    CHECK(acceptor.word() == make_proposal(5, 2));
}
