// Where endpoints of a fabric find each other: names and short texts, set and looked up. Nothing rests on it but that a
// connection comes about: what it says is checked by those who read it, and a running cluster does not need it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace mu {

class Registry {
public:
    virtual ~Registry() = default;
    // False if the registry does not answer. Both may block for as long as the registry's time limit.
    [[nodiscard]] virtual bool set(std::string const& name, std::string const& text) = 0;
    // One text a name, "" where there is none.
    [[nodiscard]] virtual bool get(std::vector<std::string> const& names, std::vector<std::string>& texts) = 0;
    // What a person should know where it is.
    [[nodiscard]] virtual std::string describe() const = 0;
};

// A memcached, or `mu registry`, which speaks the same: the text protocol over TCP. Several threads may use one.
class MemcachedRegistry final : public Registry {
public:
    // "host", "host:port" or "[address]:port". Connects when first used, and again after a failure.
    explicit MemcachedRegistry(std::string const& address);
    ~MemcachedRegistry() override;
    MemcachedRegistry(MemcachedRegistry const&) = delete;
    MemcachedRegistry& operator=(MemcachedRegistry const&) = delete;

    [[nodiscard]] bool set(std::string const& name, std::string const& text) override;
    [[nodiscard]] bool get(std::vector<std::string> const& names, std::vector<std::string>& texts) override;
    [[nodiscard]] std::string describe() const override {
        bool const v6 = host_.find(':') != std::string::npos;
        return (v6 ? "[" + host_ + "]" : host_) + ":" + port_;
    }

private:
    [[nodiscard]] bool connect_if_needed();
    [[nodiscard]] bool send_all(std::string const& bytes);
    [[nodiscard]] bool read_line(std::string& line);
    [[nodiscard]] bool read_bytes(std::size_t count, std::string& bytes);
    [[nodiscard]] bool receive();
    bool fail();

    std::string host_;
    std::string port_;
    std::mutex mutex_;
    int socket_ = -1;
    std::string received_;  // and not yet taken
};

}  // namespace mu
