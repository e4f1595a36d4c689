#include "attach/redis_transactions.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mu::redis {
namespace {

enum class Transaction : std::uint8_t { none, open, overtaken };

std::array<std::atomic<Transaction>, 1U << 17U> transactions{};

bool is_tracked(int descriptor) noexcept {
    return descriptor >= 0 && static_cast<std::size_t>(descriptor) < transactions.size();
}

void set(int descriptor, Transaction state) noexcept {
    transactions[static_cast<std::size_t>(descriptor)].store(state, std::memory_order_relaxed);
}

Transaction get(int descriptor) noexcept {
    return transactions[static_cast<std::size_t>(descriptor)].load(std::memory_order_relaxed);
}

}  // namespace

void transaction_begins(int descriptor) noexcept {
    if (is_tracked(descriptor)) {
        set(descriptor, Transaction::open);
        return;
    }
    for (auto& each : transactions) {
        each.store(Transaction::open, std::memory_order_relaxed);
    }
}

void transaction_ends(int descriptor) noexcept {
    if (is_tracked(descriptor)) {
        set(descriptor, Transaction::none);
    }
}

bool may_be_in_transaction(int descriptor) noexcept {
    return !is_tracked(descriptor) || get(descriptor) != Transaction::none;
}

void leadership_ends() noexcept {
    for (auto& each : transactions) {
        if (each.load(std::memory_order_relaxed) == Transaction::open) {
            each.store(Transaction::overtaken, std::memory_order_relaxed);
        }
    }
}

bool is_overtaken(int descriptor) noexcept {
    return is_tracked(descriptor) && get(descriptor) == Transaction::overtaken;
}

}  // namespace mu::redis
