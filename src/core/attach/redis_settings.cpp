#include "attach/redis_settings.hpp"

#include <charconv>
#include <functional>
#include <map>

namespace mu::redis {
namespace {

template <class Number>
bool parse(std::string const& text, Number& value) {
    char const* const end = text.data() + text.size();
    auto const [stopped, error] = std::from_chars(text.data(), end, value);
    return error == std::errc{} && stopped == end;
}

bool parse(std::string const& text, bool& value) {
    value = text == "yes";
    return value || text == "no";
}

bool parse(std::string const& text, std::string& value) {
    value = text;
    return true;
}

// 1@127.0.0.1:6379
bool parse_peer(std::string const& text, std::vector<PeerAddress>& peers) {
    std::size_t const at = text.find('@');
    std::size_t const colon = text.rfind(':');
    PeerAddress peer;
    if (at == std::string::npos || colon == std::string::npos || colon < at ||
        !parse(text.substr(0, at), peer.replica) || !parse(text.substr(colon + 1), peer.port)) {
        return false;
    }
    peer.host = text.substr(at + 1, colon - at - 1);
    peers.push_back(peer);
    return true;
}

}  // namespace

std::string take_setting(ModuleSettings& settings, std::string const& text) {
    std::size_t const equals = text.find('=');
    std::string const key = text.substr(0, equals);
    std::string const value = equals == std::string::npos ? "" : text.substr(equals + 1);
    std::map<std::string, std::function<bool()>> const known{
        {"cluster", [&] { return parse(value, settings.cluster); }},
        {"cluster_key", [&] { return parse(value, settings.cluster_key); }},
        {"replica", [&] { return parse(value, settings.replica); }},
        {"fabric", [&] { return parse(value, settings.fabric); }},
        {"directory", [&] { return parse(value, settings.directory); }},
        {"registry", [&] { return parse(value, settings.registry); }},
        {"rdma_device", [&] { return parse(value, settings.rdma_device); }},
        {"rdma_port", [&] { return parse(value, settings.rdma_port); }},
        {"rdma_gid_index", [&] { return parse(value, settings.rdma_gid_index); }},
        {"rdma_mtu", [&] { return parse(value, settings.rdma_mtu); }},
        {"log_bytes", [&] { return parse(value, settings.log_bytes); }},
        {"dedicated_cores", [&] { return parse(value, settings.dedicated_cores); }},
        {"commit_idle_us", [&] { return parse(value, settings.commit_idle_us); }},
        {"stall_limit_ms", [&] { return parse(value, settings.stall_limit_ms); }},
        {"tuning", [&] { return parse(value, settings.tuning); }},
        {"timeout_ns", [&] { return parse(value, settings.timeout_ns); }},
        {"hung_after_ms", [&] { return parse(value, settings.hung_after_ms); }},
        {"stale_reads", [&] { return parse(value, settings.stale_reads); }},
        {"own_login", [&] { return parse(value, settings.own_login); }},
        {"service", [&] { return parse(value, settings.service); }},
        {"dump", [&] { return parse(value, settings.dump); }},
        {"parent", [&] { return parse(value, settings.parent); }},
        {"peer", [&] { return parse_peer(value, settings.peers); }},
    };
    auto const found = known.find(key);
    if (found == known.end() || !found->second()) {
        return "the module does not understand '" + text + "'; `mu redis server` knows what it wants";
    }
    return {};
}

}  // namespace mu::redis
