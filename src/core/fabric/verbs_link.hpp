// A connection between this replica and one peer, made once: if anything of it breaks, another one takes its place.
//
// Replication writes have a queue pair for each direction, so that a deposed leader's refused write does not break what
// the present leader sends the other way. Everything else goes over queue pairs that are never revoked: one for each
// thread that posts, because a queue pair's completions arrive in one place.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "common/types.hpp"
#include "fabric/verbs_device.hpp"

namespace mu {

// The queue pairs of one end of a link.
enum class Line : std::uint8_t {
    log_out,     // one's own log writes: ends in the peer's inbox
    log_in,      // the peer's log writes: one's own inbox (VerbsAcceptor has it)
    background,  // never revoked: the background plane's
    learner,     // never revoked: the replication plane's
    probe,       // never revoked: whether the peer answers at all
};
inline constexpr std::size_t kLines = 5;
[[nodiscard]] constexpr std::size_t index_of(Line line) noexcept { return static_cast<std::size_t>(line); }
// Where a line ends at the other side.
[[nodiscard]] constexpr Line counterpart_of(Line line) noexcept {
    return line == Line::log_out ? Line::log_in : line == Line::log_in ? Line::log_out : line;
}

// What one end tells the other through the registry. Words only: it travels as hexadecimal digits.
struct VerbsCard {
    std::uint64_t layout = 0;  // of this structure and of what it points to
    std::uint64_t incarnation = 0;
    std::uint64_t attempt = 0;  // grows with each set of queue pairs that this end makes for this peer
    std::uint64_t seen_incarnation = 0;
    std::uint64_t seen_attempt = 0;  // the peer's card that this one has taken in
    std::uint64_t connected = 0;     // 1: this end is connected to the queue pairs of that card
    std::uint64_t gid[2] = {};
    std::uint64_t lid = 0;
    std::uint64_t mtu = 0;  // as ibv_mtu
    std::uint64_t queue_pairs[kLines] = {};
    std::uint64_t sends_from[kLines] = {};
    std::uint64_t background_at = 0;
    std::uint64_t background_key = 0;
    std::uint64_t background_bytes = 0;
    std::uint64_t log_at = 0;
    std::uint64_t log_read_key = 0;
    std::uint64_t ring_bytes = 0;

    [[nodiscard]] std::string text(std::uint64_t cluster_key) const;
    // Nothing if it is not a card, or not one of a member of this cluster.
    [[nodiscard]] static std::optional<VerbsCard> parse(std::string const& text, std::uint64_t cluster_key);
    [[nodiscard]] RemoteEnd end_of(Line line) const noexcept;
};
inline constexpr std::uint64_t kVerbsLayout = 2;  // raise it with every change of VerbsCard or of what is behind it

struct VerbsCompletions {
    explicit VerbsCompletions(VerbsDevice const& device)
        : replication(device, kEntries),
          background(device, kEntries),
          learner(device, kEntries),
          probe(device, kEntries) {}
    static constexpr int kEntries = 4096;  // more than all queue pairs together can have outstanding

    CompletionQueue replication;
    CompletionQueue background;
    CompletionQueue learner;
    CompletionQueue probe;
};

class VerbsLink {
public:
    // Throws FabricError.
    VerbsLink(VerbsDevice const& device, VerbsCompletions const& completions);

    // Fills in the queue pairs and where they begin, but for the inbox.
    void describe(VerbsCard& card) const noexcept;
    [[nodiscard]] bool connect(VerbsCard const& remote) noexcept;

    [[nodiscard]] QueuePair& pair(Line line) noexcept;
    [[nodiscard]] VerbsCard const& remote() const noexcept { return remote_; }
    [[nodiscard]] Incarnation incarnation() const noexcept { return remote_.incarnation; }
    // Something that is never revoked has failed: the peer is dead or cannot be reached.
    [[nodiscard]] bool broken() const noexcept { return broken_.load(std::memory_order_acquire); }
    void break_off() noexcept { broken_.store(true, std::memory_order_release); }

private:
    VerbsCard remote_;
    std::atomic<bool> broken_ = false;
    QueuePair log_out_;
    QueuePair background_;
    QueuePair learner_;
    QueuePair probe_;
    std::array<std::uint32_t, kLines> sends_from_{};
};

}  // namespace mu
