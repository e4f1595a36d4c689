#include "attach/redis_transactions.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>

namespace mu::redis {
namespace {

std::array<std::atomic<bool>, 1U << 17U> open{};

bool is_tracked(int descriptor) noexcept {
    return descriptor >= 0 && static_cast<std::size_t>(descriptor) < open.size();
}

}  // namespace

void transaction_begins(int descriptor) noexcept {
    if (is_tracked(descriptor)) {
        open[static_cast<std::size_t>(descriptor)].store(true, std::memory_order_relaxed);
    } else {
        std::ranges::for_each(open, [](auto& each) { each.store(true, std::memory_order_relaxed); });
    }
}

void transaction_ends(int descriptor) noexcept {
    if (is_tracked(descriptor)) {
        open[static_cast<std::size_t>(descriptor)].store(false, std::memory_order_relaxed);
    }
}

bool may_be_in_transaction(int descriptor) noexcept {
    return !is_tracked(descriptor) || open[static_cast<std::size_t>(descriptor)].load(std::memory_order_relaxed);
}

}  // namespace mu::redis
