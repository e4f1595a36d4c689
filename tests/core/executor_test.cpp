// The executor: every decided slot once, in log order; and snapshots that name the position they stand for.
#include "protocol/executor.hpp"

#include <doctest/doctest.h>

#include "support/journal.hpp"

using namespace mu;
using namespace mu::test;

namespace {

Proposal const p1 = make_proposal(1, 1);
LogFormat const format(kKey, 4096, Integrity::stamp);

struct Replies final : ReplySink {
    void reply(Offset slot, std::uint32_t index, ReplyStatus status, std::span<std::byte const> bytes) override {
        lines.push_back(std::to_string(slot) + "/" + std::to_string(index) + " " +
                        std::to_string(static_cast<unsigned>(status)) + " " + text_of(bytes));
    }
    Commands lines;
};

struct Bench {
    explicit Bench(std::uint64_t sessions = 10) : executor(machine, sessions) {}

    void run(SlotKind kind, std::span<std::byte const> value, Proposal proposal = p1) {
        Position const at = executor.applied();
        SlotHeader header{0, at.offset, proposal, at.previous, 0, static_cast<std::uint32_t>(value.size()), kind};
        static_cast<void>(format.seal(header, value));
        executor.execute(header, value, &replies);
    }
    void run(std::vector<Packed> const& commands) { run(SlotKind::commands, pack(commands).whole()); }
    OwnedBytes snapshot() {
        OwnedBytes bytes;
        REQUIRE(executor.snapshot(bytes));
        return bytes;
    }

    Journal machine;
    Executor executor;
    Replies replies;
};

}  // namespace

TEST_CASE("Commands are applied in log order and each reply names its slot and its place in it") {
    Bench bench;
    bench.run({{"a"}, {"b"}});
    Offset const second = bench.executor.applied().offset;
    bench.run({{"refuse"}});
    CHECK(bench.machine.commands == Commands{"a", "b", "refuse"});
    CHECK(bench.replies.lines == Commands{"0/0 0 1", "0/1 0 2", std::to_string(second) + "/0 1 3"});
    CHECK(bench.executor.commands() == 3);
}

TEST_CASE("The applied position is the end of the last slot and that slot's proposal") {
    Bench bench;
    bench.run(SlotKind::commands, pack({{"a"}}).whole(), make_proposal(4, 3));
    CHECK(bench.executor.applied() == Position{slot_bytes(9), make_proposal(4, 3)});
}

TEST_CASE("Empty slots and pads change nothing but the applied position") {
    Bench bench;
    bench.run(SlotKind::empty, {});
    CHECK(bench.executor.applied().offset == kSlotAlignment);
    CHECK(bench.machine.commands.empty());
    CHECK(bench.executor.configuration() == Configuration{});
}

TEST_CASE("Formation and admit records change the configuration, when they are executed") {
    Bench bench;
    Incarnations vector{};
    vector[1] = 11;
    vector[2] = 12;
    bench.run(SlotKind::formation, std::as_bytes(std::span(&vector, 1)));
    CHECK(bench.executor.configuration().incarnations == vector);
    AdmitRecord const record{2, 20};
    bench.run(SlotKind::admit, std::as_bytes(std::span(&record, 1)));
    vector[2] = 20;
    CHECK(bench.executor.configuration().incarnations == vector);
}

TEST_CASE("A retry after Indeterminate is applied once, and gets the reply of the first time") {
    Bench bench;
    bench.run({{"a", {7, 1}}});
    bench.run({{"a", {7, 1 | kRetryBit}}});
    CHECK(bench.machine.commands == Commands{"a"});
    CHECK(bench.replies.lines[1].ends_with("/0 0 1"));
}

TEST_CASE("Stale and expired requests are not applied, and say so") {
    Bench bench(1);
    bench.run({{"a", {7, 1}}, {"b", {7, 2}}, {"a", {7, 1}}});
    CHECK(bench.replies.lines.back() == "0/2 3 ");
    Offset const second = bench.executor.applied().offset;
    bench.run({{"c", {8, 1}}, {"d", {7, 3}}});
    CHECK(bench.replies.lines.back() == std::to_string(second) + "/1 2 ");
    CHECK(bench.machine.commands == Commands{"a", "b", "c"});
}

TEST_CASE("A snapshot stands for a position and holds state, configuration and sessions together") {
    Bench bench;
    Incarnations vector{};
    vector[3] = 33;
    bench.run(SlotKind::formation, std::as_bytes(std::span(&vector, 1)));
    bench.run({{"a", {7, 1}}, {"b"}});
    Bench learner;
    REQUIRE(learner.executor.restore(bench.snapshot()));
    CHECK(learner.executor.applied() == bench.executor.applied());
    CHECK(learner.executor.configuration() == bench.executor.configuration());
    CHECK(learner.executor.commands() == 2);
    CHECK(learner.machine.commands == Commands{"a", "b"});
    learner.run({{"a", {7, 1}}});
    CHECK(learner.machine.commands == Commands{"a", "b"});
}

TEST_CASE("A snapshot that is not ahead of what was executed is refused, and nothing changes") {
    Bench bench;
    bench.run({{"a"}});
    OwnedBytes const older = bench.snapshot();
    bench.run({{"b"}});
    OwnedBytes const equal = bench.snapshot();
    for (OwnedBytes const& snapshot : {older, equal}) {
        CHECK_FALSE(bench.executor.restore(snapshot));
        CHECK(bench.machine.commands == Commands{"a", "b"});
        CHECK(bench.machine.restores == 0);
        CHECK(bench.snapshot() == equal);
    }
}

TEST_CASE("The same snapshot restored twice is refused the second time") {
    Bench bench;
    bench.run({{"a"}});
    Bench learner;
    CHECK(learner.executor.restore(bench.snapshot()));
    CHECK_FALSE(learner.executor.restore(bench.snapshot()));
    CHECK(learner.machine.restores == 1);
}

TEST_CASE("A snapshot cut off at any length, or with a byte too many, is refused, and nothing changes") {
    Bench bench;
    bench.run({{"a", {7, 1}}, {"b", {8, 1}}, {"c"}});
    OwnedBytes const whole = bench.snapshot();
    Bench learner;
    learner.run(SlotKind::empty, {});
    OwnedBytes const before = learner.snapshot();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CHECK_FALSE(learner.executor.restore(std::span(whole).first(length)));
    }
    OwnedBytes longer = whole;
    longer.push_back(std::byte{0});
    CHECK_FALSE(learner.executor.restore(longer));
    longer = whole;
    longer[0] ^= std::byte{1};
    CHECK_FALSE(learner.executor.restore(longer));
    CHECK(learner.snapshot() == before);
    CHECK(learner.machine.restores == 0);
    CHECK(learner.executor.restore(whole));
}
