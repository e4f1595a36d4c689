// Recycling, exhaustively: one leader, two followers that stall, are dropped and come back, and a reader of its ring.
//
// The leader reuses what all confirmed followers have applied; a joiner enters that bound before its FUO is read; the
// recycler publishes `floor`, then overwrites; readers look at floor again after they have copied. Overwriting takes
// two steps (value, header), copying three. Invariant of the model: no follower loses a slot that it has not applied,
// the leader can teach every confirmed follower what that lacks, and no reader takes one lap's value for another's.
#include <algorithm>
#include <array>

#include "model.hpp"
#include "takeover_state.hpp"

namespace mu::model {

namespace {

constexpr int kFollowers = 2;
constexpr int kRingMost = 3;

struct RecyclingSettings {
    int ring = 2;   // slots
    int slots = 6;  // that are appended
    int drops = 2;
};

// A slot's value is its offset; what is in a place is its offset + 1, 0 if nothing.
struct RecyclingState {
    enum class Stage : Byte { dropped, held, judged, confirmed };
    struct Follower {
        std::array<Byte, kRingMost> ring{};
        Stage stage = Stage::confirmed;
        Byte applied = 0;
        Byte next = 0;   // what the leader writes to it next: it has all below
        Byte known = 0;  // what the leader knows it has applied
        auto operator<=>(Follower const&) const = default;
    };
    std::array<Follower, kFollowers> followers{};
    std::array<Byte, kRingMost> headers{};
    std::array<Byte, kRingMost> values{};
    Byte tail = 0;
    Byte applied = 0;
    Byte decided = 0;
    Byte floor = 0;
    Byte writing = 0;  // the steps that have been taken of overwriting slot `tail`
    Byte reader = 0;   // the steps of the reader: 1 it has seen the header, 2 it has the value
    Byte wanted = 0;
    Byte copied = 0;
    Byte drops_left = 0;
    Byte violation = 0;
};

struct RecyclingStep {
    enum class Act : Byte { write_ring, apply, teach, follower_applies, learn, drop, hold, judge, look, copy, check };
    Act act;
    int follower = 0;
};

enum Trouble : Byte { kFine, kUnappliedLost, kCannotTeach, kWrongLap };

class Recycling {
public:
    using State = RecyclingState;
    using Step = RecyclingStep;
    using Follower = State::Follower;
    using Stage = State::Stage;
    using Act = Step::Act;

    Recycling(RecyclingSettings const& settings, Mistake mistake) : settings_(settings), mistake_(mistake) {}

    [[nodiscard]] State initial() const {
        State state;
        state.drops_left = byte(settings_.drops);
        return state;
    }

    template <class Emit>
    void successors(State const& state, Emit const& emit) const {
        auto const step = [&](Step const& taken, auto const& change) {
            State next = state;
            change(next);
            emit(next, taken);
        };
        if (state.writing != 0 || (state.tail < settings_.slots && state.tail + 1 <= bound(state) + settings_.ring)) {
            step({Act::write_ring}, [&](State& next) { write_ring(next); });
        }
        if (state.applied < state.decided) {
            step({Act::apply}, [](State& next) { ++next.applied; });
        }
        for (int f = 0; f < kFollowers; ++f) {
            follower_steps(state, f, step);
        }
        if (state.reader == 0) {
            for (int i = 0; i < settings_.ring; ++i) {
                if (state.headers[i] != 0) {
                    step({Act::look, i}, [&](State& next) {
                        next.reader = 1;
                        next.wanted = byte(state.headers[i] - 1);
                    });
                }
            }
        } else if (state.reader == 1) {
            step({Act::copy}, [&](State& next) {
                next.reader = 2;
                next.copied = state.values[state.wanted % settings_.ring];
            });
        } else {
            step({Act::check}, [&](State& next) { check(next); });
        }
    }

    void canonicalise(State& state) const { std::sort(state.followers.begin(), state.followers.end()); }

