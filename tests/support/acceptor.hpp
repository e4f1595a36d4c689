// Replica 1 of three as an acceptor alone: its permission, over a sim world in which everything lands at once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fabric/sim.hpp"
#include "protocol/permission.hpp"
#include "support/slots.hpp"

namespace mu::test {

class Acceptor {
public:
    Acceptor()
        : world({.replicas = 3, .log_bytes = 4096, .background_bytes = sizeof(BackgroundRegion)}),
          permission(fabric(), format, settings, shared, world.incarnation(1)) {
        store_position(region().own.applied, Position{});
        region().own.admitted = world.incarnation(1);
        for (ReplicaId const peer : {2U, 3U}) {
            static_cast<void>(fabric().channel(Plane::background).connect(peer));
        }
    }

    [[nodiscard]] SimFabric& fabric() { return world.fabric(1); }
    [[nodiscard]] BackgroundRegion& region(ReplicaId replica = 1) {
        return *reinterpret_cast<BackgroundRegion*>(world.fabric(replica).background().data());
    }
    [[nodiscard]] Proposal word() { return fabric().permission(); }

    void post(ReplicaId requester, Proposal proposal, std::uint64_t nonce = 1) {
        store_cell(region().peers[requester].request, Request{proposal, world.incarnation(requester), nonce});
    }
    void step(Nanoseconds now = 0) { permission.step(now); }
    // What was answered to the requester's latest request, if it was.
    [[nodiscard]] std::optional<Grant> answer_to(ReplicaId requester) {
        std::optional<Request> const request = load_cell(region().peers[requester].request);
        std::optional<Grant> const grant = load_cell(region(requester).peers[1].grant);
        bool const same = request && grant && grant->proposal == request->proposal && grant->nonce == request->nonce;
        return same ? grant : std::nullopt;
    }
    std::optional<Grant> ask(ReplicaId requester, Proposal proposal, std::uint64_t nonce = 1, Nanoseconds now = 0) {
        static_cast<void>(fabric().channel(Plane::background).connect(requester));
        post(requester, proposal, nonce);
        step(now);
        return answer_to(requester);
    }
    void forget_answer(ReplicaId requester) { region(requester).peers[1].grant = {}; }

    // Slots as an earlier leader left them in this replica's log; returns where they end.
    Position accept(std::vector<std::string> const& values) {
        Position at;
        auto* const ring = const_cast<std::byte*>(fabric().log().bytes.data());
        for (std::string const& value : values) {
            Sealed const slot = seal(format, at, make_proposal(1, 3), value);
            std::ranges::copy(slot.bytes, ring + format.place(at.offset));
            at = slot.after();
        }
        return at;
    }

    SimWorld world;
    LogFormat format{kKey, 4096, Integrity::stamp};
    Settings settings{.self = 1, .members = {1, 2, 3}, .cluster_key = kKey};
    Shared shared;
    Permission permission;
};

}  // namespace mu::test
