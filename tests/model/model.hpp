// What the program knows of its models: their names, how to run them, and the mistakes that each must find.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "search.hpp"

namespace mu::model {

// A rule of the protocol that is broken on purpose. The names on the command line are in main.cpp.
enum class Mistake : std::uint8_t {
    none,
    early_grant_below_promise,
    late_grant_below_promise,
    chain_read_before_grant,
    reaccept_in_place,
    rewrite_what_matches,
    terminator,
    no_seal,
    own_store_unchecked,
    own_log_granted_in_mid_step,
    restarted_grants,
    admit_undecided,
    admit_counts_joiner,
    incarnations_not_compared,
    longest_chain_first,
    small_majority,
    link_ignored,
    permission_by_replica,
    stores_on_after_failure,
    commit_without_chain,
    read_without_waiting,
    read_without_confirming,
    read_before_seal,
    read_confirmed_too_early,
    change_before_seal,
    two_changes_at_once,
    majority_of_old_configuration,
    takeover_by_first_configuration,
    recycle_past_joiner,
    recycle_past_follower,
    floor_not_rechecked,
    floor_published_late,
    formation_in_one_phase,
    abandoned_alone,
    abandoned_yet_formed,
    abandoned_by_another_life,
};

struct Model {
    std::string name;
    std::string about;
    bool deep = false;  // too large for every run: only with --deep, or by name
    std::function<Outcome(Mistake, Limits const&)> run;
};

[[nodiscard]] std::vector<Model> takeover_models();
[[nodiscard]] std::vector<Model> recycling_models();
[[nodiscard]] std::vector<Model> formation_models();

}  // namespace mu::model
