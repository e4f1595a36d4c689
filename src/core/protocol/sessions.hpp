// Sessions: a client that retries after an uncertain outcome has its command applied once.
//
// The table is part of the replicated state: it changes only by applying the log, travels in snapshots, and forgets
// (the least recently used client, when full) only by what the log says, so all replicas forget alike.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>

#include "common/bytes.hpp"
#include "protocol/commands.hpp"

namespace mu {

enum class ReplyStatus : std::uint32_t {
    ok = 0,
    failed = 1,           // the state machine refused the command, on every replica alike
    session_expired = 2,  // the table no longer knows this client: whether the command was applied is unknown
    session_stale = 3,    // not a later request than the last one, nor that one again
};

class Sessions {
public:
    enum class Verdict : std::uint8_t { fresh, repeated, expired, stale };

    explicit Sessions(std::uint64_t limit) : limit_(limit) {}

    // What to do with a request; `repeated` leaves the reply that was given before in last().
    [[nodiscard]] Verdict judge(SessionRequest const& request) {
        auto const found = clients_.find(request.client);
        std::uint64_t const number = request.number & ~kRetryBit;
        if (found == clients_.end()) {
            // A first request that is sent again may have been applied and forgotten, once anybody was forgotten.
            bool const forgotten = (request.number & kRetryBit) != 0 && forgotten_ != 0;
            return number == 1 && !forgotten ? Verdict::fresh : Verdict::expired;
        }
        Client& client = found->second;
        // The same number for the first time is another session's that calls itself the same: its command is another one.
        if (number == client.number && (request.number & kRetryBit) != 0) {
            last_ = &client;
            return Verdict::repeated;
        }
        return number > client.number ? Verdict::fresh : Verdict::stale;
    }
    [[nodiscard]] ReplyStatus last_status() const noexcept { return last_->status; }
    [[nodiscard]] OwnedBytes const& last_reply() const noexcept { return last_->reply; }

    void remember(SessionRequest const& request, ReplyStatus status, OwnedBytes const& reply) {
        auto const [at, fresh] = clients_.try_emplace(request.client);
        if (!fresh) {
            order_.erase(at->second.used);
        }
        at->second = Client{request.number & ~kRetryBit, status, reply, ++clock_};
        order_[clock_] = request.client;
        if (clients_.size() > limit_) {
            clients_.erase(order_.begin()->second);
            order_.erase(order_.begin());
            ++forgotten_;
        }
    }

    void save(ByteWriter& out) const {
        out.put(forgotten_);
        out.put(static_cast<std::uint64_t>(order_.size()));
        for (auto const& [used, id] : order_) {
            Client const& client = clients_.at(id);
            out.put(id);
            out.put(client.number);
            out.put(client.status);
            out.sized(client.reply);
        }
    }
    void load(ByteReader& in) {
        clients_.clear();
        order_.clear();
        auto const forgotten = in.take<std::uint64_t>();
        auto const count = in.take<std::uint64_t>();
        for (std::uint64_t i = 0; i < count && in.sound(); ++i) {
            auto const id = in.take<std::uint64_t>();
            SessionRequest const request{id, in.take<std::uint64_t>()};
            auto const status = in.take<ReplyStatus>();
            std::span<std::byte const> const reply = in.sized();
            remember(request, status, OwnedBytes(reply.begin(), reply.end()));
        }
        forgotten_ = forgotten;
    }
    [[nodiscard]] std::size_t size() const noexcept { return clients_.size(); }
    [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }

private:
    struct Client {
        std::uint64_t number = 0;
        ReplyStatus status = ReplyStatus::ok;
        OwnedBytes reply;
        std::uint64_t used = 0;
    };
    std::uint64_t limit_;
    std::unordered_map<std::uint64_t, Client> clients_;
    std::map<std::uint64_t, std::uint64_t> order_;  // last use -> client
    std::uint64_t clock_ = 0;
    std::uint64_t forgotten_ = 0;  // clients, ever
    Client* last_ = nullptr;
};

}  // namespace mu
