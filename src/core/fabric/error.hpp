// What a fabric throws when it cannot be opened. Only construction throws; a running fabric answers with values.
//
// Every message says three things: what happened, what was kept safe, what to do next.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace mu {

class FabricError : public std::runtime_error {
public:
    enum class Code : std::uint8_t {
        id_in_use,          // another process runs this replica
        no_space,           // the memory asked for is not to be had
        permission_denied,  // the system does not let this user do it
        other_cluster,      // found something that belongs to another cluster
        other_layout,       // found something that another version of Mu made
        not_a_member,       // the replica is not among the members
        bad_name,           // a cluster or a directory that cannot be one
        bad_size,           // a size that cannot be one
        system,             // anything else the system refuses
    };

    FabricError(Code code, std::string const& message) : std::runtime_error(message), code_(code) {}
    [[nodiscard]] Code code() const noexcept { return code_; }

private:
    Code code_;
};

}  // namespace mu
