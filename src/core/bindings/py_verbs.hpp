// mu._core.look_for_verbs and measure_permission: RDMA devices of this machine.
#pragma once

#include <nanobind/nanobind.h>

namespace mu::bindings {

namespace nb = nanobind;

void bind_verbs(nb::module_& module);

}  // namespace mu::bindings
