// The link: feeds decided batches to the local redis, which takes it for the leader of an ordinary replication.
//
// Only a replica's link has redis treat every key as the leader did, its time to live above all. The link listens on a
// port of the loopback that it accepts from its own process only, answers the handshake, and lets redis "continue"
// where it is: it never sends a data set. Behind each group of batches comes `MU.AT <number>`, which redis executes in
// its turn: then, and only then, the batches before it are known to be executed here. Redis passes the same bytes on to
// replicas of its own, so a replica that joins by way of it learns from MU.AT where it stands.
//
// Invariant: nothing is sent before open(), or after shut(); and never over a connection that began before open().
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "attach/redis_ledger.hpp"

namespace mu::redis {

class Link {
public:
    explicit Link(Ledger& ledger) : ledger_(ledger) {}
    ~Link() { stop(); }
    Link(Link const&) = delete;
    Link& operator=(Link const&) = delete;

    // Listens; returns what went wrong, or nothing.
    [[nodiscard]] std::string start();
    void stop() noexcept;
    [[nodiscard]] int port() const noexcept { return port_; }

    // Redis is about to connect, or has: feed it what comes after batch `number`.
    void open(std::uint64_t number);
    // Redis leads, joins, or is in doubt: nothing may reach it.
    void shut();
    // There may be new batches. From any thread; the link's own sends them.
    void pump();
    // A MU.AT without new batches: for those that listen to redis's own stream, and against its time-out.
    void mark();

    // Redis is connected, and is being fed.
    [[nodiscard]] bool feeds() const noexcept { return feeding_.load(std::memory_order_acquire); }
    // A connection broke while redis had been sent what it had not confirmed: where it stands is not known.
    [[nodiscard]] std::uint64_t sent() {
        std::lock_guard const lock(mutex_);
        return sent_;
    }
    [[nodiscard]] bool take_lost() noexcept { return lost_.exchange(false, std::memory_order_acq_rel); }

private:
    void run();
    void accept_one();
    void receive();
    void answer(std::string const& line);
    void begin_feeding();
    void disconnect();
    // Sends what there is, as far as the connection takes it; whether there was anything.
    bool send_all();
    void send_for_thread();
    [[nodiscard]] bool become_idle();
    void append_mark();
    void wake() const noexcept;
    [[nodiscard]] bool is_own_process(int connection) const;

    Ledger& ledger_;
    int listener_ = -1;
    int waker_ = -1;
    int port_ = 0;
    std::thread thread_;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> feeding_{false};
    std::atomic<bool> lost_{false};
    std::atomic<bool> idle_{false};  // the thread sleeps until it is woken

    std::mutex mutex_;  // of all below
    int connection_ = -1;
    bool open_ = false;
    bool asked_ = false;  // redis waits for the answer to PSYNC
    std::string received_;
    OwnedBytes out_;
    std::size_t sent_of_out_ = 0;
    std::uint64_t sent_ = 0;  // the last batch that was put into out_
};

}  // namespace mu::redis
