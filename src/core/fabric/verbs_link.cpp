#include "fabric/verbs_link.hpp"

#include <charconv>
#include <cstring>

#include "common/assert.hpp"

namespace mu {

namespace {

constexpr std::size_t kWords = sizeof(VerbsCard) / 8;
constexpr std::size_t kDigits = 16;  // of a word
static_assert(sizeof(VerbsCard) % 8 == 0);

std::uint64_t stamp_of(std::uint64_t const* words, std::uint64_t cluster_key) noexcept {
    std::uint64_t sum = cluster_key ^ 0x6d75206361726421ULL;
    for (std::size_t i = 0; i < kWords; ++i) {
        sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15ULL;
        sum ^= sum >> 29U;
    }
    return sum;
}

}  // namespace

std::string VerbsCard::text(std::uint64_t cluster_key) const {
    std::array<std::uint64_t, kWords + 1> words;
    std::memcpy(words.data(), this, sizeof *this);
    words[kWords] = stamp_of(words.data(), cluster_key);
    std::string text;
    for (std::uint64_t const word : words) {
        std::array<char, kDigits> digits;
        auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), word, 16).ptr;
        text.append(kDigits - static_cast<std::size_t>(end - digits.data()), '0');
        text.append(digits.data(), end);
    }
    return text;
}

std::optional<VerbsCard> VerbsCard::parse(std::string const& text, std::uint64_t cluster_key) {
    std::array<std::uint64_t, kWords + 1> words{};
    if (text.size() != words.size() * kDigits) return std::nullopt;
    for (std::size_t i = 0; i < words.size(); ++i) {
        char const* const from = text.data() + i * kDigits;
        auto const parsed = std::from_chars(from, from + kDigits, words[i], 16);
        if (parsed.ec != std::errc() || parsed.ptr != from + kDigits) return std::nullopt;
    }
    if (words[kWords] != stamp_of(words.data(), cluster_key)) return std::nullopt;
    VerbsCard card;
    std::memcpy(static_cast<void*>(&card), words.data(), sizeof card);
    return card;
}

RemoteEnd VerbsCard::end_of(Line line) const noexcept {
    RemoteEnd end;
    std::memcpy(end.gid.raw, gid, sizeof gid);
    end.lid = static_cast<std::uint16_t>(lid);
    end.mtu = static_cast<ibv_mtu>(mtu);
    end.queue_pair = static_cast<std::uint32_t>(queue_pairs[index_of(line)]);
    end.sends_from = static_cast<std::uint32_t>(sends_from[index_of(line)]);
    return end;
}

VerbsLink::VerbsLink(VerbsDevice const& device, VerbsCompletions const& completions)
    : log_out_(device, completions.replication),
      background_(device, completions.background),
      learner_(device, completions.learner),
      probe_(device, completions.probe) {
    for (std::uint32_t& first : sends_from_) {
        first = fresh_sequence();
    }
}

QueuePair& VerbsLink::pair(Line line) noexcept {
    switch (line) {
        case Line::log_out:
            return log_out_;
        case Line::background:
            return background_;
        case Line::learner:
            return learner_;
        case Line::probe:
            return probe_;
        case Line::log_in:
            break;  // the acceptor's
    }
    MU_ASSERT(false);
    return probe_;
}

void VerbsLink::describe(VerbsCard& card) const noexcept {
    auto const tell = [&](Line line, QueuePair const& pair) {
        card.queue_pairs[index_of(line)] = pair.number();
        card.sends_from[index_of(line)] = sends_from_[index_of(line)];
    };
    tell(Line::log_out, log_out_);
    tell(Line::background, background_);
    tell(Line::learner, learner_);
    tell(Line::probe, probe_);
}

bool VerbsLink::connect(VerbsCard const& remote) noexcept {
    remote_ = remote;
    static constexpr int kUnrevoked = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    for (Line const line : {Line::background, Line::learner, Line::probe}) {
        if (!pair(line).connect(remote.end_of(line), sends_from_[index_of(line)], kUnrevoked)) return false;
    }
    // The inbox says from which sequence number it wants to be written.
    RemoteEnd const inbox = remote.end_of(Line::log_in);
    return log_out_.connect(inbox, inbox.sends_from, IBV_ACCESS_LOCAL_WRITE);
}

}  // namespace mu
