// Which steps lead on from a state of the takeover, and who is who. Included by takeover.hpp.
#pragma once

namespace mu::model {

template <class S>
template <class Emit>
void Takeover<S>::successors(State const& state, Emit const& emit) const {
    auto const step = [&](Step const& taken, auto const& change) {
        State next = state;
        change(next);
        settle(next);
        if (settings_.commits && next.violation == 0) {
            look_at_followers(next);
        }
        emit(next, taken);
    };
    using Act = Step::Act;
    for (int t = 0; t < settings_.tenures; ++t) {
        Stage const stage = state.tenures[t].stage;
        for (int j = 0; j < settings_.replicas; ++j) {
            if (stage == Stage::idle && may_start(state, t, j)) {
                step({Act::start, t, j}, [&](State& next) { start(next, t, j); });
            } else if (stage != Stage::idle && stage != Stage::dead) {
                follower_steps(state, t, j, step);
            }
        }
        if (stage == Stage::asking && may_adopt(state, t)) {
            step({Act::adopt, t}, [&](State& next) { adopt(next, t); });
        }
        if (stage == Stage::leading) {
            append_steps(state, t, step);
            reader_steps(state, t, step);
            own_store_steps(state, t, step);
        }
    }
    for (int j = 0; j < settings_.replicas && state.restarts_left != 0; ++j) {
        if (may_restart(state, j)) {
            step({Act::restart, 0, j}, [&](State& next) { restart(next, j); });
        }
    }
}

// A step of a prologue: it must be one that leads on from here.
template <class S>
void Takeover<S>::take(State& state, Step const& wanted) const {
    State const before = state;
    bool found = false;
    successors(before, [&](State const& next, Step const& step) {
        if (step.act == wanted.act && step.tenure == wanted.tenure && step.replica == wanted.replica) {
            state = next;
            found = true;
        }
    });
    if (!found) {
        throw std::logic_error("no such step in this prologue");
    }
}

// What tenure t and replica j may do with each other.
template <class S>
template <class Do>
void Takeover<S>::follower_steps(State const& state, int t, int j, Do const& step) const {
    using Act = Step::Act;
    Tenure const& tenure = state.tenures[t];
    Replica const& replica = state.replicas[j];
    Target const& seen = replica.seen_by[t];
    bool const active = tenure.stage == Stage::asking || tenure.stage == Stage::leading;
    if (active && seen.stage <= Follower::read_too_early && may_grant(state, t, j)) {
        step({Act::grant, t, j}, [&](State& next) { grant(next, t, j); });
    }
    if (tenure.stage == Stage::asking) {
        bool const early = is(Mistake::chain_read_before_grant) && seen.stage == Follower::none;
        if (early || (seen.stage == Follower::granted && seen.incarnation == replica.incarnation)) {
            step({Act::read, t, j}, [&](State& next) { read(next, t, j); });
        }
        return;
    }
    if (reaches(state, t, j) && cursor(state, t, j) < tenure.tail) {
        step({Act::store, t, j}, [&](State& next) { store(next, t, j, true); });
        if (settings_.tears) {
            step({Act::tear, t, j}, [&](State& next) { store(next, t, j, false); });
        }
        if (is(Mistake::terminator) && tenure.stage == Stage::leading && seen.stored == 0 &&
            !replica.log[tenure.seal].empty()) {
            step({Act::terminate, t, j}, [&](State& next) { next.replicas[j].log[tenure.seal] = Slot{}; });
        }
    }
    if (tenure.stage == Stage::leading && seen.stage == Follower::open && seen.stored > seen.accepted) {
        step({Act::acknowledge, t, j}, [&](State& next) { acknowledge(next, t, j); });
    }
    if (may_rejoin(state, t, j)) {
        step({Act::rejoin, t, j}, [&](State& next) { rejoin(next, t, j); });
    }
    int const record = settings_.restarts != 0 ? record_of(state, t, j) : 0;
    int const until = is(Mistake::admit_undecided) ? tenure.tail : tenure.decided;
    for (int slots = record; record != 0 && slots <= until; ++slots) {
        step({Act::admit, t, j, slots}, [&](State& next) { admit(next, t, j, slots); });
    }
}

template <class S>
bool Takeover<S>::may_rejoin(State const& state, int t, int j) const noexcept {
    Tenure const& tenure = state.tenures[t];
    Follower const stage = state.replicas[j].seen_by[t].stage;
    return state.rejoins_left != 0 && tenure.stage == Stage::leading &&
           (stage == Follower::open || stage == Follower::closed) && may_grant(state, t, j);
}

// Never so many without memory at a time that no majority of the others is left: a cluster that lost its majority stops.
template <class S>
bool Takeover<S>::may_restart(State const& state, int j) const noexcept {
    int unadmitted = state.replicas[j].admitted != 0 ? 1 : 0;
    for (int other = 0; other < settings_.replicas; ++other) {
        unadmitted += state.replicas[other].admitted == 0 ? 1 : 0;
    }
    return state.replicas[j].incarnation < 2 && settings_.replicas - unadmitted >= settings_.replicas / 2 + 1;
}

template <class S>
template <class Do>
void Takeover<S>::append_steps(State const& state, int t, Do const& step) const {
    using Act = Step::Act;
    Tenure const& tenure = state.tenures[t];
    if (!settings_.idle_cells || tenure.tail == settings_.cells) {
        return;
    }
    auto const add = [&](int kind) { step({Act::append, t, 0, kind}, [&](State& next) { append(next, t, kind); }); };
    bool held = false;  // a change is not decided yet
    for (int i = tenure.decided; settings_.changes != 0 && i < tenure.tail; ++i) {
        held = held || Kind::is_record(tenure.chain[i].kind());
    }
    bool const sealed = tenure.decided > tenure.seal;
    if (sealed && !held && settings_.clients) {
        add(Kind::client);
    }
    for (int j = 0; j < settings_.replicas; ++j) {
        Replica const& replica = state.replicas[j];
        if (sealed && settings_.restarts != 0 && replica.admitted == 0 &&
            replica.incarnation > incarnation_named(tenure.chain, tenure.tail, j)) {
            add(Kind::record(j, replica.incarnation - 1));
        }
        if (settings_.changes != 0 && j != tenure.owner && may_change(state, t)) {
            bool const member = ((members_of(tenure.chain, tenure.tail) >> j) & 1U) != 0;
            add(Kind::record(j, member ? Kind::remove : Kind::add));
        }
    }
}

template <class S>
template <class Do>
void Takeover<S>::reader_steps(State const& state, int t, Do const& step) const {
    using Act = Step::Act;
    Tenure const& tenure = state.tenures[t];
    if (!settings_.reads || tenure.reading == 2) {
        return;
    }
    if (tenure.reading == 0 && (tenure.decided > tenure.seal || is(Mistake::read_before_seal))) {
        step({Act::begin_read, t}, [&](State& next) { begin_read(next, t); });
    }
    if (tenure.applied < tenure.decided) {
        step({Act::apply, t}, [&](State& next) { next.tenures[t].applied = tenure.decided; });
    }
    int confirmed = 0;
    for (int j = 0; j < settings_.replicas; ++j) {
        Replica const& replica = state.replicas[j];
        bool const has = ((replica.confirmed >> t) & 1U) != 0;
        confirmed += has ? 1 : 0;
        bool const asked = tenure.reading == 1 || is(Mistake::read_confirmed_too_early);
        if (!has && asked && !is(Mistake::read_without_confirming) && reaches(state, t, j)) {
            step({Act::confirm, t, j},
                 [&](State& next) { next.replicas[j].confirmed = byte(next.replicas[j].confirmed | 1U << t); });
        }
    }
    bool const own = ((state.replicas[tenure.owner].confirmed >> t) & 1U) != 0;
    bool const sure = (own && confirmed >= majority_of(settings_.members)) || is(Mistake::read_without_confirming);
    if (tenure.reading == 1 && sure && (tenure.applied >= tenure.noted || is(Mistake::read_without_waiting))) {
        step({Act::answer, t}, [&](State& next) { answer(next, t); });
    }
}

template <class S>
void Takeover<S>::begin_read(State& state, int t) const {
    Tenure& tenure = state.tenures[t];
    tenure.reading = 1;
    tenure.noted = tenure.decided;
    tenure.owed = byte(std::count_if(state.ledger.begin(), state.ledger.end(), [](auto value) { return value != 0; }));
}

// Only by mistake: the leader's own store is one step with the look at its own permission.
template <class S>
template <class Do>
void Takeover<S>::own_store_steps(State const& state, int t, Do const& step) const {
    using Act = Step::Act;
    Tenure const& tenure = state.tenures[t];
    Replica const& self = state.replicas[tenure.owner];
    Target const& seen = self.seen_by[t];
    int const own = tenure.owner;
    if (is(Mistake::own_store_unchecked) && self.word > t + 1 && seen.stage == Follower::open) {
        int const at = std::max(seen.stored, tenure.seal);
        if (at < tenure.tail) {
            step({Act::store_unchecked, t, own},
                 [&](State& next) { next.replicas[own].seen_by[t].stored = byte(at + 1); });
        }
    }
    if (!is(Mistake::own_log_granted_in_mid_step)) {
        return;
    }
    if (tenure.in_mid_step == 0 && reaches(state, t, own) && cursor(state, t, own) < tenure.tail) {
        int const at = cursor(state, t, own);
        step({Act::begin_own_store, t, own}, [&](State& next) { next.tenures[t].in_mid_step = byte(at + 1); });
    }
    if (tenure.in_mid_step != 0 && self.word > t + 1) {
        int const at = tenure.in_mid_step - 1;
        step({Act::end_own_store, t, own, at}, [&](State& next) {
            next.replicas[own].log[at] = tenure.chain[at];
            next.tenures[t].in_mid_step = 0;
        });
    }
}

// A follower applies what its own chain says is decided; whether that is so, it cannot know, but we do.
template <class S>
void Takeover<S>::look_at_followers(State& state) const {
    int elsewhere = 0;
    for (Tenure const& tenure : state.tenures) {
        elsewhere = std::max<int>(elsewhere, is(Mistake::commit_without_chain) ? tenure.decided : 0);
    }
    for (int j = 0; j < settings_.replicas; ++j) {
        Chain const& log = state.replicas[j].log;
        int const length = chain_length(log);
        int commit = elsewhere;
        for (int i = 0; i < length; ++i) {
            commit = std::max<int>(commit, log[i].commit());
        }
        for (int i = 0; i < std::min(commit, length); ++i) {
            state.violation =
                log[i].value() == decided_value(state.ledger[i]) ? state.violation : byte(kAppliedUndecided);
        }
    }
}

// --- Who is who -----------------------------------------------------------------------------------------------------

// What is true of this replica whatever it is called: a slot's record is about itself or about another one.
template <class S>
std::uint64_t Takeover<S>::likeness(State const& state, int j) const noexcept {
    bool const named = settings_.restarts != 0 || settings_.changes != 0;
    std::uint64_t hash = 0;
    auto const take = [&](std::uint64_t word) { hash = std::rotl((hash ^ word) * 0x9e3779b97f4a7c15ULL, 29); };
    auto const take_slot = [&](Slot slot) {
        bool const other = named && Kind::is_record(slot.kind()) && Kind::replica(slot.kind()) != j;
        bool const self = named && Kind::is_record(slot.kind()) && Kind::replica(slot.kind()) == j;
        int const kind = Kind::first_record + Kind::variant(slot.kind()) + (self ? 2 : 0);
        take(other || self ? slot.with_kind(kind).bits() : slot.bits());
    };
    Replica const& replica = state.replicas[j];
    for (Slot const slot : replica.log) {
        take_slot(slot);
    }
    take(replica.word | replica.incarnation << 8U | replica.admitted << 16U | replica.confirmed << 24U);
    for (int t = 0; t < settings_.tenures; ++t) {
        Target const& seen = replica.seen_by[t];
        Stage const stage = state.tenures[t].stage;
        bool const owns = stage != Stage::idle && stage != Stage::dead && state.tenures[t].owner == j;
        take(static_cast<unsigned>(seen.stage) | seen.incarnation << 8U | seen.stored << 16U | seen.accepted << 24U |
             static_cast<std::uint64_t>(owns) << 32U);
        for (int i = 0; named && i < state.tenures[t].tail; ++i) {
            take_slot(state.tenures[t].chain[i]);
        }
    }
    // Members of the first configuration come before the others, as they do in the beginning.
    bool const outsider = ((settings_.members >> j) & 1U) == 0;
    return hash >> 1U | static_cast<std::uint64_t>(outsider) << 63U;
}

template <class S>
void Takeover<S>::canonicalise(State& state) const {
    std::array<std::pair<std::uint64_t, int>, S::replicas_most> order;
    for (int j = 0; j < S::replicas_most; ++j) {
        order[j] = {j < settings_.replicas ? likeness(state, j) : ~0ULL, j};
    }
    std::sort(order.begin(), order.end());
    std::array<Byte, S::replicas_most> place{};
    bool same = true;
    for (int j = 0; j < S::replicas_most; ++j) {
        place[order[j].second] = byte(j);
        same = same && order[j].second == j;
    }
    if (same) {
        return;
    }
    auto const rename = [&](Slot& slot) {
        if (Byte const kind = slot.kind(); Kind::is_record(kind)) {
            slot = slot.with_kind(Kind::record(place[Kind::replica(kind)], Kind::variant(kind)));
        }
    };
    auto const replicas = state.replicas;
    for (int j = 0; j < S::replicas_most; ++j) {
        state.replicas[j] = replicas[order[j].second];
        std::for_each(state.replicas[j].log.begin(), state.replicas[j].log.end(), rename);
    }
    for (Tenure& tenure : state.tenures) {
        bool const owned = tenure.stage != Stage::idle && tenure.stage != Stage::dead;
        tenure.owner = owned ? place[tenure.owner] : Byte{0};
        std::for_each(tenure.chain.begin(), tenure.chain.end(), rename);
    }
    for (std::uint16_t& value : state.ledger) {
        if (Byte const kind = byte(value >> 12U); Kind::is_record(kind)) {
            int const renamed = Kind::record(place[Kind::replica(kind)], Kind::variant(kind));
            value = static_cast<std::uint16_t>((value & 0xfffU) | renamed << 12);
        }
    }
}

}  // namespace mu::model
