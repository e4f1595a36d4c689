#include "fabric/registry.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace mu {

namespace {

constexpr char kDefaultPort[] = "11211";  // memcached's
constexpr int kPatienceMs = 500;          // with a registry that does not answer
constexpr std::size_t kLongestLine = 4096;

// A connected socket, or -1.
int connect_to(addrinfo const& address) {
    int const made = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address.ai_protocol);
    if (made < 0) return -1;
    int error = ::connect(made, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        pollfd wait{made, POLLOUT, 0};
        socklen_t size = sizeof error;
        bool const answered = ::poll(&wait, 1, kPatienceMs) == 1;
        if (!answered || ::getsockopt(made, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = ETIMEDOUT;
    }
    if (error != 0) {
        ::close(made);
        return -1;
    }
    int const on = 1;
    ::setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return made;
}

bool ready(int socket, short events) {
    pollfd wait{socket, events, 0};
    return ::poll(&wait, 1, kPatienceMs) == 1;
}

}  // namespace

MemcachedRegistry::MemcachedRegistry(std::string const& address) {
    std::size_t const bracket = address.find(']');
    std::size_t const colon = address.rfind(':');
    bool const bare_v6 = bracket == std::string::npos && std::count(address.begin(), address.end(), ':') > 1;
    bool const has_port = colon != std::string::npos && !bare_v6 && (bracket == std::string::npos || colon > bracket);
    host_ = has_port ? address.substr(0, colon) : address;
    port_ = has_port ? address.substr(colon + 1) : kDefaultPort;
    if (host_.size() > 1 && host_.front() == '[' && host_.back() == ']') host_ = host_.substr(1, host_.size() - 2);
}

MemcachedRegistry::~MemcachedRegistry() { fail(); }

// Forgets the connection; the next use makes another.
bool MemcachedRegistry::fail() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
    received_.clear();
    return false;
}

bool MemcachedRegistry::connect_if_needed() {
    if (socket_ >= 0) return true;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(host_.c_str(), port_.c_str(), &hints, &found) != 0) return false;
    for (addrinfo const* it = found; it != nullptr && socket_ < 0; it = it->ai_next) {
        socket_ = connect_to(*it);
    }
    ::freeaddrinfo(found);
    return socket_ >= 0;
}

bool MemcachedRegistry::send_all(std::string const& bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
        ssize_t const count = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (count > 0) {
            sent += static_cast<std::size_t>(count);
        } else if (errno != EINTR && (errno != EAGAIN || !ready(socket_, POLLOUT))) {
            return false;
        }
    }
    return true;
}

bool MemcachedRegistry::receive() {
    std::array<char, 4096> some;
    for (;;) {
        ssize_t const count = ::recv(socket_, some.data(), some.size(), 0);
        if (count > 0) {
            received_.append(some.data(), static_cast<std::size_t>(count));
            return true;
        }
        if (count == 0 || (errno != EINTR && (errno != EAGAIN || !ready(socket_, POLLIN)))) return false;
    }
}

bool MemcachedRegistry::read_line(std::string& line) {
    std::size_t end = std::string::npos;
    while ((end = received_.find("\r\n")) == std::string::npos) {
        if (received_.size() > kLongestLine || !receive()) return false;
    }
    line = received_.substr(0, end);
    received_.erase(0, end + 2);
    return true;
}

bool MemcachedRegistry::read_bytes(std::size_t count, std::string& bytes) {
    while (received_.size() < count) {
        if (!receive()) return false;
    }
    bytes = received_.substr(0, count);
    received_.erase(0, count);
    return true;
}

bool MemcachedRegistry::set(std::string const& name, std::string const& text) {
    std::lock_guard const guard(mutex_);
    std::string line;
    std::string const request = "set " + name + " 0 0 " + std::to_string(text.size()) + "\r\n" + text + "\r\n";
    bool const done = connect_if_needed() && send_all(request) && read_line(line) && line == "STORED";
    return done || fail();
}

bool MemcachedRegistry::get(std::vector<std::string> const& names, std::vector<std::string>& texts) {
    std::lock_guard const guard(mutex_);
    texts.assign(names.size(), "");
    std::string request = "get";
    for (std::string const& name : names) {
        request += " " + name;
    }
    if (!connect_if_needed() || !send_all(request + "\r\n")) return fail();
    for (std::string line; read_line(line);) {
        if (line == "END") return true;
        // VALUE <name> <flags> <bytes>
        std::size_t const name_end = line.find(' ', 6);
        std::size_t const size_at = line.rfind(' ');
        std::size_t size = 0;
        if (line.rfind("VALUE ", 0) != 0 || name_end == std::string::npos) return fail();
        auto const parsed = std::from_chars(line.data() + size_at + 1, line.data() + line.size(), size);
        std::string bytes;
        if (parsed.ec != std::errc() || size > kLongestLine || !read_bytes(size + 2, bytes)) return fail();
        auto const name = std::find(names.begin(), names.end(), line.substr(6, name_end - 6));
        if (name == names.end()) return fail();
        texts[static_cast<std::size_t>(name - names.begin())] = bytes.substr(0, size);
    }
    return fail();
}

}  // namespace mu
