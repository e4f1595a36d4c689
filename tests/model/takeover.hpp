// The takeover, exhaustively: every replica, every leader and every write at every moment (DESIGN, section 4).
//
// A tenure is a little program whose steps interleave with everybody else's: ask, read what was granted, adopt, seal,
// store slot by slot, count. It may stop between any two of them for ever, and what it has posted may land long after
// its replica has died. A store and the target's look at its permission word are one step: that is F2. Proposals are
// places in an order, given to whoever takes them, in any sequence; so replicas are interchangeable.
// Invariant of the model: two tenures never decide different values at one offset, no read answers less than had been
// decided when it began, and no follower applies what was not decided.
#pragma once

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "model.hpp"
#include "takeover_state.hpp"

namespace mu::model {

struct TakeoverStep {
    enum class Act : Byte {
        start,
        grant,
        read,
        adopt,
        store,
        tear,
        acknowledge,
        rejoin,
        restart,
        append,
        admit,
        begin_read,
        confirm,
        apply,
        answer,
        terminate,
        store_unchecked,
        begin_own_store,
        end_own_store,
    };
    Act act;
    int tenure = 0;
    int replica = 0;
    int detail = 0;
};

struct TakeoverSettings {
    int replicas = 3;
    int tenures = 2;
    int cells = 2;
    int rejoins = 0;               // followers that leave a tenure and come back to it
    int restarts = 0;              // with empty memory
    int changes = 0;               // of membership
    unsigned members = 0;          // of the first configuration, a bit each; 0: all
    bool tears = true;             // a write may land in part, and fail
    bool at_once = false;          // a grant and the reading of its chain are one step, a store and its success another
    bool own_grant_apart = false;  // a replica's own grant may come after the others', not at once
    bool idle_cells = false;       // leaders append one slot after the other, not all together
    bool clients = true;           // if one after the other: slots of clients too, not only records
    bool reads = false;
    bool commits = false;                  // slots carry what is decided, followers apply it
    std::vector<TakeoverStep> prologue{};  // steps that have been taken in the beginning
};

enum Wrong : Byte { kNothing, kTwoValues, kLost, kStaleRead, kAppliedUndecided };

// The ledger holds a decided value, and the lowest proposal under which it was decided.
[[nodiscard]] constexpr std::uint16_t decided_value(std::uint16_t entry) noexcept { return entry & 0xf1c0U; }
[[nodiscard]] constexpr int decided_under(std::uint16_t entry) noexcept { return entry & 7; }

template <class TheState>
class Takeover {
public:
    using State = TheState;
    using Step = TakeoverStep;
    using Replica = typename State::Replica;
    using Tenure = typename State::Tenure;
    using Chain = std::array<Slot, State::cells_most>;

    Takeover(TakeoverSettings const& settings, Mistake mistake) : settings_(settings), mistake_(mistake) {
        settings_.members = settings.members != 0 ? settings.members : (1U << settings.replicas) - 1;
    }

    [[nodiscard]] State initial() const {
        State state;
        state.rejoins_left = byte(settings_.rejoins);
        state.restarts_left = byte(settings_.restarts);
        state.changes_left = byte(settings_.changes);
        for (Step const& wanted : settings_.prologue) {
            take(state, wanted);
        }
        return state;
    }

    template <class Emit>
    void successors(State const& state, Emit const& emit) const;

    void canonicalise(State& state) const;
    [[nodiscard]] std::string describe(State const& before, Step const& step, State const& after) const;
    [[nodiscard]] std::string violation(State const& state) const;
    [[nodiscard]] std::vector<std::string> picture(State const& state) const;

private:
    [[nodiscard]] bool is(Mistake mistake) const noexcept { return mistake_ == mistake; }

    void take(State& state, Step const& wanted) const;

    // --- Chains, and what they say --------------------------------------------------------------------------------
    [[nodiscard]] int chain_length(Chain const& log) const noexcept;
    [[nodiscard]] unsigned members_of(Chain const& chain, int tail) const noexcept;
    [[nodiscard]] int incarnation_named(Chain const& chain, int tail, int replica) const noexcept;
    [[nodiscard]] int first_difference(Chain const& log, Tenure const& tenure) const noexcept;
    [[nodiscard]] int majority_of(unsigned members) const noexcept;

    // --- May it? --------------------------------------------------------------------------------------------------
    [[nodiscard]] bool may_start(State const& state, int t, int owner) const noexcept;
    [[nodiscard]] bool may_grant(State const& state, int t, int replica) const noexcept;
    [[nodiscard]] bool may_adopt(State const& state, int t) const noexcept;
    [[nodiscard]] bool reaches(State const& state, int t, int replica) const noexcept;
    [[nodiscard]] int cursor(State const& state, int t, int replica) const noexcept;
    [[nodiscard]] bool may_rejoin(State const& state, int t, int replica) const noexcept;
    [[nodiscard]] bool may_restart(State const& state, int replica) const noexcept;
    [[nodiscard]] bool may_change(State const& state, int t) const noexcept;
    [[nodiscard]] int record_of(State const& state, int t, int replica) const noexcept;

    // --- Doing it -------------------------------------------------------------------------------------------------
    void start(State& state, int t, int owner) const;
    void grant(State& state, int t, int replica) const;
    void read(State& state, int t, int replica) const;
    void adopt(State& state, int t) const;
    void look_for_loss(State& state, int t) const;
    void append(State& state, int t, int kind) const;
    void store(State& state, int t, int replica, bool whole) const;
    void acknowledge(State& state, int t, int replica) const;
    void decide(State& state, int t) const;
    void rejoin(State& state, int t, int replica) const;
    void restart(State& state, int replica) const;
    void admit(State& state, int t, int replica, int slots) const;
    void begin_read(State& state, int t) const;
    void answer(State& state, int t) const;
    void end(State& state, int t) const;
    void kill(State& state, int t) const;
    void settle(State& state) const;

    template <class Do>
    void follower_steps(State const& state, int t, int replica, Do const& step) const;
    template <class Do>
    void append_steps(State const& state, int t, Do const& step) const;
    template <class Do>
    void reader_steps(State const& state, int t, Do const& step) const;
    template <class Do>
    void own_store_steps(State const& state, int t, Do const& step) const;
    void look_at_followers(State& state) const;
    [[nodiscard]] std::uint64_t likeness(State const& state, int replica) const noexcept;

    [[nodiscard]] std::string show(Slot slot) const;

    TakeoverSettings settings_;
    Mistake mistake_;
};

}  // namespace mu::model

#include "takeover_rules.hpp"
#include "takeover_steps.hpp"
#include "takeover_story.hpp"
