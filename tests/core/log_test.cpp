// The log's one promise: what parse() calls a slot was written whole, by a member of this cluster, for this place and
// after this predecessor. Everything else reads as empty.
#include "log.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "support/slots.hpp"

using namespace mu;
using namespace mu::test;

namespace {

Proposal const p1 = make_proposal(1, 1);
Proposal const p2 = make_proposal(2, 2);
Proposal const p3 = make_proposal(3, 1);

}  // namespace

TEST_CASE("A slot that was written whole is found, with everything that its header says (paper 4.2)") {
    Ring ring;
    Position const second = ring.put({}, p1, "first");
    ring.put(second, p2, "second one", SlotKind::commands, second.offset);
    auto const slot = ring.parse(second);
    REQUIRE(slot);
    CHECK(text_of(slot->value) == "second one");
    CHECK(slot->header.offset == second.offset);
    CHECK(slot->header.proposal == p2);
    CHECK(slot->header.previous == p1);
    CHECK(slot->header.commit == second.offset);
    CHECK(slot->header.kind == SlotKind::commands);
    CHECK(slot->after() == Position{second.offset + slot_bytes(10), p2});
}

TEST_CASE("Zeroed memory holds no slot") {
    Ring const ring;
    CHECK_FALSE(ring.parse({}));
    CHECK(ring.chain_end() == Position{});
}

TEST_CASE("A slot that names another offset is empty, though all else is right") {
    Ring ring;
    Sealed const elsewhere = seal(ring.format, {kSlotAlignment, p1}, p1, "value");
    std::ranges::copy(elsewhere.bytes, ring.bytes.begin() + 2 * kSlotAlignment);
    CHECK_FALSE(ring.parse({2 * kSlotAlignment, p1}));
}

TEST_CASE("★ A slot that does not link to the slot before it is empty: a stale one cannot follow a foreign one") {
    Ring ring;
    Position const second = ring.put({}, p1, "old");
    ring.put(second, p1, "stale");
    CHECK(ring.chain_end() == Position{second.offset + slot_bytes(5), p1});
    Position const after_new = ring.put({}, p2, "new");
    REQUIRE(after_new.offset == second.offset);
    CHECK_FALSE(ring.parse(after_new));
    CHECK(ring.chain_end() == after_new);
}

TEST_CASE("Any bit of the header that changes makes the slot empty") {
    for (std::size_t bit = 0; bit < 8 * sizeof(SlotHeader); ++bit) {
        Ring ring;
        ring.put({}, p1, "a value of more than one word");
        ring.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
        CHECK_FALSE(ring.parse({}));
    }
}

TEST_CASE(
    "A header of two laps is nobody's, though its offset is right: that of one lap, and all else of the one before") {
    Ring ring;
    ring.put({}, p1, "value");
    std::uint64_t const next_lap = ring.format.ring_bytes();
    std::memcpy(ring.bytes.data() + offsetof(SlotHeader, offset), &next_lap, sizeof next_lap);
    CHECK_FALSE(ring.parse({next_lap, kNoProposal}));
}

TEST_CASE("A slot torn after any number of its words is empty, in whatever was zero before") {
    for (Integrity const integrity : {Integrity::stamp, Integrity::checksum}) {
        Ring const fresh(integrity);
        Sealed const slot = seal(fresh.format, {}, p1, "a value of exactly five words: 40 bytes.");
        for (std::size_t landed = 0; landed <= slot.words(); ++landed) {
            Ring ring(integrity);
            ring.put_words(slot, [&](std::size_t word) { return word < landed; });
            CHECK(ring.parse({}).has_value() == (landed == slot.words()));
        }
    }
}

