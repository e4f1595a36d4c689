// The memory of one life of one simulated replica: its background region, its permission word, and the rings in
// which log writes land.
//
// Revocation::by_area is what shm does. Each writer has an area (a ring) of its own, and each grant a key of its own.
// permit() moves the word, carries the live part of the log over into the new writer's area, and only then makes that
// area live. A late write of an old tenure finds its area if no later grant has taken that over, and nothing
// otherwise; it never succeeds, and never changes what log() shows.
// Revocation::by_refusal is what verbs and tcp do: one ring, and a write of a tenure that has lost the permission has
// no effect. The ring survives a change of writer as a whole, so the keeper is not asked and the floor stays 0.
//
// Invariant: the word only grows, and exactly one key is that of the word.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "common/types.hpp"
#include "fabric/fabric.hpp"

namespace mu {

enum class Revocation : std::uint8_t { by_area, by_refusal };

// Moments inside permit() at which other replicas' operations may land (by_area only: by_refusal has no inside).
enum class PermitStage : std::uint8_t {
    word_set,     // nothing copied yet
    half_copied,  // the first half of the kept range
    copied,       // all of it; verify() is next
    verified,     // verify() has answered; the old ring is still live
};

class SimMemory {
public:
    using Interruption = std::function<void(PermitStage)>;

    SimMemory(ReplicaId self, Revocation revocation, std::size_t log_bytes, std::size_t background_bytes);

    [[nodiscard]] std::span<std::byte> background() noexcept { return background_; }
    [[nodiscard]] LogView log() const noexcept { return {areas_[live_.area].ring, live_.proposal, live_.floor}; }
    [[nodiscard]] bool same_log(LogView const& view) const noexcept;
    [[nodiscard]] std::span<std::byte const> own_log() const noexcept { return areas_[area_of(self_)].ring; }
    [[nodiscard]] std::size_t log_bytes() const noexcept { return areas_[kFirstArea].ring.size(); }

    [[nodiscard]] Proposal permission() const noexcept { return word_; }
    std::uint64_t permit(Tenure const& tenure, Keeper& keeper, Interruption const& interrupt);

    // Whether `tenure` holds the permission by `key`: what a landed write is judged by (F1).
    [[nodiscard]] bool permits(Tenure const& tenure, std::uint64_t key) const noexcept {
        return tenure.proposal != kNoProposal && tenure.proposal == word_ && key == key_;
    }
    // Where a log write made by `key` lands; empty if it has no effect. (By refusal each grant takes over the only ring,
    // so that the keys of all earlier ones land nowhere.)
    [[nodiscard]] std::span<std::byte> landing(ReplicaId writer, std::uint64_t key) noexcept;
    // The ring that a log read sees: the one its key names, or the live one if it has none; empty if there is none.
    [[nodiscard]] std::span<std::byte const> readable(ReplicaId reader, std::uint64_t key) const noexcept;
    // Changes whenever another ring becomes the live one.
    [[nodiscard]] std::uint64_t live_key() const noexcept { return live_.key; }

private:
    static constexpr std::size_t kFirstArea = 0;  // by_refusal: the only one; by_area: the log before any grant

    struct Area {
        std::vector<std::byte> ring;  // by_area: empty until its writer's first grant
        std::uint64_t key = 0;        // of the latest grant that names this area
    };
    struct Live {
        std::size_t area = kFirstArea;
        Proposal proposal = kNoProposal;
        Offset floor = 0;
        std::uint64_t key = 0;
    };

    [[nodiscard]] std::size_t area_of(ReplicaId writer) const noexcept {
        return revocation_ == Revocation::by_area ? writer : kFirstArea;
    }
    // Copies the kept part of the live ring into `area` and ends it with a mark; returns the new floor.
    Offset carry_over(std::size_t area, Keeper& keeper, Interruption const& interrupt);
    void copy(std::size_t from_area, std::size_t to_area, Offset from, Offset to) noexcept;

    ReplicaId self_;
    Revocation revocation_;
    std::vector<std::byte> background_;
    std::array<Area, kMaxReplicas> areas_;
    Proposal word_ = kNoProposal;
    std::uint64_t key_ = 0;
    std::uint64_t grants_ = 0;
    Tenure holder_;
    Live live_;
    bool permitting_ = false;
};

}  // namespace mu
