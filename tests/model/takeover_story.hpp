// Words for the takeover's steps and states. Included by takeover.hpp.
#pragma once

namespace mu::model {

template <class S>
std::string Takeover<S>::show(Slot slot) const {
    if (slot.empty()) {
        return "-";
    }
    std::string text;
    if (slot.kind() == Kind::seal) {
        text = "seal";
    } else if (slot.kind() == Kind::client) {
        text = "value";
    } else {
        std::string const replica = std::to_string(Kind::replica(slot.kind()) + 1);
        int const variant = Kind::variant(slot.kind());
        if (settings_.changes != 0) {
            text = (variant == Kind::add ? "add " : "remove ") + replica;
        } else {
            text = "admit " + replica + " incarnation " + std::to_string(variant + 1);
        }
    }
    text += " p=" + std::to_string(slot.proposal());
    if (slot.born() != slot.proposal()) {
        text += " (first p=" + std::to_string(slot.born()) + ")";
    }
    if (slot.commit() != 0) {
        text += " commit " + std::to_string(slot.commit());
    }
    return "{" + text + "}";
}

template <class S>
std::string Takeover<S>::describe(State const& before, Step const& step, State const& after) const {
    using Act = Step::Act;
    int const t = step.tenure;
    Tenure const& tenure = before.tenures[t];
    Tenure const& later = after.tenures[t];
    std::string const to = std::to_string(step.replica + 1);
    std::string const p = "p=" + std::to_string(t + 1);
    std::string const leader = std::to_string(tenure.owner + 1) + " (" + p + ")";
    auto const cell = [&](int at) { return "slot " + std::to_string(at) + " " + show(tenure.chain[at]); };
    auto const count = [](int number) { return std::to_string(number); };
    std::string const decided =
        later.decided > tenure.decided ? "; all below slot " + count(later.decided) + " is decided" : "";
    switch (step.act) {
        case Act::start:
            return to + " asks all for permission with " + p +
                   (settings_.own_grant_apart ? "" : ", grants its own log and reads it");
        case Act::grant:
            return to + " grants " + leader + "; its permission word was " + count(before.replicas[step.replica].word);
        case Act::read:
            return leader + " reads the chain of " + to + ": " +
                   count(chain_length(before.replicas[step.replica].log)) + " slots" +
                   (later.stage == Stage::dead ? ", one with a proposal not below its own: it aborts" : "");
        case Act::adopt:
            return later.stage == Stage::dead ? leader + " cannot adopt: the takeover is void"
                                              : leader + " adopts a chain of " + count(tenure.tail) +
                                                    " slots and appends its own slots" + decided;
        case Act::store:
            return leader + " writes " + cell(cursor(before, t, step.replica)) + " to " + to + ": whole";
        case Act::tear:
            return leader + " writes " + cell(cursor(before, t, step.replica)) + " to " + to + ": torn, and fails";
        case Act::acknowledge:
            return leader + " learns that " + to + " has accepted all below slot " +
                   count(before.replicas[step.replica].seen_by[t].stored) + decided;
        case Act::rejoin:
            return leader + " has lost " + to + " and asks again: granted at the same proposal, read, compared";
        case Act::restart:
            return to + " restarts with empty memory, incarnation " + count(after.replicas[step.replica].incarnation);
        case Act::append:
            return leader + " appends slot " + count(tenure.tail) + " " + show(later.chain[tenure.tail]);
        case Act::admit:
            return leader + " sends " + to + " a snapshot of all below slot " + count(step.detail) + ": " + to +
                   " is admitted";
        case Act::begin_read:
            return leader + " begins a read: notes R = " + count(later.noted) +
                   " (decided anywhere: " + count(later.owed) + ")";
        case Act::confirm:
            return leader + " confirms its tenure at " + to;
        case Act::apply:
            return leader + " applies all below slot " + count(tenure.decided);
        case Act::answer:
            return leader + " answers the read with all below slot " + count(tenure.applied);
        case Act::terminate:
            return leader + " writes a terminator to " + to + " at slot " + count(tenure.seal);
        case Act::store_unchecked:
            return leader + " stores its next slot in its own area and does not look at its permission word";
        case Act::begin_own_store:
            return leader + " begins to store " + cell(tenure.in_mid_step == 0 ? later.in_mid_step - 1 : 0) +
                   " in its own log and is stopped";
        case Act::end_own_store:
            return leader + " goes on: " + cell(step.detail) + " lands in its own log";
    }
    return "?";
}

template <class S>
std::string Takeover<S>::violation(State const& state) const {
    switch (state.violation) {
        case kTwoValues:
            return "two values are decided at one offset: the earlier one is lost";
        case kLost:
            return "a value that was decided under a lower proposal is not in the chain that is adopted: it is lost";
        case kStaleRead:
            return "a read misses what had been decided when it began";
        case kAppliedUndecided:
            return "a follower applies what was not decided";
        default:
            return "";
    }
}

template <class S>
std::vector<std::string> Takeover<S>::picture(State const& state) const {
    std::vector<std::string> lines;
    for (int j = 0; j < settings_.replicas; ++j) {
        Replica const& replica = state.replicas[j];
        std::string line =
            "   log of " + std::to_string(j + 1) + " (permission p=" + std::to_string(replica.word) + "):";
        for (int i = 0; i < settings_.cells; ++i) {
            line += " " + show(replica.log[i]);
        }
        lines.push_back(line);
    }
    return lines;
}

}  // namespace mu::model
