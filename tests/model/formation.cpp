// First formation, exhaustively: how replicas without a log agree on the incarnations that begin one.
//
// Each replica publishes what it has prepared, abandoned and formed; the others read that at any time and act on what
// they have read last, however old. Replicas die and come back with another incarnation at every moment. Invariant of
// the model: no two vectors are formed, each by a majority of its incarnations (of which some may be dead by then), for
// such a majority can decide, and then there would be two logs. Nobody dies who is the last to know of a formed
// vector: with empty memories everywhere there is nothing left to lose.
#include <algorithm>
#include <array>

#include "model.hpp"
#include "takeover_state.hpp"

namespace mu::model {

namespace {

constexpr int kReplicas = 3;
constexpr int kMajority = 2;
constexpr int kLives = 3;  // incarnations 1 … 3 of each replica

// A vector of incarnations: two bits each. 0: none.
using Vector = Byte;

[[nodiscard]] int incarnation_in(Vector vector, int replica) noexcept { return (vector >> (2 * replica)) & 3; }

struct Cells {
    Byte incarnation = 0;
    Vector prepared = 0;
    Vector abandoned = 0;
    Vector formed = 0;
    bool operator==(Cells const&) const = default;
};

struct FormationState {
    struct Replica {
        Cells own;
        std::array<Cells, kReplicas> views{};  // as they were last read
        std::array<Vector, kLives> formed{};   // by each life; known to nobody
    };
    std::array<Replica, kReplicas> replicas{};
    Byte restarts_left = 0;
    Byte violation = 0;
};

struct FormationStep {
    enum class Act : Byte { read, form, prepare, abandon, restart };
    Act act;
    int replica = 0;
    int peer = 0;
};

class Formation {
public:
    using State = FormationState;
    using Step = FormationStep;

    Formation(int restarts, Mistake mistake) : restarts_(restarts), mistake_(mistake) {}

    [[nodiscard]] State initial() const {
        State state;
        for (State::Replica& replica : state.replicas) {
            replica.own.incarnation = 1;
        }
        state.restarts_left = byte(restarts_);
        return state;
    }

    template <class Emit>
    void successors(State const& state, Emit const& emit) const {
        for (int i = 0; i < kReplicas; ++i) {
            for (int j = 0; j < kReplicas; ++j) {
                if (i != j && state.replicas[i].views[j] != state.replicas[j].own) {
                    State next = state;
                    next.replicas[i].views[j] = state.replicas[j].own;
                    emit(next, Step{Step::Act::read, i, j});
                }
            }
            act(state, i, emit);
            if (may_restart(state, i)) {
                State next = state;
                State::Replica& replica = next.replicas[i];
                replica.own = Cells{byte(replica.own.incarnation + 1)};
                replica.views = {};
                --next.restarts_left;
                emit(next, Step{Step::Act::restart, i});
            }
        }
    }

    // Vectors name replicas by place; the model is small enough to do without symmetry.
    void canonicalise(State&) const {}

    [[nodiscard]] std::string describe(State const&, Step const& step, State const& after) const {
        std::string const who = std::to_string(step.replica + 1);
        Cells const& own = after.replicas[step.replica].own;
        switch (step.act) {
            case Step::Act::read:
                return who + " reads what " + std::to_string(step.peer + 1) +
                       " publishes: " + show(after.replicas[step.peer].own);
            case Step::Act::form:
                return who + " forms " + show(own.formed);
            case Step::Act::prepare:
                return who + " prepares " + show(own.prepared);
            case Step::Act::abandon:
                return who + " abandons " + show(own.abandoned);
            case Step::Act::restart:
                return who + " restarts as incarnation " + std::to_string(own.incarnation);
        }
        return "?";
    }

    [[nodiscard]] std::string violation(State const&) const {
        return "two vectors are formed, each by a majority of its incarnations";
    }

    [[nodiscard]] std::vector<std::string> picture(State const& state) const {
        std::vector<std::string> lines;
        for (int i = 0; i < kReplicas; ++i) {
            std::string line = "   " + std::to_string(i + 1) + " formed:";
            for (int life = 0; life < kLives; ++life) {
                line += " " + show(state.replicas[i].formed[life]);
            }
            lines.push_back(line + " (as incarnation 1, 2, 3)");
        }
        return lines;
    }

private:
    [[nodiscard]] bool is(Mistake mistake) const noexcept { return mistake_ == mistake; }

