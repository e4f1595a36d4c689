// The two ways of a grant: by access flags on a queue pair that has carried nothing yet, or with a new queue pair.
#include "fabric/gather.hpp"
#include "verbs/pair.hpp"

namespace mu::test {

TEST_CASE("The first grant to a connected replica is a change of flags") {
    Pair pair;
    InboxKey const key = pair.permit(1);
    CHECK(pair.acceptor.fast_grants() == 1);
    CHECK(pair.acceptor.slow_grants() == 0);
    CHECK(pair.write(key, 0));
}

TEST_CASE("A replica that has written is granted a new queue pair, and its old one leads nowhere") {
    Pair pair;
    InboxKey const first = pair.permit(1);
    REQUIRE(pair.write(first, 0));
    InboxKey const second = pair.permit(2);
    CHECK(pair.acceptor.slow_grants() == 1);
    CHECK(second.queue_pair != first.queue_pair);
    CHECK_FALSE(pair.write(second, 64));  // over the connection of the first grant
    REQUIRE(pair.connect(second));
    CHECK(pair.write(second, 128));
    CHECK(pair.acceptor.ring()[64] == std::byte{0});
    CHECK(pair.acceptor.ring()[128] == std::byte{7});
}

TEST_CASE("What was tidied up between two tenures makes the next grant a change of flags again") {
    Pair pair;
    REQUIRE(pair.write(pair.permit(1), 0));
    std::ignore = pair.acceptor.permit({2, 1, make_proposal(2, 2)});
    pair.acceptor.tidy();
    InboxKey const key = pair.permit(3);
    CHECK(pair.acceptor.fast_grants() == 2);
    CHECK(pair.acceptor.slow_grants() == 0);
    REQUIRE(pair.connect(key));
    CHECK(pair.write(key, 64));
}

TEST_CASE("A piece of a gathered write is the same bytes as that piece of the whole") {
    std::vector<std::byte> const head = filled(48, 1);
    std::vector<std::byte> const tail = filled(8, 3);
    for (std::size_t length = 0; length < 20; ++length) {
        std::vector<std::byte> const body = filled(length, 2);
        Gather const gather{head, body, tail};
        std::vector<std::byte> whole(bytes_of(gather), std::byte{0xff});
        copy_gather(whole.data(), gather, 0, whole.size());
        for (std::size_t at = 0; at + 16 <= whole.size(); ++at) {
            std::vector<std::byte> piece(16, std::byte{0xff});
            copy_gather(piece.data(), gather, at, piece.size());
            CHECK(std::equal(piece.begin(), piece.end(), whole.begin() + static_cast<std::ptrdiff_t>(at)));
        }
    }
}

}  // namespace mu::test
