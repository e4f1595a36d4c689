// The one source of chance in a simulation.
#pragma once

#include <cstdint>

namespace mu::simulation {

// splitmix64: small, and the same everywhere.
class Dice {
public:
    explicit Dice(std::uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15ULL + 0x6d75) {}

    std::uint64_t next() noexcept {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
        return mixed ^ (mixed >> 31U);
    }
    std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }
    bool one_in(std::uint64_t count) noexcept { return below(count) == 0; }
    template <class Choices>
    auto of(Choices const& choices) noexcept {
        return choices[below(choices.size())];
    }

private:
    std::uint64_t state_;
};

}  // namespace mu::simulation
