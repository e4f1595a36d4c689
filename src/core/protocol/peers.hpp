// What one plane last read of its peers' own cells.
#pragma once

#include <array>

#include "fabric/fabric.hpp"
#include "protocol/regions.hpp"

namespace mu {

class PeerReader {
public:
    explicit PeerReader(Channel& channel) noexcept : channel_(channel) {}

    // Asks for a fresh copy, unless one is already on its way.
    void refresh(ReplicaId peer) noexcept {
        View& view = views_[peer];
        if (!view.outstanding) {
            view.outstanding = true;
            auto* const bytes = reinterpret_cast<std::byte*>(&view.arriving);
            channel_.read(peer, Region::background, offsetof(BackgroundRegion, own), {bytes, sizeof(OwnCells)}, peer);
        }
    }
    // To be called with every completed read of the channel.
    void completed(Completion const& completion) noexcept {
        View& view = views_[completion.peer];
        bool const wanted = !view.stale;
        view.outstanding = false;
        view.stale = false;
        ++view.answers;
        if (completion.success && wanted) {
            view.present = view.arriving;
        }
    }
    // Forgets an earlier incarnation. A read of it that is still on its way has to end before the next one begins:
    // both arrive in the same place.
    void reset(ReplicaId peer) noexcept {
        views_[peer].present = OwnCells{};
        views_[peer].stale = views_[peer].outstanding;
    }

    // What is known of another incarnation than the present one is of no use any more.
    void expect(ReplicaId peer, Incarnation present) noexcept {
        Incarnation const known = views_[peer].present.incarnation;
        if (known != 0 && known != present) {
            reset(peer);
        }
    }

    [[nodiscard]] OwnCells const& view(ReplicaId peer) const noexcept { return views_[peer].present; }
    [[nodiscard]] std::uint64_t answers(ReplicaId peer) const noexcept { return views_[peer].answers; }
    // 0 while nothing trustworthy has been read.
    [[nodiscard]] Offset applied(ReplicaId peer) const noexcept {
        auto const position = load_position(views_[peer].present.applied);
        return position ? position->offset : 0;
    }

private:
    struct View {
        OwnCells present;
        OwnCells arriving;
        bool outstanding = false;
        bool stale = false;  // what is on its way is of an earlier incarnation
        std::uint64_t answers = 0;
    };
    Channel& channel_;
    std::array<View, kMaxReplicas> views_{};
};

}  // namespace mu
