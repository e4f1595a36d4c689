#include "bindings/py_verbs.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/errors.hpp"
#include "fabric/verbs.hpp"
#include "runtime/clock.hpp"

using namespace nanobind::literals;

namespace mu::bindings {
namespace {

nb::dict look_for_verbs_dict(std::string device, int port, int gid_index, int mtu) {
    mu::VerbsReport const report = mu::look_for_verbs({nullptr, std::move(device), port, gid_index, mtu});
    nb::list ports;
    for (mu::VerbsPortReport const& each : report.ports) {
        nb::dict values;
        values["device"] = each.device;
        values["port"] = each.port;
        values["state"] = each.state;
        values["gid"] = each.gid;
        values["gid_index"] = each.gid_index;
        values["active_mtu"] = each.active_mtu;
        values["soft"] = each.soft;
        ports.append(values);
    }
    nb::dict result;
    result["ports"] = ports;
    result["problem"] = report.problem;
    return result;
}

nb::dict measure_permission_dict(std::string device, int port, int gid_index, int mtu, std::size_t log_bytes,
                                 std::size_t rounds) {
    nb::dict result;
    try {
        mu::PermissionTimes const times = mu::measure_permission({nullptr, std::move(device), port, gid_index, mtu},
                                                                 log_bytes, rounds, mu::monotonic_now);
        result["flags"] = times.flags;
        result["restart"] = times.restart;
        result["replace"] = times.replace;
        result["register"] = times.register_again;
    } catch (mu::FabricError const& error) {
        raise_fabric_error(error);
    }
    return result;
}

}  // namespace

void bind_verbs(nb::module_& module) {
    module.def("measure_permission", &measure_permission_dict, "device"_a, "port"_a, "gid_index"_a, "mtu"_a,
               "log_bytes"_a, "rounds"_a);
    module.def("look_for_verbs", &look_for_verbs_dict, "device"_a = "", "port"_a = 0, "gid_index"_a = -1, "mtu"_a = 0);
}

}  // namespace mu::bindings
