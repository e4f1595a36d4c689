// A state machine that remembers every command it applied, and commands as a leader packs them into a slot.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/commands.hpp"
#include "protocol/state_machine.hpp"
#include "support/slots.hpp"

namespace mu::test {

using Commands = std::vector<std::string>;

// Replies to its n-th command with "n"; refuses "refuse".
class Journal final : public StateMachine {
public:
    bool apply(std::span<std::byte const> command, OwnedBytes& reply) override {
        commands.push_back(text_of(command));
        std::string const count = std::to_string(commands.size());
        reply.assign(bytes_of(count).begin(), bytes_of(count).end());
        return commands.back() != "refuse";
    }
    [[nodiscard]] bool snapshot(OwnedBytes& out) override {
        for (std::string const& command : commands) {
            append(out, std::uint64_t{command.size()});
            append(out, bytes_of(command));
        }
        ++snapshots;
        if (on_snapshot) {
            on_snapshot();
        }
        return gives;
    }
    void restore(std::span<std::byte const> snapshot) override {
        commands.clear();
        ++restores;
        if (on_restore) {
            on_restore();
        }
        for (ByteReader reader(snapshot); !reader.finished() && reader.sound();) {
            commands.push_back(text_of(reader.sized()));
        }
    }

    Commands commands;
    int restores = 0;
    int snapshots = 0;  // asked for
    bool gives = true;  // them
    std::function<void()> on_snapshot;
    std::function<void()> on_restore;
};

struct Packed {
    std::string command;
    SessionRequest session = {};
};

// What goes before the commands of one slot, and the commands.
struct PackedValue {
    OwnedBytes prefix;
    OwnedBytes body;

    [[nodiscard]] OwnedBytes whole() const {
        OwnedBytes value = prefix;
        append(value, body);
        return value;
    }
};

inline PackedValue pack(std::vector<Packed> const& commands) {
    PackedValue packed;
    append(packed.prefix, static_cast<std::uint32_t>(commands.size()));
    for (Packed const& one : commands) {
        bool const has_session = one.session.client != 0;
        std::size_t const length = one.command.size() + (has_session ? kSessionBytes : 0);
        append(packed.prefix, static_cast<std::uint32_t>(length) | (has_session ? kSessionBit : 0));
        if (has_session) {
            append(packed.body, one.session);
        }
        append(packed.body, bytes_of(one.command));
    }
    packed.prefix.resize(commands_prefix_bytes(commands.size()));
    return packed;
}

}  // namespace mu::test
