#include "runtime/latencies.hpp"

#include <algorithm>
#include <limits>

namespace mu {

void Latencies::note(Nanoseconds took) noexcept {
    constexpr Nanoseconds kLongest = std::numeric_limits<std::uint32_t>::max();
    std::uint64_t const noted = noted_.load(std::memory_order_relaxed);
    samples_[noted % kKept].store(static_cast<std::uint32_t>(std::clamp<Nanoseconds>(took, 1, kLongest)),
                                  std::memory_order_relaxed);
    noted_.store(noted + 1, std::memory_order_release);
    mask_ = noted + 1 < kFirst ? 0 : kEvery - 1;
}

Latencies::Quantiles Latencies::quantiles() const noexcept {
    std::size_t const count = std::min<std::size_t>(noted(), kKept);
    if (count == 0) {
        return {};
    }
    std::array<std::uint32_t, kKept> taken;
    std::transform(samples_.begin(), samples_.begin() + count, taken.begin(),
                   [](std::atomic<std::uint32_t> const& sample) { return sample.load(std::memory_order_relaxed); });
    auto const ranked = [&](std::size_t percent) {
        auto const at = taken.begin() + static_cast<std::ptrdiff_t>((count * percent + 99) / 100 - 1);
        std::nth_element(taken.begin(), at, taken.begin() + static_cast<std::ptrdiff_t>(count));
        return *at;
    };
    return {ranked(50), ranked(99)};
}

}  // namespace mu
