// The fabric: how one replica reaches the memory of another. It knows bytes, regions and tenures, never slots or
// leaders. Nothing here blocks and nothing throws (only construction may).
//
// The contract (docs: DESIGN F1–F6; tests/fabric holds every fabric to it):
//   F1  a log write that completes with success is in the target's memory, and its tenure held the permission there
//       when it landed;
//   F2  once permit(t) has completed, no write of any other tenure changes what log() shows, however late it lands;
//   F3  writes of one channel to one peer land in posting order; after one log write fails all later ones fail until
//       the next begin_tenure();
//   F4  aligned 8-byte words are read and written whole; a write's first word changes before any other byte of it and
//       its last word after every other byte (fabrics that cannot promise this say so: ordered_writes() is false);
//   F5  an operation on a dead peer completes with an error within a stated time;
//   F6  a peer that is not a member of the cluster is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/types.hpp"

namespace mu {

enum class Region : std::uint8_t {
    log,         // writable by the permitted tenure only
    background,  // readable by all; each peer writes only its own cells
};

// Each plane has a channel of its own, so that two threads never share one. The learner channel belongs to the
// replication plane too; it is apart because permissions never touch it.
enum class Plane : std::uint8_t { replication, background, learner };
inline constexpr std::size_t kPlanes = 3;

// The three parts of one write, laid out one after the other; `tail` starts at the next multiple of 8 bytes after
// `body`. The bytes may be reused as soon as write() returns.
struct Gather {
    std::span<std::byte const> head;
    std::span<std::byte const> body = {};
    std::span<std::byte const> tail = {};
};

enum class Operation : std::uint8_t { write, read, confirm };

// A finished operation. A success of a write with some id also stands for all earlier writes of the same channel to
// the same peer.
struct Completion {
    ReplicaId peer = kNobody;
    Operation operation = Operation::write;
    bool success = false;
    std::uint64_t id = 0;
};

// One plane's way to the peers' memory. Used by one thread at a time. "Peer" includes oneself: a replica is an
// acceptor like the others.
class Channel {
public:
    virtual ~Channel() = default;

    // Connects to the present incarnation of `peer`, leaving an earlier one behind; false if it cannot be reached.
    virtual bool connect(ReplicaId peer) noexcept = 0;
    // The incarnation this channel is connected to; 0 if none.
    [[nodiscard]] virtual Incarnation connected(ReplicaId peer) const noexcept = 0;

    // Log writes and log reads to `peer` from here on are made as `tenure`, by the `key` of its grant.
    virtual void begin_tenure(ReplicaId peer, Tenure const& tenure, std::uint64_t key) noexcept = 0;

    virtual void write(ReplicaId to, Region region, std::uint64_t at, Gather const& bytes,
                       std::uint64_t id) noexcept = 0;
    virtual void read(ReplicaId from, Region region, std::uint64_t at, std::span<std::byte> into,
                      std::uint64_t id) noexcept = 0;
    // Completes with success only if this channel's tenure still holds the permission at `to` (linearizable reads).
    virtual void confirm(ReplicaId to, std::uint64_t id) noexcept = 0;

    // Hands over finished operations, at most completions.size(); returns how many.
    virtual std::size_t poll(std::span<Completion> completions) noexcept = 0;

    // Wakes a plane of `peer` if it sleeps. Only a hint: every plane also wakes by itself.
    virtual void ring(ReplicaId peer, Plane plane) noexcept = 0;
    // For media that finish a write at once: the same log write to each of `to`, stored and judged (F1) before this
    // returns. The result is the set of those where it succeeded, bit by replica id. kNotAtOnce: this fabric completes
    // by poll() only, or still has something to hand over; then nothing was written.
    static constexpr std::uint32_t kNotAtOnce = ~0U;
    [[nodiscard]] virtual std::uint32_t write_at_once(std::span<ReplicaId const> to, std::uint64_t at,
                                                      Gather const& bytes) noexcept {
        (void)to, (void)at, (void)bytes;
        return kNotAtOnce;
    }
};

// One's own log as its present writer leaves it. `proposal` names the tenure that may write; bytes of offsets below
// `floor` were not carried over. A reader copies, then asks Fabric::same_log(view): if not, it looks again.
struct LogView {
    std::span<std::byte const> bytes;
    Proposal proposal = kNoProposal;
    Offset floor = 0;
};

// Says which part of a log must survive a change of writer. The fabric has already shut out the old writer's
// successes when it asks; it copies [from, to) of the ring and asks with verify() how much of that copy is sound.
class Keeper {
public:
    struct Range {
        Offset from = 0;
        Offset to = 0;
    };
    virtual ~Keeper() = default;
    // The part of `log` (a ring of log.size() bytes) to be kept.
    [[nodiscard]] virtual Range keep(std::span<std::byte const> log) noexcept = 0;
    // After the copy: the end of the prefix of the range that nothing had begun to overwrite in `log` before it was
    // in `copy` (the new ring, at the same places).
    [[nodiscard]] virtual Offset verify(std::span<std::byte const> log, std::span<std::byte const> copy,
                                        Range const& range) noexcept = 0;
};

struct PeerState {
    Incarnation incarnation = 0;  // the present one; 0 if it has never been seen
    bool gone = false;            // the fabric vouches that this incarnation has ended
};

class Fabric {
public:
    virtual ~Fabric() = default;

    [[nodiscard]] virtual Channel& channel(Plane plane) noexcept = 0;

    // Own memory.
    [[nodiscard]] virtual std::span<std::byte> background() noexcept = 0;
    [[nodiscard]] virtual LogView log() noexcept = 0;
    [[nodiscard]] virtual bool same_log(LogView const& view) noexcept = 0;
    // The ring to which this replica's own channel writes as the present tenure; only the replication plane reads it.
    [[nodiscard]] virtual std::span<std::byte const> own_log() noexcept = 0;

    // The promise: the proposal below which nobody is granted anything any more.
    [[nodiscard]] virtual Proposal permission() const noexcept = 0;
    // Makes `tenure` the only writer of one's own log and returns the key that its writer needs. The caller has
    // checked that tenure.proposal is not below permission(). Equal: the log stays as it is, and the key works; on
    // some fabrics it is another one, and an earlier one works no more.
    [[nodiscard]] virtual std::uint64_t permit(Tenure const& tenure, Keeper& keeper) noexcept = 0;

    [[nodiscard]] virtual PeerState peer(ReplicaId peer) noexcept = 0;
    // Whether somebody who knows says that the present incarnation of `peer` is neither stopped nor ended: its silence
    // then means that it waits for a processor, or hangs. False if nobody can tell. May take tens of microseconds.
    [[nodiscard]] virtual bool is_runnable(ReplicaId peer) noexcept {
        (void)peer;
        return false;
    }
    [[nodiscard]] virtual bool ordered_writes() const noexcept = 0;
};

}  // namespace mu
