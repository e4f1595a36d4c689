// A Python state machine as the core sees it. The GIL is taken once for a run of commands; a thread of ours keeps its
// Python thread state between runs, because making one costs as much as fifty commands.
#pragma once

#include <nanobind/nanobind.h>

#include "protocol/state_machine.hpp"

namespace mu::bindings {

namespace nb = nanobind;

class PyMachine final : public StateMachine {
public:
    // What an Exception that snapshot raises does: it is logged, and nobody is given a snapshot; or it throws. What stops a
    // replica is logged in the first case, too.
    enum class FailedSnapshot : std::uint8_t { is_logged, throws };

    explicit PyMachine(nb::object machine, FailedSnapshot failed = FailedSnapshot::is_logged);
    ~PyMachine() override;
    PyMachine(PyMachine const&) = delete;
    PyMachine& operator=(PyMachine const&) = delete;

    // An Exception raised by the Python apply is the command's failure, on every replica alike. Anything else (an
    // interrupt, no memory, too deep a recursion) is this replica's own: it throws, and the replica stops.
    [[nodiscard]] bool apply(std::span<std::byte const> command, OwnedBytes& reply) override;
    [[nodiscard]] bool snapshot(OwnedBytes& out) override;
    void restore(std::span<std::byte const> snapshot) override;
    void begin_run() override;
    void end_run() override;

    // Whether this thread is inside a call of the state machine, or of a read's function: neither must call a replica,
    // whose plane this thread holds.
    [[nodiscard]] static bool inside() noexcept;
    class Inside {
    public:
        Inside() noexcept;
        ~Inside();
        Inside(Inside const&) = delete;
        Inside& operator=(Inside const&) = delete;
    };

private:
    [[noreturn]] void stop_by(char const* what, nb::python_error const& error) const;

    nb::object apply_;
    nb::object snapshot_;
    nb::object restore_;
    FailedSnapshot failed_;
    PyGILState_STATE gil_{};
};

}  // namespace mu::bindings