TEST_CASE("A slot torn over one of another proposal is never a mixture: the old one, nothing, then the new one") {
    Ring const fresh;
    Sealed const old = seal(fresh.format, {}, p1, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    Sealed const next = seal(fresh.format, {}, p2, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    for (std::size_t landed = 0; landed <= next.words(); ++landed) {
        Ring ring;
        ring.put(old);
        ring.put_words(next, [&](std::size_t word) { return word < landed; });
        auto const slot = ring.parse({});
        REQUIRE(slot.has_value() == (landed == 0 || landed == next.words()));
        if (slot) {
            CHECK(text_of(slot->value) ==
                  (landed == 0 ? "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"));
        }
    }
}

TEST_CASE("The words between the first and the last may land in any order (F4): the slot shows only with the last") {
    Ring const fresh;
    Sealed const slot = seal(fresh.format, {}, p1, "two words: 16 b.");
    std::size_t const between = slot.words() - 2;
    for (unsigned subset = 0; subset < (1U << between); ++subset) {
        Ring ring;
        ring.put_words(slot, [&](std::size_t word) { return word == 0 || ((subset >> (word - 1)) & 1U) != 0; });
        CHECK_FALSE(ring.parse({}));
    }
}

TEST_CASE("With a checksum no proper subset of a slot's words shows it, in whatever order they land") {
    Ring const fresh(Integrity::checksum);
    Position const at{kSlotAlignment, p1};  // so that no word of the slot is zero
    Sealed const slot = seal(fresh.format, at, p2, "three words: 24 bytes...", SlotKind::commands, at.offset);
    unsigned const all = (1U << slot.words()) - 1;
    for (unsigned subset = 0; subset <= all; ++subset) {
        Ring ring(Integrity::checksum);
        ring.put_words(slot, [&](std::size_t word) { return ((subset >> word) & 1U) != 0; });
        CHECK(ring.parse(at).has_value() == (subset == all));
    }
}

TEST_CASE("With a checksum a value that changed under its write is empty; with a stamp nobody looks at it") {
    std::string const value = "a ragged value of 29 bytes...";
    for (std::size_t at = 0; at < value.size(); ++at) {
        Ring summed(Integrity::checksum);
        summed.put({}, p1, value);
        summed.bytes[sizeof(SlotHeader) + at] ^= std::byte{0x10};
        CHECK_FALSE(summed.parse({}));
    }
    Ring stamped(Integrity::stamp);
    stamped.put({}, p1, value);
    stamped.bytes[sizeof(SlotHeader)] ^= std::byte{0x10};
    CHECK(stamped.parse({}));
}

TEST_CASE("A slot of another cluster's key is empty") {
    for (Integrity const integrity : {Integrity::stamp, Integrity::checksum}) {
        Ring ring(integrity);
        LogFormat const foreign(kKey + 1, ring.format.ring_bytes(), integrity);
        ring.put(seal(foreign, {}, p1, "value"));
        CHECK_FALSE(ring.parse({}));
        CHECK(foreign.parse(ring.bytes, {}));
    }
}

TEST_CASE("What an earlier lap left is empty, though its place and its bytes are right") {
    Ring ring;
    ring.put({}, p1, "lap one");
    Offset const lap = ring.format.ring_bytes();
    CHECK(ring.format.place(lap) == 0);
    CHECK_FALSE(ring.parse({lap, kNoProposal}));
    CHECK_FALSE(ring.parse({lap, p1}));
    ring.put({lap, p1}, p1, "lap two");
    CHECK(text_of(ring.parse({lap, p1})->value) == "lap two");
    CHECK_FALSE(ring.parse({}));
}

TEST_CASE("A client's value that imitates a header does not become a slot") {
    Ring ring;
    // The client read a real slot somewhere, and guesses where its value will lie; it does not know the key.
    Position const inside{kSlotAlignment, p1};
    LogFormat const guess(kKey ^ 0xff, ring.format.ring_bytes(), Integrity::stamp);
    Sealed const forged = seal(guess, inside, p1, "forged");
    Sealed const copied = seal(ring.format, {3 * kSlotAlignment, p1}, p1, "copied");
    for (Sealed const& imitation : {forged, copied}) {
        std::string value(kSlotAlignment - sizeof(SlotHeader), 'x');  // so that it lies at `inside`
        value += text_of(imitation.bytes);
        ring.put({}, p1, value);
        CHECK_FALSE(ring.parse(inside));
        CHECK(ring.chain_end() == Position{slot_bytes(static_cast<std::uint32_t>(value.size())), p1});
    }
}

TEST_CASE("A pad reaches from any slot to the end of the ring, is sealed by one line, and shows no value") {
    for (Integrity const integrity : {Integrity::stamp, Integrity::checksum}) {
        Ring ring(integrity);
        for (Offset at = 0; at < ring.format.ring_bytes(); at += kSlotAlignment) {
            CHECK(slot_bytes(ring.format.pad_length(at)) == ring.format.room_to_end(at));
            Sealed const pad = seal(ring.format, {at, p1}, p2, {}, SlotKind::pad);
            CHECK(pad.bytes.size() <= kSlotAlignment);
            ring.put(pad);
            auto const slot = ring.parse({at, p1});
            REQUIRE(slot);
            CHECK(slot->value.empty());
            CHECK(slot->after() == Position{ring.format.ring_bytes(), p2});
        }
    }
}

TEST_CASE("A kind that this version does not know is empty") {
    Ring ring;
    ring.put({}, p1, "value", static_cast<SlotKind>(0));
    CHECK_FALSE(ring.parse({}));
    ring.put({}, p1, "value", static_cast<SlotKind>(6));
    CHECK_FALSE(ring.parse({}));
}

TEST_CASE("The chain is the maximal run of valid, linked slots, and no longer than the ring") {
    Ring ring;
    Position at;
    for (std::string const value : {"one", "two", "three"}) {
        at = ring.put(at, p1, value);
    }
    CHECK(ring.chain_end() == at);
    ring.put({at.offset + kSlotAlignment, p1}, p1, "behind a hole");
    CHECK(ring.chain_end() == at);
    while (at.offset < 2 * ring.format.ring_bytes()) {
        at = ring.put(at, p1, "full");
    }
    Position const from{ring.format.ring_bytes(), p1};
    CHECK(ring.chain_end(from) == Position{2 * ring.format.ring_bytes(), p1});
}

TEST_CASE("Every value up to max_value fits into the ring behind whatever precedes it; slots keep their alignment") {
    LogFormat const format(kKey, 4096, Integrity::stamp);
    CHECK(slot_bytes(format.max_value()) * 2 <= format.ring_bytes());
    for (std::uint32_t length = 0; length <= format.max_value(); ++length) {
        CHECK(slot_bytes(length) % kSlotAlignment == 0);
        CHECK(canary_at(length) + kCanaryBytes <= slot_bytes(length));
        CHECK(canary_at(length) >= sizeof(SlotHeader) + length);
    }
}

TEST_CASE("unchanged() sees the first word of whatever is written over a slot that was read") {
    Ring ring;
    ring.put({}, p1, "read this");
    auto const slot = ring.parse({});
    REQUIRE(slot);
    CHECK(ring.format.unchanged(ring.bytes, *slot));
    ring.put_words(seal(ring.format, {}, p2, "over it"), [](std::size_t word) { return word == 0; });
    CHECK_FALSE(ring.format.unchanged(ring.bytes, *slot));
}

TEST_CASE("unchanged_until() ends at the first slot that was overwritten before the copy was made") {
    Ring ring;
    Position at;
    std::vector<Position> starts;
    for (std::string const value : {"one", "two", "three", "four"}) {
        starts.push_back(at);
        at = ring.put(at, p1, value);
    }
    for (std::size_t changed = 0; changed < starts.size(); ++changed) {
        Ring old = ring;
        OwnedBytes const copy = old.bytes;
        CHECK(old.format.unchanged_until(old.bytes, copy, 0, at.offset) == at.offset);
        old.put_words(seal(old.format, starts[changed], p3, "late"), [](std::size_t word) { return word == 0; });
        CHECK(old.format.unchanged_until(old.bytes, copy, 0, at.offset) == starts[changed].offset);
    }
}

TEST_CASE(
    "unchanged_until() leaves out a longer slot that has taken the place of the last one and ends beyond the copy") {
    Ring ring;
    Position const second = ring.put({}, p1, "one");
    Position const end = ring.put(second, p1, "two");
    Position const longer = ring.put(second, p3, std::string(100, 'x'));  // walk 81128110025537: it stopped a replica
    REQUIRE(longer.offset > end.offset);
    CHECK(ring.format.unchanged_until(ring.bytes, ring.bytes, 0, end.offset) == second.offset);
}

TEST_CASE("unchanged_until() does not follow a copy that holds no slot, or one of another place") {
    Ring ring;
    Position const second = ring.put({}, p1, "one");
    Position const end = ring.put(second, p1, "two");
    OwnedBytes copy = ring.bytes;
    std::memset(copy.data() + second.offset, 0, kWordBytes);
    CHECK(ring.format.unchanged_until(ring.bytes, copy, 0, end.offset) == second.offset);
    Ring lapped = ring;
    lapped.put({ring.format.ring_bytes(), p1}, p1, "lap");
    CHECK(lapped.format.unchanged_until(lapped.bytes, lapped.bytes, 0, end.offset) == 0);
}
