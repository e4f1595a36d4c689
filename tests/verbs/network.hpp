// The cables between the guest's hosts (tests/vm/hosts.py), in the hands of a C++ test. Elsewhere such a test fails.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

namespace mu::test {

// Mends at its end whatever it has broken.
class Network {
public:
    Network() = default;
    ~Network() { static_cast<void>(told("heal")); }
    Network(Network const&) = delete;
    Network& operator=(Network const&) = delete;

    // "cut 2", "delay 1 5", …
    void make(std::string const& trouble) { REQUIRE_MESSAGE(told(trouble), "is this the guest? ./dev vm test verbs"); }

private:
    [[nodiscard]] static bool told(std::string const& what) {
        return std::system(("cd \"$MU_TREE\" && python -m tests.vm.hosts " + what).c_str()) == 0;
    }
};

}  // namespace mu::test
