// Breadth-first search through every state that a model can reach, and the shortest way to a state that must not be.
//
// A model gives its first state, the steps that lead on from a state, one representative for states that differ only
// in who is called what, and words for a step. States themselves are kept only for the level that is being expanded;
// of all others a 64-bit fingerprint remains (to know them again) and which step of which state led there (to tell the
// story). Invariant: a state is expanded once, at the smallest number of steps that leads to it, so the first violation
// found is one of the shortest. It may fail by a collision of fingerprints: that hides a state, it never invents one.
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace mu::model {

struct Limits {
    std::uint64_t states = 0;                                                 // stop after so many
    std::function<void(std::uint64_t states, unsigned depth)> progress = {};  // called now and then, if set
};

struct Outcome {
    std::string violation;           // empty: none was found
    std::vector<std::string> trace;  // the steps to it, one line each
    std::uint64_t states = 0;        // distinct states found
    std::uint64_t steps = 0;         // steps tried
    unsigned depth = 0;              // steps to the farthest state
    double seconds = 0;
    bool complete = false;  // every state was visited
};

// MurmurHash3's mixing, over whole words; the state's layout has no padding.
template <class State>
[[nodiscard]] std::uint64_t fingerprint(State const& state) noexcept {
    static_assert(std::has_unique_object_representations_v<State>);
    auto const* bytes = reinterpret_cast<unsigned char const*>(&state);
    std::uint64_t hash = 0x9e3779b97f4a7c15ULL;
    for (std::size_t at = 0; at < sizeof state; at += sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + at, std::min(sizeof word, sizeof state - at));
        hash ^= std::rotl(word * 0x87c37b91114253d5ULL, 31) * 0x4cf5ad432745937fULL;
        hash = std::rotl(hash, 27) * 5 + 0x52dce729;
    }
    hash = (hash ^ (hash >> 33U)) * 0xff51afd7ed558ccdULL;
    hash = (hash ^ (hash >> 33U)) * 0xc4ceb9fe1a85ec53ULL;
    hash ^= hash >> 33U;
    return hash == 0 ? 1 : hash;
}

// An open-addressing set of fingerprints; zero is a free place.
class FingerprintSet {
public:
    FingerprintSet() : places_(std::size_t{1} << 16U) {}

    void prefetch(std::uint64_t print) const noexcept { __builtin_prefetch(&places_[print & (places_.size() - 1)]); }

    [[nodiscard]] std::uint64_t bytes() const noexcept { return places_.size() * sizeof places_[0]; }

    // False if it was there already.
    bool insert(std::uint64_t print) {
        if (count_ * 10 >= places_.size() * 7) {
            grow();
        }
        if (!put(places_, print)) {
            return false;
        }
        ++count_;
        return true;
    }

private:
    static bool put(std::vector<std::uint64_t>& places, std::uint64_t print) noexcept {
        std::size_t const mask = places.size() - 1;
        for (std::size_t at = print & mask;; at = (at + 1) & mask) {
            if (places[at] == print) {
                return false;
            }
            if (places[at] == 0) {
                places[at] = print;
                return true;
            }
        }
    }

    void grow() {
        std::vector<std::uint64_t> larger(places_.size() * 2);
        for (std::uint64_t const print : places_) {
            if (print != 0) {
                put(larger, print);
            }
        }
        places_ = std::move(larger);
    }

    std::vector<std::uint64_t> places_;
    std::uint64_t count_ = 0;
};

// The states of one level, in blocks, so that it grows without copying and what was expanded can be given back.
template <class State>
class Level {
public:
    void push_back(State const& state) {
        if (blocks_.empty() || blocks_.back().size() == kBlock) {
            blocks_.emplace_back().reserve(kBlock);
            ++held_;
        }
        blocks_.back().push_back(state);
        ++size_;
    }
    [[nodiscard]] State const& operator[](std::size_t at) const noexcept { return blocks_[at / kBlock][at % kBlock]; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return held_ * kBlock * sizeof(State); }
    // Nobody will ask for the states before this one again.
    void forget_before(std::size_t at) {
        if (at != 0 && at % kBlock == 0) {
            std::vector<State>().swap(blocks_[at / kBlock - 1]);
            --held_;
        }
    }

private:
    static constexpr std::size_t kBlock = 1U << 14U;
    std::vector<std::vector<State>> blocks_;
    std::size_t size_ = 0;
    std::size_t held_ = 0;  // blocks that were not given back
};

// A Model has
//   State, Step                          plain values; State has a member `violation`, zero while all is well
//   initial()                            the first state
//   successors(state, emit)              calls emit(next, step) for each step, always in the same order
//   canonicalise(state)                  makes states equal that differ only in the names of replicas
//   describe(before, step, after)        one line
//   violation(state), picture(state)     what is wrong; how things stand, a few lines
template <class Model>
class Search {
    using State = typename Model::State;
    using Step = typename Model::Step;

public:
    Search(Model const& model, Limits limits) : model_(model), limits_(std::move(limits)) {}

