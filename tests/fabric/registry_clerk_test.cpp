// The thread that speaks with the registry in the place of those who must not wait for it.
#include "fabric/registry_clerk.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "fabric/memory_registry.hpp"

namespace mu::test {

namespace {

// Takes notes, and refuses the first so many requests to set something.
class NotingRegistry final : public Registry {
public:
    explicit NotingRegistry(int refusals) : refusals_(refusals) {}
    [[nodiscard]] bool set(std::string const& name, std::string const& text) override {
        notes.push_back(name + "=" + text);
        return refusals_-- <= 0;
    }
    [[nodiscard]] bool get(std::vector<std::string> const& names, std::vector<std::string>& texts) override {
        texts.assign(names.size(), "seen");
        return true;
    }
    [[nodiscard]] std::string describe() const override { return "a test"; }

    std::vector<std::string> notes;  // to be read when the clerk has stopped

private:
    int refusals_;
};

// The next that the clerk has seen.
[[nodiscard]] RegistryClerk::Sight next_sight(RegistryClerk& clerk) {
    clerk.send();
    for (;;) {
        if (std::optional<RegistryClerk::Sight> const sight = clerk.take()) return *sight;
        std::this_thread::yield();
    }
}

}  // namespace

TEST_CASE("While the registry is silent the clerk takes what it is told, and sets the latest of it afterwards") {
    auto const registry = std::make_shared<SilentRegistry>();
    RegistryClerk clerk(registry, {"own"});
    clerk.start();
    {
        SilentRegistry::Silence const silence(*registry, "own");
        clerk.send();
        silence.wait_until_asked();
        clerk.tell("own", "earlier");
        clerk.tell("own", "later");
        CHECK_FALSE(clerk.take().has_value());
    }
    CHECK(next_sight(clerk).answered);  // of the round that began before it was told anything, or of the next
    CHECK(next_sight(clerk).texts == std::vector<std::string>{"later"});
}

TEST_CASE("What the registry refuses is told again with the next round, and what it has taken is not") {
    auto const registry = std::make_shared<NotingRegistry>(1);
    RegistryClerk clerk(registry, {"a", "b"});
    clerk.start();
    clerk.tell("own", "text");
    CHECK_FALSE(next_sight(clerk).answered);
    CHECK(next_sight(clerk).texts == std::vector<std::string>{"seen", "seen"});
    CHECK(next_sight(clerk).answered);
    clerk.stop(std::nullopt);
    CHECK(registry->notes == std::vector<std::string>{"own=text", "own=text"});
}

TEST_CASE("A farewell goes to every name that was told of; a registry that refuses one is asked no more") {
    for (int const refusals : {0, 3}) {
        auto const registry = std::make_shared<NotingRegistry>(refusals);
        RegistryClerk clerk(registry, {"other"});
        clerk.start();
        clerk.tell("a", "text");
        clerk.tell("b", "text");
        while (next_sight(clerk).answered != (refusals == 0)) {
        }
        clerk.stop("left");
        std::vector<std::string> const all{"a=text", "b=text", "a=left", "b=left"};
        std::vector<std::string> const refused{"a=text", "a=left"};
        CHECK(registry->notes == (refusals == 0 ? all : refused));
    }
}

}  // namespace mu::test
