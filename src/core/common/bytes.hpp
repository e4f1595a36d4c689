// Plain values into bytes and back, for snapshots and records. A reader that runs out of bytes says so once, at the
// end, so that a cut-off snapshot is refused as a whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace mu {

using OwnedBytes = std::vector<std::byte>;

class ByteWriter {
public:
    explicit ByteWriter(OwnedBytes& to) : to_(to) {}

    template <class T>
    void put(T const& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        raw(std::as_bytes(std::span(&value, 1)));
    }
    void sized(std::span<std::byte const> bytes) {
        put(static_cast<std::uint64_t>(bytes.size()));
        raw(bytes);
    }
    void raw(std::span<std::byte const> bytes) { to_.insert(to_.end(), bytes.begin(), bytes.end()); }

private:
    OwnedBytes& to_;
};

class ByteReader {
public:
    explicit ByteReader(std::span<std::byte const> from) : from_(from) {}

    template <class T>
    [[nodiscard]] T take() {
        static_assert(std::is_trivially_copyable_v<T>);
        T value{};
        std::span<std::byte const> const bytes = raw(sizeof(T));
        if (!bytes.empty()) {
            std::memcpy(&value, bytes.data(), sizeof(T));
        }
        return value;
    }
    [[nodiscard]] std::span<std::byte const> sized() { return raw(take<std::uint64_t>()); }
    [[nodiscard]] std::span<std::byte const> raw(std::uint64_t count) {
        if (count > from_.size()) {
            sound_ = false;
            from_ = {};
            return {};
        }
        std::span<std::byte const> const part = from_.first(count);
        from_ = from_.subspan(count);
        return part;
    }
    [[nodiscard]] bool sound() const noexcept { return sound_; }
    [[nodiscard]] bool finished() const noexcept { return sound_ && from_.empty(); }

private:
    std::span<std::byte const> from_;
    bool sound_ = true;
};

}  // namespace mu