    [[nodiscard]] std::string describe(State const& before, Step const& step, State const& after) const;
    [[nodiscard]] std::string violation(State const& state) const;
    [[nodiscard]] std::vector<std::string> picture(State const& state) const;

private:
    [[nodiscard]] bool is(Mistake mistake) const noexcept { return mistake_ == mistake; }

    // What all that are written to have applied, as far as the leader knows.
    [[nodiscard]] int bound(State const& state) const noexcept {
        int lowest = state.applied;
        for (Follower const& follower : state.followers) {
            bool const counts = follower.stage == Stage::held || follower.stage == Stage::confirmed;
            if (counts && !is(Mistake::recycle_past_follower)) {
                lowest = std::min<int>(lowest, follower.known);
            }
        }
        return lowest;
    }

    // Publish the floor, overwrite the value, then the header: each a step. (By mistake the floor comes last.)
    void write_ring(State& state) const noexcept {
        int const place = state.tail % settings_.ring;
        bool const late = is(Mistake::floor_published_late);
        if (state.writing == (late ? 2 : 0)) {
            state.floor = std::max(state.floor, byte(std::max(state.tail + 1 - settings_.ring, 0)));
        } else if (state.writing == (late ? 0 : 1)) {
            state.values[place] = byte(state.tail + 1);
        } else {
            state.headers[place] = byte(state.tail + 1);
        }
        if (++state.writing == 3) {
            state.writing = 0;
            ++state.tail;
        }
    }

    template <class Do>
    void follower_steps(State const& state, int f, Do const& step) const {
        Follower const& follower = state.followers[f];
        if (follower.stage == Stage::confirmed) {
            if (follower.next < state.tail) {
                step({Act::teach, f}, [&](State& next) { teach(next, f); });
            }
            if (follower.known < follower.applied) {
                step({Act::learn, f}, [&](State& next) { next.followers[f].known = follower.applied; });
            }
            if (state.drops_left != 0) {
                step({Act::drop, f}, [&](State& next) {
                    next.followers[f].stage = Stage::dropped;
                    next.followers[f].known = 0;
                    --next.drops_left;
                });
            }
        }
        if (follower.applied < std::min(follower.next, state.decided)) {
            step({Act::follower_applies, f}, [&](State& next) { ++next.followers[f].applied; });
        }
        bool const judged_first = is(Mistake::recycle_past_joiner);
        if (follower.stage == (judged_first ? Stage::judged : Stage::dropped)) {
            step({Act::hold, f}, [&](State& next) { hold(next, f); });
        }
        if (follower.stage == (judged_first ? Stage::dropped : Stage::held)) {
            step({Act::judge, f}, [&](State& next) { judge(next, f); });
        }
    }

    // From here on recycling waits for the joiner, though the leader does not know yet where that stands.
    void hold(State& state, int f) const noexcept {
        Follower& joiner = state.followers[f];
        if (joiner.stage == Stage::judged) {
            joiner.stage = Stage::confirmed;
        } else {
            joiner.stage = Stage::held;
            joiner.known = state.floor;
        }
    }

    // Its FUO is read: either the ring still has all that it lacks, or it is behind and takes a snapshot.
    void judge(State& state, int f) const noexcept {
        Follower& joiner = state.followers[f];
        if (joiner.applied < state.floor) {
            joiner.ring = {};
            joiner.applied = state.applied;
        }
        joiner.next = joiner.known = joiner.applied;
        joiner.stage = joiner.stage == Stage::held ? Stage::confirmed : Stage::judged;
    }

    void teach(State& state, int f) const noexcept {
        Follower& follower = state.followers[f];
        int const offset = follower.next;
        int const place = offset % settings_.ring;
        if (state.headers[place] != offset + 1) {
            state.violation = kCannotTeach;
            return;
        }
        if (offset >= settings_.ring && follower.applied < offset + 1 - settings_.ring) {
            state.violation = kUnappliedLost;
            return;
        }
        follower.ring[place] = byte(offset + 1);
        ++follower.next;
        // Accepted by a majority: by the leader and by one that it writes to.
        state.decided = std::max(state.decided, follower.next);
    }

