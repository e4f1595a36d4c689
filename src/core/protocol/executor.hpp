// Executes decided slots: the configuration, the sessions and the state machine, in log order, each slot once.
//
// A snapshot is all three together, and names the position it stands for; restoring one that is not ahead of what was
// executed is refused.
#pragma once

#include <span>

#include "log.hpp"
#include "protocol/regions.hpp"
#include "protocol/sessions.hpp"
#include "protocol/settings.hpp"
#include "protocol/state_machine.hpp"

namespace mu {

// Which incarnation of each member counts. Changed by formation and admit records only.
struct Configuration {
    Incarnations incarnations{};

    // Whether `slot` is a record, and then takes it over.
    void take(SlotHeader const& header, std::span<std::byte const> value) noexcept;
    bool operator==(Configuration const&) const = default;
};

struct AdmitRecord {
    std::uint64_t replica = kNobody;
    Incarnation incarnation = 0;
};

// Where replies go on the leader.
class ReplySink {
public:
    virtual ~ReplySink() = default;
    virtual void reply(Offset slot, std::uint32_t index, ReplyStatus status, std::span<std::byte const> bytes) = 0;
};

class Executor {
public:
    Executor(StateMachine& machine, std::uint64_t max_sessions) : machine_(machine), sessions_(max_sessions) {}

    // Executes the slot at applied(). `value` is private memory of this replica.
    void execute(SlotHeader const& header, std::span<std::byte const> value, ReplySink* sink);
    // For as long as a run of execute() calls lasts, however it ends.
    class Run {
    public:
        explicit Run(Executor& executor) : machine_(executor.machine_) { machine_.begin_run(); }
        ~Run() { machine_.end_run(); }
        Run(Run const&) = delete;
        Run& operator=(Run const&) = delete;

    private:
        StateMachine& machine_;
    };

    [[nodiscard]] Position const& applied() const noexcept { return applied_; }
    [[nodiscard]] Configuration const& configuration() const noexcept { return configuration_; }
    [[nodiscard]] std::uint64_t commands() const noexcept { return commands_; }
    void form(Incarnations const& vector) noexcept { configuration_.incarnations = vector; }

    // False if the state machine could not give its part.
    [[nodiscard]] bool snapshot(OwnedBytes& out);
    // False if the snapshot is unsound or not ahead of applied(): then nothing has changed.
    [[nodiscard]] bool restore(std::span<std::byte const> snapshot);

private:
    void execute_commands(Offset slot, std::span<std::byte const> value, ReplySink* sink);
    [[nodiscard]] ReplyStatus execute_one(CommandReader::Command const& command);

    StateMachine& machine_;
    Sessions sessions_;
    Configuration configuration_;
    Position applied_;
    std::uint64_t commands_ = 0;
    OwnedBytes reply_;  // reused
};

}  // namespace mu
