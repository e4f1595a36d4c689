// How long a post to a host that has gone silent may stay without an answer (F5).
#include "verbs/network.hpp"
#include "verbs/pair.hpp"

namespace mu::test {

namespace {

constexpr std::uint8_t kEndless = 7;  // as a number of retries: of a receiver by the standard, of rxe in any case
constexpr Nanoseconds kStated = 70'000'000;  // docs/rdma.md; the standard lets a device take four times as long

[[nodiscard]] ibv_qp_attr attributes_of(QueuePair const& pair) {
    ibv_qp_attr found{};
    ibv_qp_init_attr unused{};
    int const what = IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY;
    REQUIRE(VerbsLibrary::get().query_qp(pair.get(), &found, what, &unused) == 0);
    return found;
}

}  // namespace

TEST_CASE("F5: what the device says of a queue pair's time limit and retries makes the bound that is stated") {
    Pair const pair;
    ibv_qp_attr const found = attributes_of(pair.writer());
    REQUIRE(found.qp_state == IBV_QPS_RTS);
    CHECK(found.timeout != 0);  // which is endless
    CHECK(found.retry_cnt < kEndless);
    CHECK(found.rnr_retry < kEndless);
    Nanoseconds const once = Nanoseconds{4096} << found.timeout;
    CHECK(once * (found.retry_cnt + 1) <= kStated);
}

TEST_CASE("F5: a write to a host whose cable has been pulled completes, and with an error") {
    Pair pair;
    InboxKey const key = pair.permit(1);
    REQUIRE(pair.completion(key, 0) == IBV_WC_SUCCESS);
    Network network;
    network.make("cut 2");
    CHECK(pair.completion(key, 64) == IBV_WC_RETRY_EXC_ERR);
    CHECK(pair.acceptor.ring()[64] == std::byte{0});
    CHECK(pair.completion(key, 128) == IBV_WC_WR_FLUSH_ERR);  // and so does all that comes after it
}

}  // namespace mu::test
