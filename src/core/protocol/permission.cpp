#include "protocol/permission.hpp"

#include <algorithm>

#include "common/assert.hpp"

namespace mu {

// A try-lock between the two planes of one replica.
class Permission::Turn {
public:
    explicit Turn(std::atomic_flag& flag) noexcept
        : flag_(flag), mine_(!flag.test_and_set(std::memory_order_acquire)) {}
    ~Turn() {
        if (mine_) {
            flag_.clear(std::memory_order_release);
        }
    }
    Turn(Turn const&) = delete;
    Turn& operator=(Turn const&) = delete;
    [[nodiscard]] bool mine() const noexcept { return mine_; }

private:
    std::atomic_flag& flag_;
    bool mine_;
};

Permission::Permission(Fabric& fabric, LogFormat const& format, Settings const& settings, Shared& shared,
                       Incarnation incarnation) noexcept
    : fabric_(fabric),
      format_(format),
      settings_(settings),
      shared_(shared),
      incarnation_(incarnation),
      region_(*reinterpret_cast<BackgroundRegion*>(fabric.background().data())) {}

void Permission::step(Nanoseconds now) noexcept {
    for (ReplicaId const member : settings_.members) {
        std::optional<Request> const request = load_cell(region_.peers[member].request);
        if (member == settings_.self || !request) {
            continue;
        }
        shared_.saw(request->proposal);
        Request const& answered = answered_[member];
        if (request->proposal == answered.proposal && request->nonce == answered.nonce &&
            request->incarnation == answered.incarnation) {
            continue;
        }
        Turn const turn(turn_);
        if (!turn.mine()) {
            return;
        }
        if (std::optional<Grant> const grant = decide(member, *request, now)) {
            answered_[member] = *request;
            answer(member, *grant);
        }
    }
}

std::optional<Grant> Permission::grant_self(Request const& request, Nanoseconds now) noexcept {
    Turn const turn(turn_);
    return turn.mine() ? decide(settings_.self, request, now) : std::nullopt;
}

std::optional<Grant> Permission::decide(ReplicaId requester, Request const& request, Nanoseconds now) noexcept {
    // A replica that was not brought up has no memory of its promises: it answers nobody.
    if (load_word(region_.own.admitted) != incarnation_) {
        return std::nullopt;
    }
    bool const self = requester == settings_.self;
    // The present incarnation is the proof that earlier ones have ended; an earlier one's request is void.
    if (proposer_of(request.proposal) != requester ||
        (!self && request.incarnation != fabric_.peer(requester).incarnation)) {
        return std::nullopt;
    }
    Proposal const word = fabric_.permission();
    // A replica that forgot what it once asked for may choose the same proposal again: that is another tenure.
    bool const taken = request.proposal == word && holder_ != Tenure{requester, request.incarnation, word};
    if (request.proposal < word || taken) {
        return refuse(request);
    }
    if (request.proposal > word && writer_keeps(requester, now)) {
        return std::nullopt;
    }
    return accept(requester, request, now);
}

bool Permission::writer_keeps(ReplicaId requester, Nanoseconds now) const noexcept {
    ReplicaId const writer = proposer_of(fabric_.permission());
    if (writer == kNobody || writer == requester || now - granted_at_ >= settings_.minimum_hold) {
        return false;
    }
    return writer == settings_.self ? !shared_.paused.load(std::memory_order_acquire) : shared_.is_alive(writer);
}

Grant Permission::refuse(Request const& request) const noexcept {
    Grant grant;
    grant.proposal = request.proposal;
    grant.nonce = request.nonce;
    grant.word = std::max(fabric_.permission(), request.proposal + 1);
    grant.incarnation = incarnation_;
    return grant;
}

Grant Permission::accept(ReplicaId requester, Request const& request, Nanoseconds now) noexcept {
    if (request.proposal > fabric_.permission()) {
        granted_at_ = now;
    }
    Grant grant;
    grant.proposal = request.proposal;
    grant.nonce = request.nonce;
    holder_ = Tenure{requester, request.incarnation, request.proposal};
    grant.key = fabric_.permit(holder_, *this);
    grant.word = fabric_.permission();
    grant.incarnation = incarnation_;
    // Only now is the log as the requester will find it: nobody else can change it any more.
    LogView const view = fabric_.log();
    grant.from = applied();
    MU_ASSERT(grant.word == request.proposal && view.proposal == request.proposal);
    MU_ASSERT(grant.from.offset >= view.floor);
    grant.end = format_.chain_end(view.bytes, grant.from);
    return grant;
}

void Permission::answer(ReplicaId requester, Grant const& grant) noexcept {
    outgoing_[requester] = Checked<Grant>::of(grant);
    Channel& channel = fabric_.channel(Plane::background);
    auto const bytes = std::as_bytes(std::span(&outgoing_[requester], 1));
    channel.write(requester, Region::background, peer_cell_at(settings_.self, &PeerCells::grant), {bytes}, 0);
    channel.ring(requester, Plane::replication);
}

bool Permission::admit(Tenure const& leader) noexcept {
    Turn const turn(turn_);
    if (!turn.mine()) {
        return false;
    }
    if (leader.proposal > fabric_.permission()) {
        holder_ = leader;
        static_cast<void>(fabric_.permit(leader, *this));
    }
    store_word(region_.own.admitted, incarnation_);
    return true;
}

Position Permission::applied() const noexcept {
    // The replication plane of this same replica writes these cells alternately: one of them is always whole.
    std::optional<Position> position = load_position(region_.own.applied);
    while (!position) {
        position = load_position(region_.own.applied);
    }
    return *position;
}

Keeper::Range Permission::keep(std::span<std::byte const> log) noexcept {
    Position const from = applied();
    return {from.offset, log.empty() ? from.offset : format_.chain_end(log, from).offset};
}

Offset Permission::verify(std::span<std::byte const> log, std::span<std::byte const> copy,
                          Range const& range) noexcept {
    return log.empty() ? range.to : format_.unchanged_until(log, copy, range.from, range.to);
}

}  // namespace mu
