#include "runtime/tuning.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string>

namespace mu {
namespace {

struct Field {
    std::string_view name;
    Nanoseconds Settings::* member;
    bool of_medium = true;  // grows with how long an operation takes
};

constexpr Nanoseconds kLongest = 100'000'000'000'000'000;  // three years: also when it is added to the time of day
constexpr int kSlower = 20;                                // a soft device's time limits

constexpr Field kFields[] = {
    {"heartbeat_period", &Settings::heartbeat_period},
    {"heartbeat_idle_period", &Settings::heartbeat_idle_period},
    {"idle_after", &Settings::idle_after, false},  // how long callers are quiet
    {"stale_limit", &Settings::stale_limit},
    {"starved_limit", &Settings::starved_limit},
    {"stuck_limit", &Settings::stuck_limit},
    {"minimum_hold", &Settings::minimum_hold},
    {"grant_timeout", &Settings::grant_timeout},
    {"backoff_first", &Settings::backoff_first},
    {"backoff_limit", &Settings::backoff_limit},
    {"joiner_retry", &Settings::joiner_retry},
    {"stall_limit", &Settings::stall_limit},
    {"transfer_timeout", &Settings::transfer_timeout},
    {"commit_idle_after", &Settings::commit_idle_after},
};

std::string known() {
    std::string names;
    for (Field const& field : kFields) {
        names += names.empty() ? "" : ", ";
        names += field.name;
    }
    return names;
}

[[noreturn]] void refuse(std::string_view what) {
    throw std::invalid_argument("[tuning] " + std::string(what) +
                                ". Nothing was started. It takes nanoseconds, for: " + known() + ".");
}

}  // namespace

void tune(Settings& settings, std::string_view name, Nanoseconds value) {
    for (Field const& field : kFields) {
        if (field.name == name) {
            if (value < 0 || value > kLongest) {
                refuse("does not take " + std::to_string(value) + " for " + std::string(name));
            }
            settings.*field.member = value;
            return;
        }
    }
    refuse("knows no setting " + std::string(name));
}

void tune(Settings& settings, std::string_view text) {
    while (!text.empty()) {
        std::string_view const one = text.substr(0, text.find(','));
        text.remove_prefix(std::min(one.size() + 1, text.size()));
        std::size_t const equals = std::min(one.find('='), one.size());
        std::string_view const digits = one.substr(std::min(equals + 1, one.size()));
        Nanoseconds value = 0;
        auto const [stopped, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (error != std::errc{} || stopped != digits.data() + digits.size()) {
            refuse("does not understand " + std::string(one));
        }
        tune(settings, one.substr(0, equals), value);
    }
}

Settings for_medium(Settings settings, bool soft) noexcept {
    Settings const usual;
    for (Field const& field : kFields) {
        if (soft && field.of_medium && settings.*field.member == usual.*field.member) {
            settings.*field.member *= kSlower;
        }
    }
    return settings;
}

}  // namespace mu
