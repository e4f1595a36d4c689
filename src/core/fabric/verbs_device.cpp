#include "fabric/verbs_device.hpp"

#include <arpa/inet.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "common/assert.hpp"

namespace mu {

namespace {

using Code = FabricError::Code;

constexpr char kMakeOne[] =
    "Plug in a device, or make a soft one: `modprobe rdma_rxe`, then `rdma link add rxe0 type rxe netdev eth0` (with "
    "your network device)";

[[noreturn]] void refuse(Code code, std::string const& what, std::string const& next) {
    throw FabricError(code, what + ". Nothing was changed. " + next);
}

// The devices of this machine; freed at the end of the scope (opened ones stay open).
class DeviceList {
public:
    explicit DeviceList(VerbsLibrary const& library) : library_(library), list_(library.get_device_list(&count_)) {}
    ~DeviceList() {
        if (list_ != nullptr) library_.free_device_list(list_);
    }
    DeviceList(DeviceList const&) = delete;
    DeviceList& operator=(DeviceList const&) = delete;
    [[nodiscard]] std::span<ibv_device*> all() const noexcept {
        return {list_, list_ == nullptr ? 0 : static_cast<std::size_t>(count_)};
    }

private:
    VerbsLibrary const& library_;
    int count_ = 0;
    ibv_device** list_;
};

// Hardware has a place on a bus.
bool is_soft(std::string const& device) {
    struct stat status = {};
    return ::stat(("/sys/class/infiniband/" + device + "/parent").c_str(), &status) == 0;
}

bool is_v4(ibv_gid const& gid) noexcept {
    static constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::equal(kMapped.begin(), kMapped.end(), gid.raw);
}

// The index that routes over IPv4 if there is one: it crosses subnets and needs no link-local scope.
int choose_gid(ibv_context* context, std::uint8_t port, int entries, int wanted, ibv_gid& gid) {
    VerbsLibrary const& library = VerbsLibrary::get();
    auto const is_empty = [](ibv_gid const& it) {
        return std::all_of(std::begin(it.raw), std::end(it.raw), [](auto byte) { return byte == 0; });
    };
    if (wanted >= 0) return library.query_gid(context, port, wanted, &gid) == 0 && !is_empty(gid) ? wanted : -1;
    int first = -1;
    for (int index = 0; index < std::min(entries, 255); ++index) {
        ibv_gid found{};
        if (library.query_gid(context, port, index, &found) != 0) continue;
        if (is_empty(found)) continue;
        if (first < 0 || is_v4(found)) {
            gid = found;
            first = index;
        }
        if (is_v4(found)) break;
    }
    return first;
}

std::string text_of(ibv_gid const& gid) {
    char text[INET6_ADDRSTRLEN] = {};
    ::inet_ntop(AF_INET6, gid.raw, text, sizeof text);
    return text;
}

char const* name_of(ibv_port_state state) noexcept {
    switch (state) {
        case IBV_PORT_ACTIVE:
            return "active";
        case IBV_PORT_DOWN:
            return "down";
        case IBV_PORT_INIT:
            return "initialising";
        case IBV_PORT_ARMED:
            return "armed";
        default:
            return "unknown";
    }
}

}  // namespace

VerbsDevice::VerbsDevice(VerbsOptions const& options) {
    std::string why;
    VerbsLibrary const* const library = VerbsLibrary::load(why);
    if (library == nullptr) refuse(Code::system, "libibverbs cannot be used: " + why, "Then try again");
    DeviceList const devices(*library);
    if (devices.all().empty()) refuse(Code::system, "there is no RDMA device here", kMakeOne);
    std::string seen;
    std::string without_gid;
    for (ibv_device* const device : devices.all()) {
        name_ = library->get_device_name(device);
        seen += (seen.empty() ? "" : ", ") + name_;
        if (!options.device.empty() && options.device != name_) continue;
        context_ = library->open_device(device);
        if (context_ == nullptr) {
            refuse(Code::permission_denied, "device " + name_ + " cannot be opened: " + std::strerror(errno),
                   "Run as a user who may use /dev/infiniband");
        }
        try {
            choose_port(options, without_gid);
        } catch (FabricError const&) {
            library->close_device(context_);
            throw;
        }
        if (port_ != 0) break;
        library->close_device(context_);
        context_ = nullptr;
    }
    if (context_ == nullptr && !without_gid.empty()) {
        refuse(Code::system, without_gid + " has no GID with index " + std::to_string(options.gid_index),
               "`mu fabrics` shows which one it would use; leave it out to use that");
    }
    if (context_ == nullptr) {
        refuse(Code::system,
               "no RDMA device has an active port (seen: " + seen +
                   "; wanted: " + (options.device.empty() ? "any" : options.device) + ")",
               "`mu fabrics` shows their state");
    }
    soft_ = is_soft(name_);
    domain_ = library->alloc_pd(context_);
    if (domain_ == nullptr) {
        int const error = errno;
        library->close_device(context_);
        refuse(Code::system, "device " + name_ + " gives no protection domain: " + std::strerror(error),
               "`mu fabrics` shows what there is");
    }
}

void VerbsDevice::choose_port(VerbsOptions const& options, std::string& without_gid) {
    VerbsLibrary const& library = VerbsLibrary::get();
    ibv_device_attr device{};
    if (library.query_device(context_, &device) != 0) return;
    for (int port = 1; port <= device.phys_port_cnt; ++port) {
        ibv_port_attr found{};
        auto const number = static_cast<std::uint8_t>(port);
        if ((options.port != 0 && options.port != port) || library.query_port(context_, number, &found) != 0 ||
            found.state != IBV_PORT_ACTIVE) {
            continue;
        }
        int const index = choose_gid(context_, number, found.gid_tbl_len, options.gid_index, gid_);
        if (index < 0) {
            if (options.gid_index >= 0) without_gid = "port " + std::to_string(port) + " of " + name_;
            continue;  // another one may have it
        }
        mtu_ = found.active_mtu;
        if (options.mtu != 0) {
            while (mtu_ > IBV_MTU_256 && mtu_bytes(mtu_) > options.mtu) {
                mtu_ = static_cast<ibv_mtu>(mtu_ - 1);
            }
            if (mtu_bytes(mtu_) != options.mtu) {
                refuse(Code::bad_size,
                       "an MTU of " + std::to_string(options.mtu) + " bytes cannot be: port " + std::to_string(port) +
                           " of " + name_ + " has an active one of " + std::to_string(mtu_bytes(found.active_mtu)),
                       "Choose a power of two from 256 up to that, or leave it out to use the active one");
            }
        }
        gid_index_ = static_cast<std::uint8_t>(index);
        lid_ = found.lid;
        port_ = number;
        return;
    }
}

VerbsDevice::~VerbsDevice() {
    if (domain_ != nullptr) VerbsLibrary::get().dealloc_pd(domain_);
    if (context_ != nullptr) VerbsLibrary::get().close_device(context_);
}

VerbsReport look_for_verbs(VerbsOptions const& options) {
    VerbsReport report;
    VerbsLibrary const* const library = VerbsLibrary::load(report.problem);
    if (library == nullptr) return report;
    DeviceList const devices(*library);
    for (ibv_device* const device : devices.all()) {
        std::string const name = library->get_device_name(device);
        ibv_context* const context = library->open_device(device);
        if (context == nullptr) {
            report.problem = "device " + name + " cannot be opened: " + std::strerror(errno);
            continue;
        }
        ibv_device_attr found{};
        int const ports = library->query_device(context, &found) == 0 ? found.phys_port_cnt : 0;
        for (int port = 1; port <= ports; ++port) {
            ibv_port_attr state{};
            ibv_gid gid{};
            if (library->query_port(context, static_cast<std::uint8_t>(port), &state) != 0) continue;
            int const index =
                choose_gid(context, static_cast<std::uint8_t>(port), state.gid_tbl_len, options.gid_index, gid);
            report.ports.push_back({name, port, name_of(state.state), index < 0 ? "" : text_of(gid), index,
                                    mtu_bytes(state.active_mtu), is_soft(name)});
        }
        library->close_device(context);
    }
    if (!report.problem.empty()) return report;
    try {
        VerbsDevice const device(options);
        std::vector<std::byte> memory(1U << 20U);
        Registration const registration(device, memory, IBV_ACCESS_LOCAL_WRITE);
    } catch (FabricError const& error) {
        report.problem = error.what();
    }
    return report;
}

// --- Memory ---------------------------------------------------------------------------------------------------------

Registration::Registration(VerbsDevice const& device, std::span<std::byte> memory, int access) {
    if (renew(device, memory, access)) return;
    int const error = errno;
    bool const limit = error == ENOMEM || error == EPERM || error == EAGAIN;
    refuse(
        limit ? Code::permission_denied : Code::system,
        "device " + device.name() + " cannot register " + std::to_string(memory.size()) +
            " bytes: " + std::strerror(error),
        limit ? "Raise the limit of locked memory (`ulimit -l unlimited`, or memlock in limits.conf), or use a smaller "
                "log"
              : "The kernel's log may say more");
}

bool Registration::renew(VerbsDevice const& device, std::span<std::byte> memory, int access) noexcept {
    withdraw();
    region_ = VerbsLibrary::get().reg_mr(device.domain(), memory.data(), memory.size(), access);
    return region_ != nullptr;
}

void Registration::withdraw() noexcept {
    if (region_ == nullptr) return;
    // A registration that stays would let late writes in: nobody may go on then.
    MU_ASSERT(VerbsLibrary::get().dereg_mr(region_) == 0);
    region_ = nullptr;
}

CompletionQueue::CompletionQueue(VerbsDevice const& device, int entries)
    : queue_(VerbsLibrary::get().create_cq(device.context(), entries, nullptr, nullptr, 0)) {
    if (queue_ == nullptr) {
        refuse(Code::system,
               "device " + device.name() + " gives no completion queue of " + std::to_string(entries) +
                   " entries: " + std::strerror(errno),
               "End other programs that use the device");
    }
}

CompletionQueue::~CompletionQueue() { VerbsLibrary::get().destroy_cq(queue_); }

std::uint32_t fresh_sequence() noexcept {
    std::uint32_t bits = 0;
    while (::getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
    }
    return bits & kSequenceMask;
}

}  // namespace mu
