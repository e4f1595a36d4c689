// Signals that are put off while a state machine of Python's may be inside apply in the main thread. Python runs a
// signal's handler there between any two steps of its code; if that raises (Ctrl-C: KeyboardInterrupt), the command is
// applied in part, and the replica has to stop.
//
// Invariant: nothing is lost. A signal that was put off is raised again when the call ends. One that comes a second after
// the first goes through at once, for apply may never end.
#pragma once

namespace mu::bindings {

// From here on signals for which Python has a handler can be put off. One that gets its handler later is not, until this
// is called again.
void take_over_interrupts() noexcept;

// For as long as it lives, if it is wanted and this is the main thread. Begins with the GIL held; not within itself.
class PutInterruptsOff {
public:
    // Raises what a signal that came before raises (nb::python_error).
    explicit PutInterruptsOff(bool wanted);
    ~PutInterruptsOff();
    PutInterruptsOff(PutInterruptsOff const&) = delete;
    PutInterruptsOff& operator=(PutInterruptsOff const&) = delete;

private:
    bool holds_;
};

}  // namespace mu::bindings
