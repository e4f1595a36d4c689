#include "fabric/registry_clerk.hpp"

#include <utility>

#include "common/quiet_thread.hpp"

namespace mu {

RegistryClerk::RegistryClerk(std::shared_ptr<Registry> registry, std::vector<std::string> names)
    : registry_(std::move(registry)), names_(std::move(names)) {}

RegistryClerk::~RegistryClerk() { stop(std::nullopt); }

void RegistryClerk::start() {
    thread_ = quiet_thread([this] { run(); });
}

void RegistryClerk::send() {
    {
        std::lock_guard const guard(mutex_);
        wanted_ = true;
    }
    wake_.notify_one();
}

void RegistryClerk::tell(std::string const& name, std::string text) {
    std::lock_guard const guard(mutex_);
    told_[name] = {std::move(text), false};
}

std::optional<RegistryClerk::Sight> RegistryClerk::take() {
    std::lock_guard const guard(mutex_);
    return std::exchange(seen_, std::nullopt);
}

void RegistryClerk::run() {
    std::unique_lock guard(mutex_);
    for (;;) {
        wake_.wait(guard, [this] { return wanted_ || stopping_; });
        if (stopping_) return;
        wanted_ = false;
        guard.unlock();
        Sight sight = round();
        guard.lock();
        seen_ = std::move(sight);
    }
}

RegistryClerk::Sight RegistryClerk::round() {
    Sight sight;
    sight.answered = set_what_was_told() && registry_->get(names_, sight.texts);
    return sight;
}

bool RegistryClerk::set_what_was_told() {
    std::unique_lock guard(mutex_);
    for (auto& [name, told] : told_) {
        if (told.there) continue;
        std::string const text = told.text;
        guard.unlock();
        bool const done = registry_->set(name, text);
        guard.lock();
        if (!done) return false;
        told.there = told.text == text;  // else another one was told meanwhile
    }
    return true;
}

void RegistryClerk::stop(std::optional<std::string> const& farewell) noexcept {
    {
        std::lock_guard const guard(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    if (!thread_.joinable()) return;
    thread_.join();
    if (!farewell) return;
    for (auto const& [name, told] : told_) {
        if (!registry_->set(name, *farewell)) return;
    }
}

}  // namespace mu
