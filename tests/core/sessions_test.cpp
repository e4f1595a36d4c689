// Sessions: a command that is retried is applied once, and the table forgets only by what the log says.
#include "protocol/sessions.hpp"

#include <doctest/doctest.h>

#include "support/slots.hpp"

using namespace mu;
using namespace mu::test;
using Verdict = Sessions::Verdict;

namespace {

OwnedBytes reply(std::string_view text) { return {bytes_of(text).begin(), bytes_of(text).end()}; }

OwnedBytes saved(Sessions const& sessions) {
    OwnedBytes bytes;
    append(bytes, {});  // see there: the compiler must not know that it is empty
    ByteWriter writer(bytes);
    sessions.save(writer);
    return bytes;
}

}  // namespace

TEST_CASE("A client's first request is fresh, and so is each next one") {
    Sessions sessions(4);
    CHECK(sessions.judge({7, 1}) == Verdict::fresh);
    sessions.remember({7, 1}, ReplyStatus::ok, {});
    CHECK(sessions.judge({7, 2}) == Verdict::fresh);
}

TEST_CASE("A repeated request is answered as it was before, a refusal too") {
    Sessions sessions(4);
    sessions.remember({7, 1}, ReplyStatus::ok, reply("done"));
    REQUIRE(sessions.judge({7, 1 | kRetryBit}) == Verdict::repeated);
    CHECK(sessions.last_status() == ReplyStatus::ok);
    CHECK(text_of(sessions.last_reply()) == "done");
    sessions.remember({7, 2}, ReplyStatus::failed, reply("no"));
    REQUIRE(sessions.judge({7, 2 | kRetryBit}) == Verdict::repeated);
    CHECK(sessions.last_status() == ReplyStatus::failed);
    CHECK(text_of(sessions.last_reply()) == "no");
}

TEST_CASE(
    "A request under the number of the last one that was not sent again is another client's: it gets no reply of "
    "that") {
    Sessions sessions(4);
    sessions.remember({7, 1}, ReplyStatus::ok, reply("done"));
    CHECK(sessions.judge({7, 1}) == Verdict::stale);
}

TEST_CASE("A request older than the session's last one is stale: its reply is gone") {
    Sessions sessions(4);
    sessions.remember({7, 2}, ReplyStatus::ok, {});
    CHECK(sessions.judge({7, 1}) == Verdict::stale);
}

TEST_CASE("A client that the table does not know may only begin: any later request has expired") {
    Sessions sessions(4);
    CHECK(sessions.judge({7, 2}) == Verdict::expired);
    CHECK(sessions.judge({7, 1}) == Verdict::fresh);
}

TEST_CASE("A full table forgets the client least recently used by the log, not the one least recently begun") {
    Sessions sessions(2);
    sessions.remember({1, 1}, ReplyStatus::ok, {});
    sessions.remember({2, 1}, ReplyStatus::ok, {});
    sessions.remember({1, 2}, ReplyStatus::ok, {});
    sessions.remember({3, 1}, ReplyStatus::ok, {});
    CHECK(sessions.size() == 2);
    CHECK(sessions.judge({2, 2}) == Verdict::expired);
    CHECK(sessions.judge({1, 2 | kRetryBit}) == Verdict::repeated);
    CHECK(sessions.judge({3, 1 | kRetryBit}) == Verdict::repeated);
}

TEST_CASE("Only what the log says counts as use: judging a request does not keep its client") {
    Sessions sessions(2);
    sessions.remember({1, 1}, ReplyStatus::ok, {});
    sessions.remember({2, 1}, ReplyStatus::ok, {});
    CHECK(sessions.judge({1, 1 | kRetryBit}) == Verdict::repeated);
    sessions.remember({3, 1}, ReplyStatus::ok, {});
    CHECK(sessions.judge({1, 2}) == Verdict::expired);
}

TEST_CASE("A table restored from a snapshot judges, replies and forgets as the saved one") {
    Sessions original(4);
    original.remember({1, 4}, ReplyStatus::ok, reply("one"));
    original.remember({2, 9}, ReplyStatus::failed, reply("two"));
    original.remember({3, 1}, ReplyStatus::ok, {});
    original.remember({1, 5}, ReplyStatus::ok, reply("one again"));
    Sessions restored(4);
    restored.remember({9, 9}, ReplyStatus::ok, {});  // what was there before is gone
    OwnedBytes const bytes = saved(original);
    ByteReader reader(bytes);
    restored.load(reader);
    CHECK(reader.finished());
    CHECK(saved(restored) == bytes);
    CHECK(restored.judge({9, 9}) == Verdict::expired);
    for (Sessions* const sessions : {&original, &restored}) {
        REQUIRE(sessions->judge({2, 9 | kRetryBit}) == Verdict::repeated);
        CHECK(sessions->last_status() == ReplyStatus::failed);
        CHECK(text_of(sessions->last_reply()) == "two");
        sessions->remember({4, 1}, ReplyStatus::ok, {});
        sessions->remember({5, 1}, ReplyStatus::ok, {});
        CHECK(sessions->judge({2, 9}) == Verdict::expired);
        CHECK(sessions->judge({1, 5 | kRetryBit}) == Verdict::repeated);
    }
    CHECK(saved(restored) == saved(original));
}

TEST_CASE("A first request that is sent again is fresh until the table has ever forgotten anybody, and expired then") {
    Sessions sessions(1);
    CHECK(sessions.judge({7, 1 | kRetryBit}) == Verdict::fresh);
    sessions.remember({7, 1 | kRetryBit}, ReplyStatus::ok, {});
    CHECK(sessions.judge({7, 1 | kRetryBit}) == Verdict::repeated);
    sessions.remember({8, 1}, ReplyStatus::ok, {});  // now 7 is forgotten
    CHECK(sessions.judge({7, 1 | kRetryBit}) == Verdict::expired);
    CHECK(sessions.judge({9, 1}) == Verdict::fresh);

    Sessions restored(1);
    OwnedBytes const bytes = saved(sessions);
    ByteReader reader(bytes);
    restored.load(reader);
    CHECK(restored.judge({7, 1 | kRetryBit}) == Verdict::expired);
}
