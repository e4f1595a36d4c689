// The client of a memcached that is used as the registry: what it asks, what it takes for an answer, and what not.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "fabric/registry.hpp"

namespace mu::test {

namespace {

// A server that takes one connection for each of its answers, reads one request from it, sends the answer and hangs up.
class Scripted {
public:
    explicit Scripted(std::vector<std::string> answers) : answers_(std::move(answers)) {
        listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 4) != 0 ||
            ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
            throw std::runtime_error("no port for the test's server");
        }
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ~Scripted() {
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
    }
    Scripted(Scripted const&) = delete;
    Scripted& operator=(Scripted const&) = delete;

    [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
    [[nodiscard]] std::vector<std::string> requests() {
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        thread_ = std::thread([] {});
        return requests_;
    }

private:
    void serve() {
        for (std::string const& answer : answers_) {
            int const peer = ::accept(listener_, nullptr, nullptr);
            if (peer < 0) return;
            char some[4096];
            ssize_t const count = ::recv(peer, some, sizeof some, 0);
            requests_.emplace_back(some, count > 0 ? static_cast<std::size_t>(count) : 0);
            ::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
            ::close(peer);
        }
    }

    std::vector<std::string> answers_;
    std::vector<std::string> requests_;
    int listener_ = -1;
    int port_ = 0;
    std::thread thread_;
};

}  // namespace

TEST_CASE("The registry's client sets a text, and gets the texts of some names in whatever order they come") {
    Scripted server({"STORED\r\n", "VALUE b 0 3\r\nx\r\n\r\nVALUE a 0 0\r\n\r\nEND\r\n"});
    MemcachedRegistry registry(server.address());
    CHECK(registry.set("a", "text"));
    std::vector<std::string> texts;
    // The server has hung up since: the first use finds that out, the next one connects anew.
    bool const got = registry.get({"a", "none", "b"}, texts) || registry.get({"a", "none", "b"}, texts);
    REQUIRE(got);
    CHECK(texts == std::vector<std::string>{"", "", "x\r\n"});
    std::vector<std::string> const requests = server.requests();
    CHECK(requests.at(0) == "set a 0 0 4\r\ntext\r\n");
    CHECK(requests.at(1) == "get a none b\r\n");
}

TEST_CASE("Whatever is no answer of a memcached is no success, and nothing of it is believed") {
    for (std::string const answer :
         {"", "END", "VALUE a 0\r\n", "VALUE a 0 99999999999999999999\r\nx\r\nEND\r\n", "VALUE a 0 1\r\nx",
          "nonsense\r\n", "VALUE other 0 1\r\nx\r\nEND\r\n", "ERROR\r\n"}) {
        Scripted server({answer});
        MemcachedRegistry registry(server.address());
        std::vector<std::string> texts;
        CHECK_FALSE(registry.get({"a"}, texts));
    }
    Scripted server({"SERVER_ERROR out of memory\r\n"});
    CHECK_FALSE(MemcachedRegistry(server.address()).set("a", "text"));
}

TEST_CASE("An address without a port is memcached's own, and brackets hold an IPv6 address") {
    CHECK(MemcachedRegistry("host").describe() == "host:11211");
    CHECK(MemcachedRegistry("10.0.0.1:7").describe() == "10.0.0.1:7");
    CHECK(MemcachedRegistry("[::1]:7").describe() == "[::1]:7");
    CHECK(MemcachedRegistry("fe80::1").describe() == "[fe80::1]:11211");
}

TEST_CASE("A registry that is not there is no success") {
    std::string address;
    {
        Scripted const server({});
        address = server.address();
    }
    std::vector<std::string> texts;
    CHECK_FALSE(MemcachedRegistry(address).get({"a"}, texts));
    CHECK_FALSE(MemcachedRegistry("no-such-host.invalid").set("a", "text"));
}

}  // namespace mu::test
