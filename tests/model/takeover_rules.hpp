// The takeover's rules: what a step does, and when it may be done. Included by takeover.hpp.
#pragma once

namespace mu::model {

// --- Chains, and what they say --------------------------------------------------------------------------------------

template <class S>
int Takeover<S>::chain_length(Chain const& log) const noexcept {
    int length = 0;
    int previous = 0;
    while (length < settings_.cells && !log[length].empty() &&
           (log[length].previous() == previous || is(Mistake::link_ignored))) {
        previous = log[length].proposal();
        ++length;
    }
    return length;
}

template <class S>
unsigned Takeover<S>::members_of(Chain const& chain, int tail) const noexcept {
    unsigned members = settings_.members;
    for (int i = 0; settings_.changes != 0 && i < tail; ++i) {
        if (Byte const kind = chain[i].kind(); Kind::is_record(kind)) {
            unsigned const bit = 1U << Kind::replica(kind);
            members = Kind::variant(kind) == Kind::add ? members | bit : members & ~bit;
        }
    }
    return members;
}

template <class S>
int Takeover<S>::incarnation_named(Chain const& chain, int tail, int replica) const noexcept {
    int incarnation = 0;
    for (int i = 0; settings_.restarts != 0 && i < tail; ++i) {
        if (Byte const kind = chain[i].kind(); Kind::is_record(kind) && Kind::replica(kind) == replica) {
            incarnation = Kind::variant(kind) + 1;
        }
    }
    return incarnation;
}

// As the leader finds it: a position fixes everything below it, so of two chains that end alike nothing is compared.
template <class S>
int Takeover<S>::first_difference(Chain const& log, Tenure const& tenure) const noexcept {
    int const length = std::min<int>(chain_length(log), tenure.tail);
    for (int at = length; at > 0; --at) {
        if (log[at - 1].proposal() == tenure.chain[at - 1].proposal()) {
            return at;
        }
    }
    return 0;
}

template <class S>
int Takeover<S>::majority_of(unsigned members) const noexcept {
    int const count = std::popcount(members);
    return is(Mistake::small_majority) ? std::max(count / 2, 1) : count / 2 + 1;
}

// --- May it? --------------------------------------------------------------------------------------------------------

template <class S>
bool Takeover<S>::may_start(State const& state, int t, int owner) const noexcept {
    Replica const& self = state.replicas[owner];
    for (int higher = t + 1; higher < settings_.tenures; ++higher) {
        Tenure const& own = state.tenures[higher];
        if (own.owner == owner && (own.stage == Stage::asking || own.stage == Stage::leading)) {
            return false;  // proposals are chosen above everything seen
        }
    }
    return state.tenures[t].stage == Stage::idle && self.admitted != 0 && self.word < t + 1 &&
           ((members_of(self.log, chain_length(self.log)) >> owner) & 1U) != 0;
}

// An acceptor's answer. A refusal need not be modelled: a leader that goes on without one more grant does more.
template <class S>
bool Takeover<S>::may_grant(State const& state, int t, int replica) const noexcept {
    Tenure const& tenure = state.tenures[t];
    Replica const& acceptor = state.replicas[replica];
    bool const late = tenure.stage == Stage::leading;
    bool const promise_forgotten =
        is(Mistake::early_grant_below_promise) ? !late : is(Mistake::late_grant_below_promise) && late;
    if ((acceptor.word > t + 1 && !promise_forgotten) || (late && replica == tenure.owner)) {
        return false;
    }
    if (acceptor.admitted == 0 && !is(Mistake::restarted_grants)) {
        return false;
    }
    if (late && acceptor.incarnation != incarnation_named(tenure.chain, tenure.tail, replica) &&
        !is(Mistake::restarted_grants) && !is(Mistake::incarnations_not_compared)) {
        return false;  // a leader counts only the incarnation that its chain names
    }
    unsigned const as_leader_sees = members_of(tenure.chain, tenure.tail);
    unsigned const as_acceptor_sees = members_of(acceptor.log, chain_length(acceptor.log));
    return ((as_leader_sees >> replica) & 1U) != 0 && ((as_acceptor_sees >> tenure.owner) & 1U) != 0;
}

template <class S>
bool Takeover<S>::may_adopt(State const& state, int t) const noexcept {
    Tenure const& tenure = state.tenures[t];
    unsigned const members =
        is(Mistake::takeover_by_first_configuration) ? settings_.members : members_of(tenure.chain, tenure.tail);
    int known = 0;
    for (int j = 0; j < settings_.replicas; ++j) {
        known += state.replicas[j].seen_by[t].stage == Follower::read && ((members >> j) & 1U) != 0 ? 1 : 0;
    }
    return known >= majority_of(members) && state.replicas[tenure.owner].seen_by[t].stage == Follower::read;
}

// A store reaches a log that has granted this tenure and nobody later; F2 is that this is asked when it lands.
template <class S>
bool Takeover<S>::reaches(State const& state, int t, int replica) const noexcept {
    Tenure const& tenure = state.tenures[t];
    Replica const& target = state.replicas[replica];
    Target const& seen = target.seen_by[t];
    if ((tenure.stage != Stage::leading && tenure.stage != Stage::over) || seen.stage != Follower::open ||
        seen.incarnation != target.incarnation) {
        return false;
    }
    bool const same_writer = is(Mistake::permission_by_replica) && target.word != 0 &&
                             state.tenures[target.word - 1].owner == tenure.owner &&
                             state.tenures[target.word - 1].stage != Stage::dead;
    return target.word == t + 1 || same_writer;
}

// What comes next to this follower: behind what has landed there, or else the first slot that differs.
template <class S>
int Takeover<S>::cursor(State const& state, int t, int replica) const noexcept {
    Byte const stored = state.replicas[replica].seen_by[t].stored;
    if (stored != 0 || is(Mistake::rewrite_what_matches)) {
        return stored;
    }
    return first_difference(state.replicas[replica].log, state.tenures[t]);
}

// Membership: seal decided, nothing outstanding.
template <class S>
bool Takeover<S>::may_change(State const& state, int t) const noexcept {
    Tenure const& tenure = state.tenures[t];
    bool const sealed = tenure.decided > tenure.seal || is(Mistake::change_before_seal);
    bool const settled = tenure.decided == tenure.tail || is(Mistake::two_changes_at_once) ||
                         (is(Mistake::change_before_seal) && tenure.tail == tenure.seal + 1);
    return sealed && settled && state.changes_left != 0;
}

// Behind which slot of the chain a replica's present incarnation is admitted; 0 if it is not.
template <class S>
int Takeover<S>::record_of(State const& state, int t, int replica) const noexcept {
    Tenure const& tenure = state.tenures[t];
    Replica const& target = state.replicas[replica];
    int const until = is(Mistake::admit_undecided) && tenure.stage == Stage::leading ? tenure.tail : tenure.decided;
    for (int i = 0; target.admitted == 0 && i < until; ++i) {
        if (tenure.chain[i].kind() == Kind::record(replica, target.incarnation - 1)) {
            return i + 1;
        }
    }
    return 0;
}

// --- Doing it -------------------------------------------------------------------------------------------------------

// A replica's plane asks, grants its own log and reads it, mostly in one step; whatever it led before is over.
template <class S>
void Takeover<S>::start(State& state, int t, int owner) const {
    for (int other = 0; other < settings_.tenures; ++other) {
        Tenure const& earlier = state.tenures[other];
        if (earlier.owner == owner && (earlier.stage == Stage::asking || earlier.stage == Stage::leading)) {
            end(state, other);
        }
    }
    Tenure& tenure = state.tenures[t];
    tenure.stage = Stage::asking;
    tenure.owner = byte(owner);
    if (!settings_.own_grant_apart) {
        Replica& self = state.replicas[owner];
        self.word = byte(t + 1);
        self.seen_by[t] = Target{Follower::granted, self.incarnation, 0, 0};
        read(state, t, owner);
    }
}

template <class S>
void Takeover<S>::grant(State& state, int t, int replica) const {
    Replica& acceptor = state.replicas[replica];
    Target& seen = acceptor.seen_by[t];
    acceptor.word = byte(t + 1);
    if (seen.stage == Follower::read_too_early) {
        seen.stage = Follower::read;
    } else {
        seen.stage = state.tenures[t].stage == Stage::leading ? Follower::open : Follower::granted;
    }
    seen.incarnation = acceptor.incarnation;
    if (settings_.at_once && seen.stage == Follower::granted) {
        read(state, t, replica);
    }
}

// Catch up: the best chain so far is the one whose last slot has the highest proposal; among equals the longest.
template <class S>
void Takeover<S>::read(State& state, int t, int replica) const {
    Tenure& tenure = state.tenures[t];
    Chain const& log = state.replicas[replica].log;
    Target& seen = state.replicas[replica].seen_by[t];
    int const length = chain_length(log);
    for (int i = 0; i < length; ++i) {
        if (log[i].proposal() >= t + 1) {
            kill(state, t);
            return;
        }
    }
    seen.stage = seen.stage == Follower::none ? Follower::read_too_early : Follower::read;
    int const last = length == 0 ? 0 : log[length - 1].proposal();
    int const best = tenure.tail == 0 ? 0 : tenure.chain[tenure.tail - 1].proposal();
    bool const longer = length > tenure.tail;
    bool const better = is(Mistake::longest_chain_first) ? longer || (length == tenure.tail && last > best)
                                                         : last > best || (last == best && longer);
    if (better) {
        tenure.chain = Chain{};
        std::copy_n(log.begin(), length, tenure.chain.begin());
        tenure.tail = byte(length);
    }
}

template <class S>
void Takeover<S>::adopt(State& state, int t) const {
    Tenure& tenure = state.tenures[t];
    bool agree = ((members_of(tenure.chain, tenure.tail) >> tenure.owner) & 1U) != 0;
    for (int j = 0; j < settings_.replicas; ++j) {
        Target& seen = state.replicas[j].seen_by[t];
        bool const named = seen.incarnation == incarnation_named(tenure.chain, tenure.tail, j);
        agree = agree && (seen.stage != Follower::read || named || is(Mistake::incarnations_not_compared) ||
                          is(Mistake::restarted_grants));
        seen.stage = seen.stage == Follower::none ? Follower::none : Follower::open;
    }
    if (agree) {
        look_for_loss(state, t);
    }
    if (!agree || (tenure.tail == settings_.cells && !is(Mistake::no_seal))) {
        kill(state, t);  // void; or, the model's own limit, no room for a seal
        return;
    }
    tenure.stage = Stage::leading;
    tenure.seal = tenure.tail;
    for (int i = 0; is(Mistake::reaccept_in_place) && i < tenure.tail; ++i) {
        Slot const old = tenure.chain[i];
        tenure.chain[i] = Slot(t + 1, i == 0 ? 0 : t + 1, old.born(), old.commit(), old.kind());
    }
    if (!is(Mistake::no_seal)) {
        append(state, t, Kind::seal);
    } else {
        for (int j = 0; j < settings_.replicas; ++j) {
            Target& seen = state.replicas[j].seen_by[t];
            seen.accepted = reaches(state, t, j) ? byte(first_difference(state.replicas[j].log, tenure)) : Byte{0};
            seen.stored = seen.accepted;
        }
    }
    while (!settings_.idle_cells && tenure.tail < settings_.cells) {
        append(state, t, Kind::client);
    }
    decide(state, t);
}

// Paxos' lemma: what was decided under a lower proposal is in the chain that is adopted.
template <class S>
void Takeover<S>::look_for_loss(State& state, int t) const {
    Tenure const& tenure = state.tenures[t];
    for (int i = 0; i < settings_.cells; ++i) {
        std::uint16_t const earlier = state.ledger[i];
        if (earlier != 0 && decided_under(earlier) < t + 1 &&
            (i >= tenure.tail || tenure.chain[i].value() != decided_value(earlier))) {
            state.violation = kLost;
        }
    }
}

template <class S>
void Takeover<S>::append(State& state, int t, int kind) const {
    Tenure& tenure = state.tenures[t];
    int const previous = tenure.tail == 0 ? 0 : tenure.chain[tenure.tail - 1].proposal();
    tenure.chain[tenure.tail] = Slot(t + 1, previous, t + 1, settings_.commits ? tenure.decided : 0, kind);
    ++tenure.tail;
    if (Kind::is_record(byte(kind)) && settings_.restarts != 0) {
        // What the earlier incarnation acknowledged, counted or not, is not counted any more.
        state.replicas[Kind::replica(byte(kind))].seen_by[t] = Target{};
    }
}

template <class S>
void Takeover<S>::store(State& state, int t, int replica, bool whole) const {
    Replica& target = state.replicas[replica];
    Target& seen = target.seen_by[t];
    int const at = cursor(state, t, replica);
    target.log[at] = whole ? state.tenures[t].chain[at] : Slot{};
    seen.stored = byte(at + 1);
    if (!whole && !is(Mistake::stores_on_after_failure)) {
        seen = Target{Follower::closed, seen.incarnation, 0, 0};
    }
    if (settings_.at_once && whole && state.tenures[t].stage == Stage::leading) {
        acknowledge(state, t, replica);
    }
}

template <class S>
void Takeover<S>::acknowledge(State& state, int t, int replica) const {
    Target& seen = state.replicas[replica].seen_by[t];
    seen.accepted = seen.stored;
    decide(state, t);
}

// A slot is decided when a slot with the leader's own proposal, at or after it, is accepted by a majority.
template <class S>
void Takeover<S>::decide(State& state, int t) const {
    Tenure& tenure = state.tenures[t];
    int const known = is(Mistake::majority_of_old_configuration) ? tenure.seal : tenure.tail;
    unsigned const members = members_of(tenure.chain, known);
    int const lowest = is(Mistake::no_seal) ? tenure.decided : std::max<int>(tenure.decided, tenure.seal);
    for (int upto = tenure.tail; upto > lowest; --upto) {
        int count = 0;
        for (int j = 0; j < settings_.replicas; ++j) {
            bool const joins =
                is(Mistake::admit_counts_joiner) && settings_.restarts != 0 &&
                incarnation_named(tenure.chain, upto, j) > incarnation_named(tenure.chain, tenure.seal, j);
            bool const accepted = state.replicas[j].seen_by[t].accepted >= upto || joins;
            count += accepted && ((members >> j) & 1U) != 0 ? 1 : 0;
        }
        if (count < majority_of(members)) {
            continue;
        }
        for (int i = 0; i < upto; ++i) {
            std::uint16_t const earlier = state.ledger[i];
            if (earlier != 0 && decided_value(earlier) != tenure.chain[i].value()) {
                state.violation = kTwoValues;
            }
            int const first = earlier == 0 ? t + 1 : std::min(decided_under(earlier), t + 1);
            state.ledger[i] = static_cast<std::uint16_t>(tenure.chain[i].value() | first);
        }
        tenure.decided = byte(upto);
        return;
    }
}

// A follower was dropped and comes back: grant at the same proposal, read, compare, write from the first difference. What
// it holds of the tenure up to there it has accepted.
template <class S>
void Takeover<S>::rejoin(State& state, int t, int replica) const {
    Replica& acceptor = state.replicas[replica];
    Tenure const& tenure = state.tenures[t];
    int const same = first_difference(acceptor.log, tenure);
    bool const of_tenure = same > 0 && tenure.chain[same - 1].proposal() == t + 1;
    // (These mistakes are made where a follower begins to be written, which is told by nothing being stored yet.)
    bool const spoils = is(Mistake::rewrite_what_matches) || is(Mistake::terminator);
    Byte const held = of_tenure && !spoils ? byte(same) : Byte{0};
    acceptor.word = byte(t + 1);
    acceptor.seen_by[t] = Target{Follower::open, acceptor.incarnation, held, held};
    --state.rejoins_left;
    if (held != 0) {
        decide(state, t);
    }
}

template <class S>
void Takeover<S>::restart(State& state, int replica) const {
    Replica& self = state.replicas[replica];
    for (int t = 0; t < settings_.tenures; ++t) {
        Stage const stage = state.tenures[t].stage;
        if (state.tenures[t].owner == replica && (stage == Stage::asking || stage == Stage::leading)) {
            end(state, t);
        }
    }
    self.log = Chain{};
    self.word = 0;
    self.confirmed = 0;
    ++self.incarnation;
    self.admitted = 0;
    --state.restarts_left;
}

// Snapshot and log through at least the record; then the promise; and lastly it is admitted. What was sent may be old.
template <class S>
void Takeover<S>::admit(State& state, int t, int replica, int slots) const {
    Replica& learner = state.replicas[replica];
    learner.log = Chain{};
    std::copy_n(state.tenures[t].chain.begin(), slots, learner.log.begin());
    learner.word = std::max(learner.word, byte(t + 1));
    learner.admitted = 1;
}

template <class S>
void Takeover<S>::answer(State& state, int t) const {
    Tenure& tenure = state.tenures[t];
    tenure.reading = 2;
    if (tenure.applied < tenure.owed) {
        state.violation = kStaleRead;
    }
}

// Nobody counts for it any more; what it has posted may land yet.
template <class S>
void Takeover<S>::end(State& state, int t) const {
    if (state.tenures[t].stage == Stage::asking) {
        kill(state, t);
        return;
    }
    Tenure& tenure = state.tenures[t];
    tenure.stage = Stage::over;
    tenure.applied = tenure.reading = tenure.noted = tenure.owed = 0;
    tenure.decided = settings_.restarts != 0 ? tenure.decided : Byte{0};
    for (Replica& replica : state.replicas) {
        Target& seen = replica.seen_by[t];
        bool const keep = is(Mistake::rewrite_what_matches) || is(Mistake::stores_on_after_failure);
        seen = seen.stage == Follower::open ? Target{seen.stage, seen.incarnation, keep ? seen.stored : Byte{0}, 0}
                                            : Target{};
        replica.confirmed = byte(replica.confirmed & ~(1U << t));
    }
}

template <class S>
void Takeover<S>::kill(State& state, int t) const {
    state.tenures[t] = Tenure{};
    state.tenures[t].stage = Stage::dead;
    for (Replica& replica : state.replicas) {
        replica.seen_by[t] = Target{};
        replica.confirmed = byte(replica.confirmed & ~(1U << t));
    }
}

// Of a tenure that is over and of which nothing can land any more, nothing need be remembered.
template <class S>
void Takeover<S>::settle(State& state) const {
    for (int t = 0; t < settings_.tenures; ++t) {
        if (state.tenures[t].stage != Stage::over || settings_.restarts != 0) {
            continue;
        }
        bool lands = is(Mistake::own_log_granted_in_mid_step) && state.tenures[t].in_mid_step != 0;
        for (int j = 0; j < settings_.replicas; ++j) {
            lands = lands || (reaches(state, t, j) && cursor(state, t, j) < state.tenures[t].tail);
        }
        if (!lands) {
            kill(state, t);
        }
    }
}

}  // namespace mu::model
