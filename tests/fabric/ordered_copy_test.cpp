// F4 at its root: what a reader may see of a write that is under way.
#include "common/ordered_copy.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "world.hpp"

namespace mu::test {

namespace {

constexpr std::size_t kWords = 40;         // of a write; some copies move this much in one go
constexpr std::size_t kFewWords = 20;      // of a write that has code of its own
constexpr std::size_t kRings = 3;          // written to at once
constexpr std::uint64_t kLooks = 200'000;  // at least, and until so many words have been written:
constexpr std::uint64_t kWordsWritten = 800'000;

// Every word of write number n is n twice, so that a torn word shows.
constexpr std::uint64_t twice(std::uint64_t n) { return n << 32U | n; }
constexpr bool whole(std::uint64_t word) { return word >> 32U == (word & 0xffffffffU); }

// Stores writes 1, 2, … into `shared`, and two rings beside it, until told to stop.
class Writer {
public:
    Writer(std::byte* shared, std::size_t words)
        : thread_([this, shared, words] {
              std::vector<std::uint64_t> source(words);
              std::vector<std::uint64_t> beside((kRings - 1) * words);
              auto* const others = reinterpret_cast<std::byte*>(beside.data());
              std::array<std::byte*, kRings> const places{others, shared, others + words * kWord};
              for (std::uint64_t n = 1; !stop_.load(std::memory_order_relaxed); ++n) {
                  std::fill(source.begin(), source.end(), twice(n & 0xffffffffU));
                  Bytes const bytes = std::as_bytes(std::span(source));
                  ordered_copy_to_all(places, bytes.first(16), bytes.subspan(16, bytes.size() - 24), bytes.last(8));
              }
          }) {}
    ~Writer() {
        stop_ = true;
        thread_.join();
    }
    Writer(Writer const&) = delete;
    Writer& operator=(Writer const&) = delete;

private:
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

std::uint64_t load(std::byte* shared, std::size_t word) {
    return racy::word(shared + word * kWord).load(std::memory_order_acquire);
}

// Calls look(i) for i = 0, 1, … while a writer stores writes of `words` words; counts how often it answers true.
template <class Look>
std::uint64_t count_while_written(std::size_t words, Look const& look) {
    std::vector<std::uint64_t> memory(words);
    auto* const shared = reinterpret_cast<std::byte*>(memory.data());
    Writer const writer(shared, words);
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < kLooks || (load(shared, 0) & 0xffffffffU) < kWordsWritten / words; ++i) {
        if (look(shared, i)) ++found;
    }
    return found;
}

TEST_CASE("F4: a write's first word changes before any other byte of it") {
    for (std::size_t const words : {kFewWords, kWords}) {
        CHECK(count_while_written(words, [words](std::byte* shared, std::uint64_t i) {
                  std::uint64_t const other = load(shared, 1 + i % (words - 1));
                  return load(shared, 0) < other;
              }) == 0);
    }
}

TEST_CASE("F4: a write's last word changes after every other byte of it") {
    for (std::size_t const words : {kFewWords, kWords}) {
        CHECK(count_while_written(words, [words](std::byte* shared, std::uint64_t i) {
                  std::uint64_t const last = load(shared, words - 1);
                  return load(shared, i % (words - 1)) < last;
              }) == 0);
    }
}

TEST_CASE("F4: no aligned word is ever seen torn, in small and in large writes") {
    for (std::size_t const words : {std::size_t{4}, kFewWords, kWords, std::size_t{512}, std::size_t{8192}}) {
        CHECK(count_while_written(words, [words](std::byte* shared, std::uint64_t i) {
                  return !whole(load(shared, i * 7 % words));
              }) == 0);
    }
}

// What is in each of `rings` rings after a write of three parts, taken from `source`; empty if they differ, or if
// anything beyond the write was touched.
std::vector<std::byte> written_to_all(std::size_t rings, Bytes head, Bytes body, Bytes tail) {
    std::size_t const total = ordered_bytes(head, body, tail);
    std::vector<std::uint64_t> memory(rings * (total / kWord + 1), ~std::uint64_t{0});
    auto* const begin = reinterpret_cast<std::byte*>(memory.data());
    std::vector<std::byte*> places;
    for (std::size_t k = 0; k < rings; ++k) {
        places.push_back(begin + k * (total + kWord));
    }
    ordered_copy_to_all(places, head, body, tail);
    bool same = true;
    for (std::byte const* const each : places) {
        same = same && std::equal(each, each + total, places[0]) && each[total] == std::byte{0xff};
    }
    return same ? std::vector<std::byte>(places[0], places[0] + total) : std::vector<std::byte>();
}

TEST_CASE("Every split of a write into three parts gives the same bytes, with zeros between body and tail") {
    std::array<std::byte, 400> source;
    for (std::size_t i = 0; i < source.size(); ++i) {
        source[i] = static_cast<std::byte>(i % 251 + 1);
    }
    Bytes const all(source);
    auto const check = [&](std::size_t rings, std::size_t head, std::size_t body, std::size_t tail) {
        std::size_t const tail_at = align_up(head + body, kWord);
        std::vector<std::byte> expected(align_up(tail_at + tail, kWord));
        std::copy_n(source.begin(), head + body, expected.begin());
        std::copy_n(source.begin() + 100, tail, expected.begin() + static_cast<std::ptrdiff_t>(tail_at));
        if (written_to_all(rings, all.first(head), all.subspan(head, body), all.subspan(100, tail)) != expected) {
            FAIL("rings ", rings, " head ", head, " body ", body, " tail ", tail);
        }
    };
    for (std::size_t const rings : {1UL, 2UL, 3UL, 5UL}) {
        for (std::size_t head = 0; head <= 72; head += 8) {
            for (std::size_t body = 0; body <= 300; body += body == 80 ? 170 : 1) {
                for (std::size_t tail = 0; tail <= 24; tail += body > 80 ? 8 : 1) {
                    if (head + body + tail != 0) check(rings, head, body, tail);
                }
            }
        }
    }
}

TEST_CASE("Copying out gives any length") {
    alignas(8) std::array<std::byte, 64> shared;
    shared.fill(std::byte{5});
    for (std::size_t length = 0; length <= 64; ++length) {
        std::vector<std::byte> into(65, std::byte{9});
        racy_copy_out(into.data(), shared.data(), length);
        CHECK(std::count(into.begin(), into.end(), std::byte{5}) == static_cast<std::ptrdiff_t>(length));
    }
}

}  // namespace

}  // namespace mu::test
