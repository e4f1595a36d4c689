// Cells of the background region: a reader that meets a half-written one sees nothing, never a mixture.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "protocol/regions.hpp"

using namespace mu;

namespace {

template <class T>
using Words = std::array<std::uint64_t, sizeof(Checked<T>) / 8>;

template <class T>
Words<T> words_of(T const& value) {
    Words<T> words;
    Checked<T> const checked = Checked<T>::of(value);
    std::memcpy(words.data(), &checked, sizeof checked);
    return words;
}

// The cell after a writer of `next` has stored the words that `landed` has as bits over `old`.
template <class T>
Checked<T> torn(Words<T> old, Words<T> const& next, unsigned landed) {
    for (std::size_t word = 0; word < old.size(); ++word) {
        old[word] = ((landed >> word) & 1U) != 0 ? next[word] : old[word];
    }
    Checked<T> cell;
    std::memcpy(static_cast<void*>(&cell), old.data(), sizeof cell);
    return cell;
}

bool is_request(Request const& found, Request const& expected) {
    return found.proposal == expected.proposal && found.incarnation == expected.incarnation &&
           found.nonce == expected.nonce;
}

}  // namespace

TEST_CASE("A cell that was never written holds nothing") {
    CHECK_FALSE(load_cell(Checked<Request>{}));
    CHECK_FALSE(load_cell(Checked<Grant>{}));
    CHECK_FALSE(load_cell(Checked<Position>{}));
    CHECK_FALSE(load_position(PositionCells{}));
}

TEST_CASE("A written cell holds what was written, a zero value too") {
    Checked<Request> cell;
    store_cell(cell, Request{});
    REQUIRE(load_cell(cell));
    store_cell(cell, Request{0x301, 17, 5});
    CHECK(is_request(*load_cell(cell), {0x301, 17, 5}));
}

TEST_CASE("A cell torn after any set of its words is nothing, the old value or the new one") {
    Request const old{0x301, 17, 5};
    Request const next{0x402, 18, 6};
    unsigned const all = (1U << words_of(next).size()) - 1;
    for (unsigned landed = 0; landed <= all; ++landed) {
        auto const over_old = load_cell(torn<Request>(words_of(old), words_of(next), landed));
        CHECK(over_old.has_value() == (landed == 0 || landed == all));
        auto const over_zero = load_cell(torn<Request>({}, words_of(next), landed));
        CHECK(over_zero.has_value() == (landed == all));
    }
}

TEST_CASE("Every single bit of a cell is covered by its check") {
    Grant const grant{0x301, 5, 0x301, 17, 0xabcd, {128, 0x201}, {512, 0x301}};
    for (std::size_t bit = 0; bit < 8 * sizeof(Checked<Grant>); ++bit) {
        Checked<Grant> cell = Checked<Grant>::of(grant);
        auto* const bytes = reinterpret_cast<unsigned char*>(&cell);
        bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] ^ (1U << (bit % 8)));
        CHECK_FALSE(load_cell(cell));
    }
}

TEST_CASE("Of the two cells of a position one is always whole, and the newer whole one is read") {
    PositionCells cells{};
    store_position(cells, {});
    for (Offset offset = 64; offset < 10 * 64; offset += 64) {
        Position const old = *load_position(cells);
        Position const next{offset, 0x301};
        PositionCells written = cells;
        store_position(written, next);
        // The words that this store changed, in any partial state.
        std::array<std::uint64_t, sizeof(PositionCells) / 8> before;
        std::array<std::uint64_t, sizeof(PositionCells) / 8> after;
        std::memcpy(before.data(), &cells, sizeof cells);
        std::memcpy(after.data(), &written, sizeof written);
        for (unsigned landed = 0; landed < (1U << before.size()); ++landed) {
            auto mixed = before;
            for (std::size_t word = 0; word < mixed.size(); ++word) {
                mixed[word] = ((landed >> word) & 1U) != 0 ? after[word] : before[word];
            }
            PositionCells seen;
            std::memcpy(static_cast<void*>(&seen), mixed.data(), sizeof seen);
            auto const found = load_position(seen);
            REQUIRE(found);
            CHECK((*found == old || *found == next));
        }
        cells = written;
        CHECK(*load_position(cells) == next);
    }
}

TEST_CASE("Each peer's cells in a region lie apart, and where that peer writes them") {
    auto const region = std::make_unique<BackgroundRegion>();
    for (ReplicaId writer = 0; writer < kMaxReplicas; ++writer) {
        auto const place = [&](auto const& cell) {
            return static_cast<std::uint64_t>(reinterpret_cast<std::byte const*>(&cell) -
                                              reinterpret_cast<std::byte const*>(region.get()));
        };
        CHECK(peer_cell_at(writer, &PeerCells::request) == place(region->peers[writer].request));
        CHECK(peer_cell_at(writer, &PeerCells::grant) == place(region->peers[writer].grant));
        CHECK(peer_cell_at(writer, &PeerCells::piece) == place(region->peers[writer].piece));
        CHECK(peer_cell_at(writer, &PeerCells::taken) == place(region->peers[writer].taken));
        CHECK(peer_cell_at(writer, &PeerCells::piece_bytes) == place(region->peers[writer].piece_bytes));
    }
}
