// The one thread of an endpoint that speaks with the registry, so that nobody else waits for it: a silent registry takes
// up its whole time limit, and whoever makes connections has deaths to notice meanwhile.
//
// Invariant: what is seen comes in the order of the looks, and a name is only ever set to the latest text told for it.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fabric/registry.hpp"

namespace mu {

class RegistryClerk {
public:
    // `names` are those that it looks up.
    RegistryClerk(std::shared_ptr<Registry> registry, std::vector<std::string> names);
    ~RegistryClerk();
    RegistryClerk(RegistryClerk const&) = delete;
    RegistryClerk& operator=(RegistryClerk const&) = delete;

    void start();
    // Asks for one round: sets what was told and is not there yet, then looks. One that has not begun is the same one.
    void send();
    // What the next round sets, and the rounds after it until the registry has taken it.
    void tell(std::string const& name, std::string text);
    struct Sight {
        bool answered = false;
        std::vector<std::string> texts;  // one a name, "" where there is none
    };
    // What the latest round has seen; nothing if that was taken before.
    [[nodiscard]] std::optional<Sight> take();
    // Ends the thread, and waits for the call that is under way: for as long as the registry's time limit. With a
    // farewell, every name that was told of is set to it then; the first refusal ends that, a silent registry is not
    // waited for once a name.
    void stop(std::optional<std::string> const& farewell) noexcept;

private:
    struct Told {
        std::string text;
        bool there = false;
    };

    void run();
    [[nodiscard]] Sight round();
    [[nodiscard]] bool set_what_was_told();

    std::shared_ptr<Registry> registry_;
    std::vector<std::string> names_;
    std::thread thread_;
    std::mutex mutex_;  // guards all below; never held while the registry is spoken to
    std::condition_variable wake_;
    bool wanted_ = false;
    bool stopping_ = false;
    std::map<std::string, Told> told_;
    std::optional<Sight> seen_;
};

}  // namespace mu
