// How commands lie in a slot: what was packed comes out again, and nothing is ever read beyond the value.
#include "protocol/commands.hpp"

#include <doctest/doctest.h>

#include "support/journal.hpp"

using namespace mu;
using namespace mu::test;

namespace {

std::vector<Packed> unpack(std::span<std::byte const> value) {
    std::vector<Packed> commands;
    CommandReader reader(value);
    for (CommandReader::Command command; reader.next(command);) {
        commands.push_back({text_of(command.bytes), command.session});
    }
    return commands;
}

}  // namespace

TEST_CASE("Commands come out of a slot in the order and with the sessions in which they were packed") {
    std::vector<Packed> const packed{{"one"}, {""}, {"with session", {7, 3}}, {"", {8, 1}}, {"last"}};
    OwnedBytes const value = pack(packed).whole();
    std::vector<Packed> const found = unpack(value);
    REQUIRE(found.size() == packed.size());
    for (std::size_t i = 0; i < packed.size(); ++i) {
        CHECK(found[i].command == packed[i].command);
        CHECK(found[i].session.client == packed[i].session.client);
        CHECK(found[i].session.number == packed[i].session.number);
    }
}

TEST_CASE("An empty value holds no commands") { CHECK(unpack({}).empty()); }

TEST_CASE("A value cut off at any length yields only commands that are whole") {
    OwnedBytes const value = pack({{"one"}, {"two", {7, 3}}, {"three"}}).whole();
    for (std::size_t length = 0; length < value.size(); ++length) {
        OwnedBytes const part(value.begin(), value.begin() + static_cast<std::ptrdiff_t>(length));
        std::vector<Packed> const found = unpack(part);
        CHECK(found.size() < 3);
        CHECK((found.empty() || found[0].command == "one"));
    }
}

TEST_CASE("A count or a length beyond the value ends the walk") {
    OwnedBytes value = pack({{"one"}, {"two"}}).whole();
    for (std::size_t const at : {0, 4, 8}) {
        OwnedBytes broken = value;
        std::uint32_t const huge = 0x7fffffff;
        std::memcpy(broken.data() + at, &huge, sizeof huge);
        CHECK(unpack(broken).size() == (at == 8 ? 1 : 0));
    }
}

TEST_CASE("A length that is a session's but too short to hold one ends the walk") {
    OwnedBytes value = pack({{"123456789012345"}, {"two"}}).whole();
    std::uint32_t const length = 15 | kSessionBit;
    std::memcpy(value.data() + 4, &length, sizeof length);
    CHECK(unpack(value).empty());
}
