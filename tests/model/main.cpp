// The program: searches the models exhaustively, without mistakes (nothing may be found) and with each (it must be).
//
//     mu_model --list                                   the models and the mistakes
//     mu_model MODEL [--mistake NAME] [--limit STATES]  one search; a violation is told step by step
//     mu_model --all [--deep]                           every model as it should be: must find nothing
//     mu_model --mistakes                               every mistake in the model that finds it
//
// Invariant: the exit code is 0 only if what was searched is as it has to be: nothing found in a model without
// mistakes, a violation in one with a mistake (but for the mistakes that are harmless in it, which say why).
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model.hpp"

namespace mu::model {

namespace {

struct MistakeEntry {
    Mistake mistake;
    std::string name;
    std::string model;          // that finds it
    std::string harmless = "";  // why it is not found there, if it cannot be
};

std::vector<MistakeEntry> mistake_table() {
    return {
        {Mistake::early_grant_below_promise, "early-grant-below-promise", "takeover"},
        {Mistake::late_grant_below_promise, "late-grant-below-promise", "takeover"},
        {Mistake::chain_read_before_grant, "chain-read-before-grant", "takeover"},
        {Mistake::reaccept_in_place, "recovered-slots-reaccepted-in-place", "takeover-3"},
        {Mistake::rewrite_what_matches, "matching-slots-rewritten", "takeover-rejoin"},
        {Mistake::terminator, "terminator-beyond-adopted-chain", "takeover-rejoin"},
        {Mistake::no_seal, "no-seal", "takeover-4"},
        {Mistake::own_store_unchecked, "own-store-unchecked", "takeover"},
        {Mistake::own_log_granted_in_mid_step, "own-log-granted-in-mid-step", "takeover-3"},
        {Mistake::restarted_grants, "restarted-grants-at-once", "restart"},
        {Mistake::admit_undecided, "admitted-without-decided-record", "restart"},
        {Mistake::admit_counts_joiner, "admission-counts-joiner", "restart"},
        {Mistake::incarnations_not_compared, "incarnations-not-compared", "restart"},
        {Mistake::longest_chain_first, "longest-chain-first", "takeover-3"},
        {Mistake::small_majority, "majority-too-small", "takeover"},
        {Mistake::link_ignored, "link-ignored", "five-stale"},
        {Mistake::permission_by_replica, "permission-by-replica", "takeover-3"},
        {Mistake::stores_on_after_failure, "stores-on-after-failure", "takeover"},
        {Mistake::commit_without_chain, "commit-without-chain", "commits"},
        {Mistake::read_without_waiting, "read-without-waiting", "reads"},
        {Mistake::read_without_confirming, "read-without-confirming", "reads"},
        {Mistake::read_before_seal, "read-before-seal", "reads"},
        {Mistake::read_confirmed_too_early, "read-confirmed-too-early", "reads"},
        {Mistake::change_before_seal, "change-before-seal", "membership-5"},
        {Mistake::two_changes_at_once, "two-changes-at-once", "membership"},
        {Mistake::majority_of_old_configuration, "majority-of-old-configuration", "membership"},
        {Mistake::takeover_by_first_configuration, "takeover-by-first-configuration", "membership"},
        {Mistake::recycle_past_joiner, "recycle-past-joiner", "recycling"},
        {Mistake::recycle_past_follower, "recycle-past-follower", "recycling"},
        {Mistake::floor_not_rechecked, "floor-not-rechecked", "recycling"},
        {Mistake::floor_published_late, "floor-published-late", "recycling"},
        {Mistake::formation_in_one_phase, "formation-in-one-phase", "formation"},
        {Mistake::abandoned_alone, "abandoned-without-majority", "formation"},
        {Mistake::abandoned_by_another_life, "abandoned-by-another-life", "formation"},
        {Mistake::abandoned_yet_formed, "abandoned-yet-formed", "formation",
         "forming takes all three, and one that was seen to abandon is one of them"},
    };
}

std::vector<Model> all_models() {
    std::vector<Model> models = takeover_models();
    for (auto const& more : {recycling_models(), formation_models()}) {
        models.insert(models.end(), more.begin(), more.end());
    }
    return models;
}

struct Options {
    std::string model;
    std::string mistake;
    std::uint64_t limit = 0;
    bool list = false;
    bool all = false;
    bool mistakes = false;
    bool deep = false;
};

std::optional<Options> parse(std::vector<std::string_view> const& arguments) {
    Options options;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        std::string_view const word = arguments[i];
        bool const more = i + 1 < arguments.size();
        if (word == "--list") {
            options.list = true;
        } else if (word == "--all") {
            options.all = true;
        } else if (word == "--mistakes") {
            options.mistakes = true;
        } else if (word == "--deep") {
            options.deep = true;
        } else if (word == "--mistake" && more) {
            options.mistake = arguments[++i];
        } else if (word == "--limit" && more && arguments[i + 1].find_first_not_of("0123456789") == std::string::npos) {
            options.limit = std::stoull(std::string(arguments[++i]));
        } else if (!word.starts_with("-") && options.model.empty()) {
            options.model = word;
        } else {
            return std::nullopt;
        }
    }
    bool const something = options.list || options.all || options.mistakes || !options.model.empty();
    return something ? std::optional(options) : std::nullopt;
}

Outcome run(Model const& model, Mistake mistake, std::uint64_t limit) {
    bool const shown = isatty(STDERR_FILENO) != 0;
    Limits limits{limit, {}};
    if (shown) {
        limits.progress = [&](std::uint64_t states, unsigned depth) {
            std::fprintf(stderr, "\r%s: %.1f million states, depth %u ", model.name.c_str(),
                         static_cast<double>(states) / 1e6, depth);
        };
    }
    Outcome outcome = model.run(mistake, limits);
    if (shown) {
        std::fprintf(stderr, "\r\033[K");
    }
    return outcome;
}

void list(std::vector<Model> const& models) {
    for (Model const& model : models) {
        std::printf("%-20s %s%s\n", model.name.c_str(), model.about.c_str(), model.deep ? " (deep)" : "");
    }
    std::printf("\nmistakes:\n");
    for (MistakeEntry const& entry : mistake_table()) {
        std::printf("%-36s %s %s\n", entry.name.c_str(), entry.harmless.empty() ? "found by" : "harmless in",
                    entry.model.c_str());
    }
}

char const* verdict(Outcome const& outcome) {
    return !outcome.violation.empty() ? "VIOLATED" : outcome.complete ? "holds" : "holds so far (limit)";
}

void tell(Outcome const& outcome) {
    for (std::string const& line : outcome.trace) {
        std::printf("%s\n", line.c_str());
    }
    if (!outcome.violation.empty()) {
        std::printf("=> %s\n", outcome.violation.c_str());
    }
}

bool run_all(std::vector<Model> const& models, Options const& options) {
    bool good = true;
    std::printf("%-20s %12s %6s %9s  %s\n", "model", "states", "depth", "seconds", "");
    for (Model const& model : models) {
        if (model.deep && !options.deep) {
            continue;
        }
        Outcome const outcome = run(model, Mistake::none, options.limit);
        std::printf("%-20s %12lu %6u %9.1f  %s\n", model.name.c_str(), static_cast<unsigned long>(outcome.states),
                    outcome.depth, outcome.seconds, verdict(outcome));
        std::fflush(stdout);
        tell(outcome);
        good = good && outcome.violation.empty();
    }
    return good;
}

Model const* find(std::vector<Model> const& models, std::string const& name) {
    auto const found = std::find_if(models.begin(), models.end(), [&](Model const& it) { return it.name == name; });
    return found == models.end() ? nullptr : &*found;
}

bool run_mistakes(std::vector<Model> const& models, Options const& options) {
    bool good = true;
    std::printf("%-36s %-16s %10s %6s  %s\n", "mistake", "model", "states", "steps", "");
    for (MistakeEntry const& entry : mistake_table()) {
        Outcome const outcome = run(*find(models, entry.model), entry.mistake, options.limit);
        bool const found = !outcome.violation.empty();
        std::string const otherwise = entry.harmless.empty() ? "NOT FOUND" : "not found: " + entry.harmless;
        std::printf("%-36s %-16s %10lu %6u  %s\n", entry.name.c_str(), entry.model.c_str(),
                    static_cast<unsigned long>(outcome.states), outcome.depth, (found ? "found" : otherwise).c_str());
        std::fflush(stdout);
        good = good && found == entry.harmless.empty();
    }
    return good;
}

int run_one(std::vector<Model> const& models, Options const& options) {
    std::vector<MistakeEntry> const mistakes = mistake_table();
    auto const entry = std::find_if(mistakes.begin(), mistakes.end(),
                                    [&](MistakeEntry const& it) { return it.name == options.mistake; });
    Model const* const model = find(models, options.model);
    if (model == nullptr || (entry == mistakes.end() && !options.mistake.empty())) {
        std::fprintf(stderr, "mu_model: no such %s; --list tells which there are\n", model ? "mistake" : "model");
        return 2;
    }
    bool const wrong = entry != mistakes.end();
    Outcome const outcome = run(*model, wrong ? entry->mistake : Mistake::none, options.limit);
    tell(outcome);
    std::printf("%s: %s; %lu states, %lu steps tried, depth %u, %.1f s\n", model->name.c_str(), verdict(outcome),
                static_cast<unsigned long>(outcome.states), static_cast<unsigned long>(outcome.steps), outcome.depth,
                outcome.seconds);
    bool const must_be_found = wrong && entry->harmless.empty();
    return must_be_found == !outcome.violation.empty() ? 0 : 1;
}

}  // namespace

}  // namespace mu::model

int main(int argc, char** argv) {
    using namespace mu::model;
    std::optional<Options> const options = parse({argv + 1, argv + argc});
    if (!options) {
        std::fprintf(stderr,
                     "usage: mu_model --list | --all [--deep] | --mistakes | MODEL [--mistake NAME]"
                     " [--limit STATES]\n");
        return 2;
    }
    std::vector<Model> const models = all_models();
    if (options->list) {
        list(models);
        return 0;
    }
    if (!options->model.empty()) {
        return run_one(models, *options);
    }
    bool const clean = !options->all || run_all(models, *options);
    bool const seen = !options->mistakes || run_mistakes(models, *options);
    return clean && seen ? 0 : 1;
}
