// The takeover's configurations: what is searched every time, and what is searched by hand (deep).
#include "takeover.hpp"

namespace mu::model {

namespace {

using Act = TakeoverStep::Act;

template <int kReplicas, int kTenures, int kCells>
Model sized(std::string name, std::string what, TakeoverSettings settings, bool deep = false) {
    settings.replicas = kReplicas;
    settings.tenures = kTenures;
    settings.cells = kCells;
    std::string about = std::to_string(kReplicas) + " replicas, " + std::to_string(kTenures) + " takeovers, " +
                        std::to_string(kCells) + (kCells == 1 ? " slot" : " slots") +
                        (settings.tears ? ", torn writes" : "") + (settings.rejoins != 0 ? ", a rejoin" : "") +
                        (what.empty() ? "" : ", " + what);
    return Model{std::move(name), std::move(about), deep, [settings](Mistake mistake, Limits const& limits) {
                     Takeover<TakeoverState<kReplicas, kTenures, kCells>> const model(settings, mistake);
                     return Search(model, limits).run();
                 }};
}

// 1 has written two slots under p=1 to itself and to 3, and is stopped. 2 leads with p=2 by the grants of 4 and 5, has
// taken 3 over and written its first slot there: behind it stands a slot of p=1 that belongs behind another one.
std::vector<TakeoverStep> stale_slot() {
    return {{Act::start, 0, 0}, {Act::grant, 0, 2}, {Act::grant, 0, 3}, {Act::adopt, 0},    {Act::store, 0, 0},
            {Act::store, 0, 0}, {Act::store, 0, 2}, {Act::store, 0, 2}, {Act::start, 1, 1}, {Act::grant, 1, 3},
            {Act::grant, 1, 4}, {Act::adopt, 1},    {Act::grant, 1, 2}, {Act::store, 1, 2}};
}

void add_takeovers(std::vector<Model>& models) {
    models.push_back(sized<3, 2, 2>("takeover", "", {}));
    models.push_back(sized<3, 2, 3>("takeover-rejoin", "", {.rejoins = 1}));
    models.push_back(sized<3, 3, 2>("takeover-3", "", {}));
    models.push_back(sized<3, 4, 1>("takeover-4", "", {}));
    models.push_back(sized<3, 4, 2>("takeover-4-coarse", "coarse steps", {.tears = false, .at_once = true}));
    models.push_back(sized<3, 2, 3>("commits", "commit offsets", {.rejoins = 1, .idle_cells = true, .commits = true}));
    models.push_back(sized<3, 2, 2>("reads", "a read in each tenure", {.reads = true}));
    models.push_back(sized<3, 3, 2>("takeover-3-rejoin", "", {.rejoins = 1}, true));
    models.push_back(sized<3, 3, 3>("takeover-3-long", "", {.tears = false}, true));
    models.push_back(sized<3, 3, 1>("reads-3", "a read in each tenure", {.tears = false, .reads = true}, true));
}

void add_restarts(std::vector<Model>& models) {
    TakeoverSettings settings{.restarts = 1, .own_grant_apart = true, .idle_cells = true};
    models.push_back(sized<3, 2, 3>("restart", "a restart", settings));
    settings.rejoins = 1;
    models.push_back(sized<3, 2, 3>("restart-rejoin", "a restart", settings, true));
    settings.rejoins = 0;
    settings.restarts = 2;
    models.push_back(sized<3, 2, 4>("restart-twice", "2 restarts", settings, true));
    settings = {.restarts = 1, .tears = false, .at_once = true, .own_grant_apart = true, .idle_cells = true};
    models.push_back(sized<3, 3, 3>("restart-3", "a restart, coarse steps", settings));
    settings.restarts = 2;
    models.push_back(sized<3, 3, 4>("restart-3-twice", "2 restarts, coarse steps", settings, true));
}

void add_larger(std::vector<Model>& models) {
    TakeoverSettings settings{.changes = 2, .members = 0b0111, .tears = false, .at_once = true, .idle_cells = true};
    models.push_back(sized<4, 2, 4>("membership", "3 of them members, 2 changes, coarse steps", settings));
    settings.members = 0b1111;
    settings.clients = false;
    models.push_back(sized<5, 3, 2>("membership-5", "4 of them members, 2 changes, coarse steps", settings));
    models.push_back(sized<4, 2, 3>("membership-fine", "3 of them members, a change",
                                    {.changes = 1, .members = 0b0111, .idle_cells = true}));
    models.push_back(sized<5, 2, 1>("five", "", {}));
    models.push_back(sized<5, 2, 2>("five-coarse", "coarse steps", {.at_once = true}));
    models.push_back(sized<5, 3, 1>("five-3", "coarse steps", {.tears = false, .at_once = true}));
    models.push_back(sized<5, 2, 2>("five-long", "", {}, true));
    models.push_back(sized<5, 3, 2>("five-3-long", "coarse steps", {.tears = false, .at_once = true}, true));
    models.push_back(sized<5, 4, 3>("five-stale", "coarse steps, a stale slot in the beginning",
                                    {.tears = false, .at_once = true, .prologue = stale_slot()}, true));
}

}  // namespace

std::vector<Model> takeover_models() {
    std::vector<Model> models;
    add_takeovers(models);
    add_restarts(models);
    add_larger(models);
    return models;
}

}  // namespace mu::model
