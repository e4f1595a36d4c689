// libibverbs, loaded when it is first wanted: one build runs with and without it. What its header inlines (posting,
// polling) needs no symbol; everything else is called through this table.
#pragma once

#include <infiniband/verbs.h>

#include <string>

#undef ibv_query_port
#undef ibv_reg_mr

namespace mu {

struct VerbsLibrary {
    ibv_device** (*get_device_list)(int*) = nullptr;
    void (*free_device_list)(ibv_device**) = nullptr;
    char const* (*get_device_name)(ibv_device*) = nullptr;
    ibv_context* (*open_device)(ibv_device*) = nullptr;
    int (*close_device)(ibv_context*) = nullptr;
    int (*query_device)(ibv_context*, ibv_device_attr*) = nullptr;
    int (*query_port)(ibv_context*, std::uint8_t, ibv_port_attr*) = nullptr;
    int (*query_gid)(ibv_context*, std::uint8_t, int, ibv_gid*) = nullptr;
    ibv_pd* (*alloc_pd)(ibv_context*) = nullptr;
    int (*dealloc_pd)(ibv_pd*) = nullptr;
    ibv_mr* (*reg_mr)(ibv_pd*, void*, std::size_t, int) = nullptr;
    int (*dereg_mr)(ibv_mr*) = nullptr;
    ibv_cq* (*create_cq)(ibv_context*, int, void*, ibv_comp_channel*, int) = nullptr;
    int (*destroy_cq)(ibv_cq*) = nullptr;
    ibv_qp* (*create_qp)(ibv_pd*, ibv_qp_init_attr*) = nullptr;
    int (*modify_qp)(ibv_qp*, ibv_qp_attr*, int) = nullptr;
    int (*query_qp)(ibv_qp*, ibv_qp_attr*, int, ibv_qp_init_attr*) = nullptr;
    int (*destroy_qp)(ibv_qp*) = nullptr;
    char const* (*wc_status_str)(ibv_wc_status) = nullptr;

    // Null if the library or one of its functions is not there; then `why` says what is missing.
    [[nodiscard]] static VerbsLibrary const* load(std::string& why);
    // The one that load() found. There must have been one.
    [[nodiscard]] static VerbsLibrary const& get() noexcept;
};

}  // namespace mu
