// Signals that are put off while a state machine of Python's may be inside apply in the main thread. Python runs a
// signal's handler there between any two steps of its code; if that raises (Ctrl-C: KeyboardInterrupt), the command is
// applied in part on this replica alone.
//
// Invariant: nothing is lost. A signal that was put off is raised again when the call ends. While something of the state
// machine's runs, one that comes a second after the first goes through at once, for apply may never end; that, and the
// handler that is so new that its signal was not put off, are told by struck_by_signal, and the replica stops.
#pragma once

#include <nanobind/nanobind.h>

namespace mu::bindings {

// For as long as it lives, if it is wanted and this is the main thread. Begins with the GIL held; not within itself.
// Heeds every signal for which Python had a handler when it last looked: it looks anew every few milliseconds.
class PutInterruptsOff {
public:
    // Raises what a signal that came before raises (nanobind::python_error).
    explicit PutInterruptsOff(bool wanted);
    ~PutInterruptsOff();
    PutInterruptsOff(PutInterruptsOff const&) = delete;
    PutInterruptsOff& operator=(PutInterruptsOff const&) = delete;

private:
    bool holds_;
};

// Around one call of the state machine's, in any thread.
void begin_of_apply() noexcept;
void end_of_apply() noexcept;

// Inside such a call: whether what it raised may come from a signal's handler, and not from the state machine.
[[nodiscard]] bool struck_by_signal(nanobind::python_error const& error);

}  // namespace mu::bindings
