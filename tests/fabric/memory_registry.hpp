// Registries that live in the test's process: one that answers at once, and one that can be made to keep silent.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fabric/registry.hpp"

namespace mu::test {

class MemoryRegistry : public Registry {
public:
    [[nodiscard]] bool set(std::string const& name, std::string const& text) override {
        std::lock_guard const guard(mutex_);
        texts_[name] = text;
        return true;
    }
    [[nodiscard]] bool get(std::vector<std::string> const& names, std::vector<std::string>& texts) override {
        std::lock_guard const guard(mutex_);
        texts.clear();
        for (std::string const& name : names) {
            texts.push_back(texts_[name]);
        }
        return true;
    }
    [[nodiscard]] std::string describe() const override { return "this process"; }
    void forget() {
        std::lock_guard const guard(mutex_);
        texts_.clear();
    }

private:
    std::mutex mutex_;
    std::map<std::string, std::string> texts_;
};

// While a Silence lasts, whoever looks up names with a certain ending waits for its end.
class SilentRegistry final : public MemoryRegistry {
public:
    class Silence {
    public:
        Silence(SilentRegistry& registry, std::string ending) : registry_(registry) {
            std::lock_guard const guard(registry_.mutex_);
            registry_.ending_ = std::move(ending);
            registry_.silent_ = true;
        }
        ~Silence() {
            std::lock_guard const guard(registry_.mutex_);
            registry_.silent_ = false;
            registry_.waiting_ = 0;
            ++registry_.ended_;
            registry_.changed_.notify_all();
        }
        Silence(Silence const&) = delete;
        Silence& operator=(Silence const&) = delete;
        void wait_until_asked() const {
            std::unique_lock guard(registry_.mutex_);
            registry_.changed_.wait(guard, [this] { return registry_.waiting_ > 0; });
        }

    private:
        SilentRegistry& registry_;
    };

    [[nodiscard]] bool get(std::vector<std::string> const& names, std::vector<std::string>& texts) override {
        {
            std::unique_lock guard(mutex_);
            if (silent_ && names.front().ends_with(ending_)) {
                ++waiting_;
                changed_.notify_all();
                changed_.wait(guard, [this, ended = ended_] { return ended_ != ended; });
            }
        }
        return MemoryRegistry::get(names, texts);
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string ending_;
    bool silent_ = false;
    int waiting_ = 0;  // in the present silence
    int ended_ = 0;    // silences
};

}  // namespace mu::test