    // One step of Formation (src/core/protocol/formation.cpp).
    template <class Emit>
    void act(State const& state, int i, Emit const& emit) const {
        State::Replica const& self = state.replicas[i];
        if (self.own.formed != 0) {
            return;
        }
        bool const given_up = self.own.abandoned == self.own.prepared && !is(Mistake::abandoned_yet_formed);
        bool exists = false;
        for (Cells const& view : self.views) {
            if (view.formed != 0 && view.formed == self.own.prepared && !given_up) {
                form(state, i, self.own.prepared, emit);
                return;
            }
            exists = exists || view.formed != 0;
        }
        Vector const vector = seen(self, i);
        if (exists || vector == 0) {
            return;
        }
        if (is(Mistake::formation_in_one_phase)) {
            form(state, i, vector, emit);
        } else if (self.own.prepared == vector) {
            if (!given_up && prepared_by_all(self, i)) {
                form(state, i, vector, emit);
            }
        } else if (self.own.prepared == 0 || abandoned_by_majority(self, i)) {
            State next = state;
            next.replicas[i].own.prepared = vector;
            emit(next, Step{Step::Act::prepare, i});
        } else if (self.own.abandoned != self.own.prepared) {
            State next = state;
            next.replicas[i].own.abandoned = self.own.prepared;
            emit(next, Step{Step::Act::abandon, i});
        }
    }

    // The vector of all incarnations, or 0 if somebody has not been seen yet.
    [[nodiscard]] static Vector seen(State::Replica const& self, int i) noexcept {
        int vector = 0;
        for (int j = 0; j < kReplicas; ++j) {
            Byte const incarnation = j == i ? self.own.incarnation : self.views[j].incarnation;
            if (incarnation == 0) {
                return 0;
            }
            vector |= incarnation << (2 * j);
        }
        return byte(vector);
    }

    [[nodiscard]] static bool prepared_by_all(State::Replica const& self, int i) noexcept {
        for (int j = 0; j < kReplicas; ++j) {
            if (j != i && self.views[j].prepared != self.own.prepared) {
                return false;
            }
        }
        return true;
    }

    [[nodiscard]] bool abandoned_by_majority(State::Replica const& self, int i) const noexcept {
        if (self.own.abandoned != self.own.prepared) {
            return false;
        }
        int count = 1;
        for (int j = 0; j < kReplicas; ++j) {
            Cells const& view = self.views[j];
            bool const same_life = view.incarnation == incarnation_in(self.own.prepared, j);
            if (j != i && (same_life || is(Mistake::abandoned_by_another_life))) {
                bool const gone_on = view.prepared != 0 && order(view.prepared) > order(self.own.prepared);
                count += view.abandoned == self.own.prepared || gone_on ? 1 : 0;
            }
        }
        return count >= kMajority || is(Mistake::abandoned_alone);
    }

    // The vectors that one replica prepares grow in every place, so their sums tell which is later.
    [[nodiscard]] static int order(Vector vector) noexcept {
        return incarnation_in(vector, 0) + incarnation_in(vector, 1) + incarnation_in(vector, 2);
    }

    template <class Emit>
    void form(State const& state, int i, Vector vector, Emit const& emit) const {
        State next = state;
        State::Replica& self = next.replicas[i];
        self.own.prepared = self.own.formed = vector;
        self.formed[self.own.incarnation - 1] = vector;
        for (State::Replica const& other : next.replicas) {
            for (Vector const earlier : other.formed) {
                if (earlier != 0 && earlier != vector && by_majority(next, earlier) && by_majority(next, vector)) {
                    next.violation = 1;
                }
            }
        }
        emit(next, Step{Step::Act::form, i});
    }

    [[nodiscard]] static bool by_majority(State const& state, Vector vector) noexcept {
        int count = 0;
        for (int j = 0; j < kReplicas; ++j) {
            count += state.replicas[j].formed[incarnation_in(vector, j) - 1] == vector ? 1 : 0;
        }
        return count >= kMajority;
    }

    [[nodiscard]] static bool may_restart(State const& state, int i) noexcept {
        if (state.restarts_left == 0 || state.replicas[i].own.incarnation == kLives) {
            return false;
        }
        for (State::Replica const& holder : state.replicas) {
            for (Vector const vector : holder.formed) {
                if (vector == 0 || !by_majority(state, vector)) {
                    continue;
                }
                bool another = false;
                for (int j = 0; j < kReplicas; ++j) {
                    another = another || (j != i && state.replicas[j].own.incarnation == incarnation_in(vector, j));
                }
                if (!another) {
                    return false;
                }
            }
        }
        return true;
    }

    [[nodiscard]] static std::string show(Vector vector) {
        std::string text = "[";
        for (int j = 0; j < kReplicas && vector != 0; ++j) {
            text += (j == 0 ? "" : " ") + std::to_string(incarnation_in(vector, j));
        }
        return text + "]";
    }

    [[nodiscard]] static std::string show(Cells const& cells) {
        return "incarnation " + std::to_string(cells.incarnation) + ", prepared " + show(cells.prepared) +
               ", abandoned " + show(cells.abandoned) + ", formed " + show(cells.formed);
    }

    int restarts_;
    Mistake mistake_;
};

Model formation(std::string name, int restarts, bool deep) {
    return Model{std::move(name), "first formation, " + std::to_string(restarts) + " restarts", deep,
                 [restarts](Mistake mistake, Limits const& limits) {
                     Formation const model(restarts, mistake);
                     return Search(model, limits).run();
                 }};
}

}  // namespace

std::vector<Model> formation_models() { return {formation("formation", 2, false), formation("formation-3", 3, false)}; }

}  // namespace mu::model
