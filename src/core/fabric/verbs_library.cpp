#include "fabric/verbs_library.hpp"

#include <dlfcn.h>

#include "common/assert.hpp"

namespace mu {

namespace {

struct Loaded {
    VerbsLibrary library;
    std::string why;  // it cannot be used; empty if it can
};

template <class Function>
void find(void* handle, char const* name, Function*& function, std::string& why) {
    function = reinterpret_cast<Function*>(::dlsym(handle, name));
    if (function == nullptr && why.empty()) why = std::string("libibverbs has no ") + name;
}

Loaded load_once() {
    Loaded it;
    // Never closed: its device drivers keep threads and mappings of their own.
    void* const handle = ::dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        it.why = "libibverbs is not installed (Debian, Ubuntu: apt-get install libibverbs1 ibverbs-providers)";
        return it;
    }
    VerbsLibrary& to = it.library;
    find(handle, "ibv_get_device_list", to.get_device_list, it.why);
    find(handle, "ibv_free_device_list", to.free_device_list, it.why);
    find(handle, "ibv_get_device_name", to.get_device_name, it.why);
    find(handle, "ibv_open_device", to.open_device, it.why);
    find(handle, "ibv_close_device", to.close_device, it.why);
    find(handle, "ibv_query_device", to.query_device, it.why);
    find(handle, "ibv_query_port", to.query_port, it.why);
    find(handle, "ibv_query_gid", to.query_gid, it.why);
    find(handle, "ibv_alloc_pd", to.alloc_pd, it.why);
    find(handle, "ibv_dealloc_pd", to.dealloc_pd, it.why);
    find(handle, "ibv_reg_mr", to.reg_mr, it.why);
    find(handle, "ibv_dereg_mr", to.dereg_mr, it.why);
    find(handle, "ibv_create_cq", to.create_cq, it.why);
    find(handle, "ibv_destroy_cq", to.destroy_cq, it.why);
    find(handle, "ibv_create_qp", to.create_qp, it.why);
    find(handle, "ibv_modify_qp", to.modify_qp, it.why);
    find(handle, "ibv_query_qp", to.query_qp, it.why);
    find(handle, "ibv_destroy_qp", to.destroy_qp, it.why);
    find(handle, "ibv_wc_status_str", to.wc_status_str, it.why);
    return it;
}

Loaded const& loaded() {
    static Loaded const it = load_once();
    return it;
}

}  // namespace

VerbsLibrary const* VerbsLibrary::load(std::string& why) {
    why = loaded().why;
    return why.empty() ? &loaded().library : nullptr;
}

VerbsLibrary const& VerbsLibrary::get() noexcept {
    MU_ASSERT(loaded().why.empty());
    return loaded().library;
}

}  // namespace mu
