// In the place of the verbs fabric in a build that found no header of libibverbs.
#include "fabric/error.hpp"
#include "fabric/verbs.hpp"

namespace mu {

namespace {

constexpr char kWhy[] =
    "this build of Mu has no verbs fabric: libibverbs' header was not there when it was made. Nothing was changed. "
    "Install it (Debian, Ubuntu: apt-get install libibverbs-dev) and build again";

}  // namespace

std::unique_ptr<Endpoint> open_verbs(EndpointOptions const&, VerbsOptions const&) {
    throw FabricError(FabricError::Code::system, kWhy);
}

PermissionTimes measure_permission(VerbsOptions const&, std::size_t, std::size_t, Nanoseconds (*)()) {
    throw FabricError(FabricError::Code::system, kWhy);
}

VerbsReport look_for_verbs(VerbsOptions const&) { return {{}, kWhy}; }

}  // namespace mu
