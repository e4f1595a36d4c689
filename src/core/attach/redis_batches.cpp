// Batches: collected from the tap, put into records, decided; and what becomes of replies meanwhile.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "attach/redis_server.hpp"
#include "runtime/clock.hpp"

namespace mu::redis {
namespace {

constexpr std::size_t kLatenciesKept = 1U << 20U;
constexpr std::size_t kRecent = 1000;  // batches, of which INFO tells
// ns; a leader that cannot tell for so long is none. A thread may wait as long for a processor on a crowded machine
// (Settings::starved_limit) without that anybody else takes over.
constexpr std::int64_t kConfirmTimeout = 250'000'000;
constexpr std::string_view kSelect = "*2\r\n$6\r\nSELECT\r\n";

std::string_view text_of(std::span<std::byte const> bytes) noexcept {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

void append(OwnedBytes& to, std::string_view text) {
    auto const bytes = std::as_bytes(std::span(text));
    to.insert(to.end(), bytes.begin(), bytes.end());
}

std::string select_command(int database) {
    std::string const number = std::to_string(database);
    return std::string(kSelect) + "$" + std::to_string(number.size()) + "\r\n" + number + "\r\n";
}

// Reads "<mark><number>\r\n" at `at`, which moves behind it; negative if that is not what stands there.
long take_number(std::string_view text, std::size_t& at, char mark) noexcept {
    if (at >= text.size() || text[at] != mark) {
        return -1;
    }
    long value = 0;
    for (++at; at < text.size() && text[at] != '\r'; ++at) {
        value = value * 10 + (text[at] - '0');
    }
    at += 2;
    return value;
}

// Which database the last command of these effects goes to. Redis says SELECT only when it changes.
int database_after(std::string_view effects, int database) noexcept {
    std::size_t at = 0;
    while (at < effects.size()) {
        std::size_t const begin = at;
        bool const selects = effects.substr(begin).starts_with(kSelect);
        long const words = take_number(effects, at, '*');
        if (words < 0) {
            return database;
        }
        for (long i = 0; i < words; ++i) {
            long const length = take_number(effects, at, '$');
            if (length < 0) {
                return database;
            }
            if (selects && i == 1) {
                database = 0;
                for (char const digit : effects.substr(at, static_cast<std::size_t>(length))) {
                    database = database * 10 + (digit - '0');
                }
            }
            at += static_cast<std::size_t>(length) + 2;
        }
    }
    return database;
}

}  // namespace

bool Server::collects() noexcept {
    switch (role()) {
        case Role::leading:
            return true;
        case Role::following:
        case Role::joining:
            return false;  // they came from the log, or with another redis's data
        case Role::starting:
        case Role::doubting:
            // Redis changed its data by itself (a key expired, say): it is not what the batches make any more.
            ledger_.distrust();
            return false;
    }
    return false;
}

void Server::collect(std::span<std::byte const> effects) {
    if (batch_.empty()) {
        batch_.resize(sizeof(RecordHead));
        // A follower may come to this batch by way of a new connection, on which another database is selected.
        if (!text_of(effects).starts_with(kSelect)) {
            append(batch_, select_command(database_));
        }
    }
    batch_.insert(batch_.end(), effects.begin(), effects.end());
}

void Server::decide() {
    if (batch_.empty()) {
        return;
    }
    std::int64_t const began = monotonic_now();
    std::string_view const effects = text_of(std::span(batch_).subspan(sizeof(RecordHead)));
    database_ = database_after(effects, database_);
    bool const proves_tap = !accepting_ && effects.find("MU.TAP") != std::string_view::npos;
    ++batches_;
    Fate const fate = propose_batch();
    if (fate != Fate::decided) {
        doubt(fate);
        return;
    }
    batch_.clear();
    confirmed_ = true;  // deciding something is the strongest confirmation
    accepting_ = accepting_ || proves_tap;
    note_latency(began);
}

// In parts, if no slot takes it whole. A part's head stands for a moment over the end of the part before it.
Server::Fate Server::propose_batch() {
    std::size_t const most = mu_max_command(node_) - sizeof(RecordHead);
    std::size_t at = sizeof(RecordHead);
    for (std::uint64_t part = 0;; ++part) {
        std::size_t const length = std::min(most, batch_.size() - at);
        bool const last = at + length == batch_.size();
        RecordHead const head{last ? RecordKind::last_part : RecordKind::part, settings_.replica, reign_, batches_,
                              part};
        std::byte* const record = batch_.data() + at - sizeof head;
        std::array<std::byte, sizeof head> covered;
        std::memcpy(covered.data(), record, sizeof head);
        std::memcpy(record, &head, sizeof head);
        // Each part has the whole time: a large batch is no reason to give up as long as its parts are decided.
        mu_outcome const outcome = mu_execute(node_, record, sizeof head + length, settings_.timeout_ns, nullptr);
        std::memcpy(record, covered.data(), sizeof head);
        if (outcome != MU_OK) {
            api::Log(nullptr, "warning", "replica %u: a batch of %zu bytes is in doubt: %s", settings_.replica,
                     batch_.size(), mu_outcome_text(outcome));
            // Only a last part that is under way can still make the batch count.
            return last && outcome == MU_INDETERMINATE ? Fate::open : Fate::lost;
        }
        if (last) {
            return Fate::decided;
        }
        at += length;
    }
}

// Every reply of this pass may know of the batch: none of them leaves. Clients without a reply under way stay.
void Server::doubt(Fate fate) {
    fate_ = fate;
    blackout_ = true;
    accepting_ = false;
    lost_ = std::move(batch_);
    batch_ = OwnedBytes{};
    become(Role::doubting);
    leaderless_since_ = monotonic_now();
    break_backlogged();
    wake();
}

bool Server::may_reply() {
    if (blackout_) {
        return false;
    }
    if (role() != Role::leading || confirmed_) {
        return true;
    }
    if (!batch_.empty()) {
        // Redis sends replies though it has not made their effects durable: it does not do so in every pass.
        api::Log(nullptr, "warning", "replica %u: redis answers before its effects are decided; it is stopped from it",
                 settings_.replica);
        doubt(Fate::lost);
        return false;
    }
    confirmed_ = confirm();
    if (!confirmed_) {
        deposed_ = true;
        blackout_ = true;
        break_backlogged();
        wake();
    }
    return confirmed_;
}

bool Server::confirm() noexcept {
    std::uint64_t tenure = 0;
    return mu_confirm(node_, kConfirmTimeout, &tenure) == MU_OK && tenure == tenure_;
}

void Server::note_latency(std::int64_t began) noexcept {
    std::int64_t const took = std::min<std::int64_t>(monotonic_now() - began, UINT32_MAX);
    latencies_[latencies_noted_ % kLatenciesKept] = static_cast<std::uint32_t>(took);
    ++latencies_noted_;
}

Server::Quantiles Server::recent_latencies() const {
    std::size_t const count = std::min(latencies_noted_, kRecent);
    if (count == 0) {
        return {};
    }
    std::vector<std::uint32_t> recent;
    for (std::size_t i = latencies_noted_ - count; i < latencies_noted_; ++i) {
        recent.push_back(latencies_[i % kLatenciesKept]);
    }
    std::ranges::sort(recent);
    return {recent[(count - 1) / 2], recent[(count - 1) * 99 / 100]};
}

// The oldest first, one a line, in nanoseconds.
void Server::dump_latencies() {
    std::FILE* const file = std::fopen(settings_.dump.c_str(), "w");
    if (file == nullptr) {
        api::Log(nullptr, "warning", "replica %u: its latencies cannot be written to %s: %s; they are kept",
                 settings_.replica, settings_.dump.c_str(), std::strerror(errno));
        return;
    }
    std::size_t const count = std::min(latencies_noted_, kLatenciesKept);
    for (std::size_t i = latencies_noted_ - count; i < latencies_noted_; ++i) {
        std::fprintf(file, "%u\n", latencies_[i % kLatenciesKept]);
    }
    std::fclose(file);
    api::Log(nullptr, "notice", "replica %u wrote %zu latencies to %s", settings_.replica, count,
             settings_.dump.c_str());
}

}  // namespace mu::redis
