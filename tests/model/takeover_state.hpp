// What a state of the takeover's model holds. Every byte of it counts: states are kept, hashed and compared whole.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mu::model {

using Byte = std::uint8_t;

template <class Number>
[[nodiscard]] constexpr Byte byte(Number number) noexcept {
    return static_cast<Byte>(number);
}

// What a slot carries. Records name a replica: for admissions with its incarnation, for membership with what happens.
struct Kind {
    static constexpr Byte seal = 0;
    static constexpr Byte client = 1;
    static constexpr Byte first_record = 2;
    static constexpr Byte add = 0;     // membership: variant of a record
    static constexpr Byte remove = 1;  // admissions: the variant is the incarnation - 1

    [[nodiscard]] static constexpr Byte record(int replica, int variant) noexcept {
        return byte(first_record + 2 * replica + variant);
    }
    [[nodiscard]] static constexpr bool is_record(Byte kind) noexcept { return kind >= first_record; }
    [[nodiscard]] static constexpr int replica(Byte kind) noexcept { return (kind - first_record) / 2; }
    [[nodiscard]] static constexpr int variant(Byte kind) noexcept { return (kind - first_record) % 2; }
};

// One slot of a log: all zero is "nothing valid here" (never written, or torn). `born` and kind are the value; born is
// the proposal under which it was first appended, which differs from `proposal` only by mistake.
class Slot {
public:
    constexpr Slot() = default;
    constexpr Slot(int proposal, int previous, int born, int commit, int kind) noexcept
        : bits_(static_cast<std::uint16_t>(proposal | previous << 3 | born << 6 | commit << 9 | kind << 12)) {}

    [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
    [[nodiscard]] constexpr Byte proposal() const noexcept { return bits_ & 7U; }
    [[nodiscard]] constexpr Byte previous() const noexcept { return (bits_ >> 3U) & 7U; }
    [[nodiscard]] constexpr Byte born() const noexcept { return (bits_ >> 6U) & 7U; }
    [[nodiscard]] constexpr Byte commit() const noexcept { return (bits_ >> 9U) & 7U; }
    [[nodiscard]] constexpr Byte kind() const noexcept { return byte(bits_ >> 12U); }
    [[nodiscard]] constexpr std::uint16_t value() const noexcept { return bits_ & 0xf1c0U; }
    [[nodiscard]] constexpr std::uint16_t bits() const noexcept { return bits_; }
    [[nodiscard]] constexpr Slot with_kind(int kind) const noexcept {
        return {proposal(), previous(), born(), commit(), kind};
    }
    constexpr bool operator==(Slot const&) const = default;

private:
    std::uint16_t bits_ = 0;
};

enum class Follower : Byte {
    none,
    read_too_early,  // by mistake: read before it granted
    granted,
    read,    // known to the takeover
    open,    // written to
    closed,  // a write to it failed
};

// What a tenure knows of one replica.
struct Target {
    Follower stage = Follower::none;
    Byte incarnation = 0;  // that granted
    Byte stored = 0;       // slots that have landed there
    Byte accepted = 0;     // slots whose success the leader knows
};

enum class Stage : Byte {
    idle,     // not begun
    asking,   // permission, catch up
    leading,  // adopted; sealed or not
    over,     // nobody counts for it any more, but what it has posted may still land
    dead,     // and nothing of it can land
};

template <int kReplicas, int kTenures, int kCells>
struct TakeoverState {
    static constexpr int replicas_most = kReplicas;
    static constexpr int tenures_most = kTenures;
    static constexpr int cells_most = kCells;

    struct Replica {
        std::array<Slot, kCells> log{};
        Byte word = 0;  // permission: the highest proposal granted
        Byte incarnation = 0;
        Byte admitted = 1;
        Byte confirmed = 0;                      // reads: a bit for each tenure whose present round it has confirmed
        std::array<Target, kTenures> seen_by{};  // by tenure
    };

    // A tenure's proposal is its place in the array + 1. Until it has adopted, `chain` is the best one read so far.
    struct Tenure {
        std::array<Slot, kCells> chain{};
        Stage stage = Stage::idle;
        Byte owner = 0;
        Byte tail = 0;     // slots in the chain
        Byte seal = 0;     // where its seal is
        Byte decided = 0;  // slots known to be decided
        Byte applied = 0;
        Byte reading = 0;      // 1: a read has begun; 2: it was answered
        Byte noted = 0;        // R
        Byte owed = 0;         // what had been decided anywhere when the read began
        Byte in_mid_step = 0;  // by mistake: own store begun, not finished
    };

    std::array<Replica, kReplicas> replicas{};
    std::array<Tenure, kTenures> tenures{};
    std::array<std::uint16_t, kCells> ledger{};  // the values that were decided, 0 if none; no replica knows it
    Byte rejoins_left = 0;
    Byte restarts_left = 0;
    Byte changes_left = 0;
    Byte violation = 0;
};

}  // namespace mu::model