    [[nodiscard]] Outcome run() {
        began_ = Clock::now();
        State first = model_.initial();
        model_.canonicalise(first);
        seen_.insert(fingerprint(first));
        origins_.push_back(Origin{0, 0});
        level_.push_back(first);
        while (!level_.empty() && !stopped()) {
            expand_level();
            if (!stopped()) {
                level_start_ += level_.size();
                level_ = std::move(next_);
                next_ = {};
                outcome_.depth += level_.empty() ? 0 : 1;
            }
        }
        outcome_.complete = !stopped();
        outcome_.states = origins_.size();
        outcome_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
        return outcome_;
    }

private:
    using Clock = std::chrono::steady_clock;

    struct Origin {
        std::uint32_t parent;
        std::uint16_t ordinal;  // which of the parent's steps
    } __attribute__((packed));

    struct Candidate {
        State state;
        std::uint64_t print;
        Origin origin;
    };

    // Candidates wait in a batch, so that the set's memory is on its way when they are looked up.
    static constexpr std::size_t kBatch = 128;

    // A search that needs more stops as at a limit: with what the tables need while they grow it stays below 6 GiB.
    static constexpr std::uint64_t kMemoryBytes = 7ULL << 29U;

    [[nodiscard]] bool stopped() const noexcept { return !outcome_.violation.empty() || limited_; }

    void expand_level() {
        for (std::size_t i = 0; i < level_.size() && !stopped(); ++i) {
            level_.forget_before(i);
            auto const parent = static_cast<std::uint32_t>(level_start_ + i);
            std::uint16_t ordinal = 0;
            model_.successors(level_[i], [&](State const& next, Step const&) {
                if (next.violation != 0) {
                    if (outcome_.violation.empty()) {
                        tell(parent);
                    }
                    return;
                }
                Candidate& candidate = batch_.emplace_back(Candidate{next, 0, Origin{parent, ordinal++}});
                model_.canonicalise(candidate.state);
                candidate.print = fingerprint(candidate.state);
                seen_.prefetch(candidate.print);
            });
            outcome_.steps += ordinal;
            if (batch_.size() >= kBatch) {
                take_batch();
            }
        }
        take_batch();
    }

    void take_batch() {
        for (Candidate const& candidate : batch_) {
            if (seen_.insert(candidate.print)) {
                next_.push_back(candidate.state);
                origins_.push_back(candidate.origin);
            }
        }
        batch_.clear();
        std::uint64_t const held_bytes =
            seen_.bytes() + origins_.capacity() * sizeof(Origin) + level_.bytes() + next_.bytes();
        limited_ = (limits_.states != 0 && origins_.size() >= limits_.states) || held_bytes > kMemoryBytes;
        if (limits_.progress && origins_.size() >= tell_at_) {
            tell_at_ = origins_.size() + 500'000;
            limits_.progress(origins_.size(), outcome_.depth + 1);
        }
    }

    // The way from the first state, told with the names that the replicas had in the beginning: the representatives on
    // the way are followed by states that are each equal to one of them but for names.
    void tell(std::uint32_t last) {
        std::vector<std::uint16_t> ordinals;
        for (std::uint32_t at = last; at != 0; at = origins_[at].parent) {
            ordinals.insert(ordinals.begin(), origins_[at].ordinal);
        }
        State representative = model_.initial();
        State actual = representative;
        model_.canonicalise(representative);
        for (std::uint16_t const wanted : ordinals) {
            State chosen = representative;
            std::uint16_t ordinal = 0;
            model_.successors(representative, [&](State const& next, Step const&) {
                if (next.violation == 0 && ordinal++ == wanted) {
                    chosen = next;
                }
            });
            representative = chosen;
            model_.canonicalise(representative);
            std::uint64_t const print = fingerprint(representative);
            actual = follow(actual, [&](State next) {
                model_.canonicalise(next);
                return next.violation == 0 && fingerprint(next) == print;
            });
        }
        actual = follow(actual, [](State const& next) { return next.violation != 0; });
        outcome_.violation = model_.violation(actual);
        outcome_.depth = static_cast<unsigned>(outcome_.trace.size());
        for (std::string& line : model_.picture(actual)) {
            outcome_.trace.push_back(std::move(line));
        }
    }

    template <class Wanted>
    State follow(State const& from, Wanted const& wanted) {
        State to = from;
        std::string line;
        model_.successors(from, [&](State const& next, Step const& step) {
            if (line.empty() && wanted(next)) {
                to = next;
                line = model_.describe(from, step, next);
            }
        });
        if (line.empty()) {
            throw std::logic_error("the model's representatives are not equal to what they stand for");
        }
        outcome_.trace.push_back(std::to_string(outcome_.trace.size() + 1) + ". " + line);
        return to;
    }

    Model const& model_;
    Limits limits_;
    Outcome outcome_;
    Clock::time_point began_;
    FingerprintSet seen_;
    std::vector<Origin> origins_;  // of each state, in the order in which they were found
    Level<State> level_;           // the states that are expanded now; level_start_ is the first one's number
    Level<State> next_;
    std::vector<Candidate> batch_;
    std::uint64_t level_start_ = 0;
    std::uint64_t tell_at_ = 500'000;
    bool limited_ = false;
};

}  // namespace mu::model