    void check(State& state) const noexcept {
        bool const taken = state.floor <= state.wanted || is(Mistake::floor_not_rechecked);
        if (taken && state.copied != state.wanted + 1) {
            state.violation = kWrongLap;
            return;
        }
        state.reader = state.wanted = state.copied = 0;
    }

    RecyclingSettings settings_;
    Mistake mistake_;
};

std::string Recycling::describe(State const& before, Step const& step, State const& after) const {
    std::string const who = "follower " + std::to_string(step.follower + 2);
    auto const count = [](int number) { return std::to_string(number); };
    switch (step.act) {
        case Act::write_ring:
            if (before.floor != after.floor) {
                return "the leader publishes floor " + count(after.floor);
            }
            return std::string(before.writing == 0 ? "the leader begins" : "the leader goes on") + " to write slot " +
                   count(before.tail) + " into place " + count(before.tail % settings_.ring) +
                   (before.values == after.values ? "" : ": the value") +
                   (before.headers == after.headers ? "" : ": the header");
        case Act::apply:
            return "the leader applies slot " + count(before.applied);
        case Act::teach:
            return "the leader writes slot " + count(before.followers[step.follower].next) + " to " + who;
        case Act::follower_applies:
            return who + " applies slot " + count(before.followers[step.follower].applied);
        case Act::learn:
            return "the leader learns that " + who + " has applied all below " +
                   count(after.followers[step.follower].known);
        case Act::drop:
            return "the leader drops " + who;
        case Act::hold:
            return who + " joins: recycling waits for it from now on";
        case Act::judge:
            return "the leader reads that " + who + " has applied all below " +
                   count(before.followers[step.follower].applied) +
                   (before.followers[step.follower].applied != after.followers[step.follower].applied
                        ? ": behind, a snapshot brings it to " + count(after.followers[step.follower].applied)
                        : "");
        case Act::look:
            return "a reader finds the header of slot " + count(after.wanted);
        case Act::copy:
            return "the reader copies the value of slot " + count(after.copied - 1);
        case Act::check:
            return "the reader looks at floor (" + count(before.floor) + ") and takes what it copied for slot " +
                   count(before.wanted);
    }
    return "?";
}

std::string Recycling::violation(State const& state) const {
    switch (state.violation) {
        case kUnappliedLost:
            return "a slot that a confirmed follower has not applied is overwritten there";
        case kCannotTeach:
            return "what a confirmed follower lacks is overwritten in the leader's ring";
        case kWrongLap:
            return "a reader takes another lap's value";
        default:
            return "";
    }
}

std::vector<std::string> Recycling::picture(State const& state) const {
    std::vector<std::string> lines;
    lines.push_back("   leader: tail " + std::to_string(state.tail) + ", floor " + std::to_string(state.floor) +
                    ", applied " + std::to_string(state.applied) + ", decided " + std::to_string(state.decided));
    for (int f = 0; f < kFollowers; ++f) {
        Follower const& follower = state.followers[f];
        lines.push_back("   follower " + std::to_string(f + 2) + ": has all below " + std::to_string(follower.next) +
                        ", applied " + std::to_string(follower.applied));
    }
    return lines;
}

Model recycling(std::string name, RecyclingSettings settings, bool deep) {
    std::string about = "a ring of " + std::to_string(settings.ring) + " slots, " + std::to_string(settings.slots) +
                        " appended, " + std::to_string(settings.drops) + " drops, a reader";
    return Model{std::move(name), std::move(about), deep, [settings](Mistake mistake, Limits const& limits) {
                     Recycling const model(settings, mistake);
                     return Search(model, limits).run();
                 }};
}

}  // namespace

std::vector<Model> recycling_models() {
    return {recycling("recycling", {2, 6, 2}, false), recycling("recycling-3", {3, 8, 3}, false)};
}

}  // namespace mu::model
