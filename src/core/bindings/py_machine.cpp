#include "bindings/py_machine.hpp"

#include <nanobind/stl/string.h>

#include <cstring>
#include <stdexcept>
#include <string>

#include "bindings/interrupts.hpp"
#include "runtime/node.hpp"

namespace mu::bindings {
namespace {

thread_local bool t_inside = false;

// A thread that Python did not make gets a thread state once and keeps it.
void keep_thread_state() noexcept {
    if (PyGILState_GetThisThreadState() == nullptr) {
        PyGILState_Ensure();
        PyEval_SaveThread();
    }
}

std::string text_of(nb::python_error const& error) {
    nb::object const type = nb::getattr(error.type(), "__name__");
    std::string text = nb::cast<std::string>(nb::str(type));
    // The text is the state machine's own: it may hold what UTF-8 cannot, or raise itself.
    nb::object const what = nb::steal(PyObject_Str(error.value().ptr()));
    nb::object const bytes =
        what.is_valid() ? nb::steal(PyUnicode_AsEncodedString(what.ptr(), "utf-8", "backslashreplace")) : nb::object();
    if (!bytes.is_valid()) {
        PyErr_Clear();
        return text + ": its text cannot be had";
    }
    std::string const told(PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr())));
    return told.empty() ? text : text + ": " + told;
}

nb::bytes to_python(std::span<std::byte const> bytes) {
    return nb::bytes(reinterpret_cast<char const*>(bytes.data()), bytes.size());
}

void from_python(nb::object const& object, OwnedBytes& out, char const* what) {
    Py_buffer view{};
    if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_SIMPLE) != 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s must return bytes, not %s", what, Py_TYPE(object.ptr())->tp_name);
        throw nb::python_error();
    }
    auto const* const bytes = static_cast<std::byte const*>(view.buf);
    out.assign(bytes, bytes + view.len);
    PyBuffer_Release(&view);
}

// How deep a stack may grow and how much memory there is differs between replicas, and between a caller's thread and one
// of ours: where one runs out, the others may have applied the command.
bool is_of_this_process(nb::python_error const& error) {
    return error.matches(PyExc_RecursionError) || error.matches(PyExc_MemoryError);
}

void log_error(char const* what, nb::python_error const& error) {
    nb::object const log = nb::module_::import_("logging").attr("getLogger")("mu");
    log.attr("error")(what, nb::arg("exc_info") = error.value());
}

// Around a call of the state machine's, which may fork.
class ForkWatch {
public:
    // Throws in a child of fork().
    void check() const {
        if (Node::forks() != before_) {
            throw std::runtime_error("this process is a child of fork(), and the replica is its parent's");
        }
    }

private:
    std::uint32_t before_ = Node::forks();
};

}  // namespace

PyMachine::PyMachine(nb::object machine, FailedSnapshot failed)
    : apply_(machine.attr("apply")),
      snapshot_(machine.attr("snapshot")),
      restore_(machine.attr("restore")),
      failed_(failed) {}

PyMachine::~PyMachine() = default;

bool PyMachine::inside() noexcept { return t_inside; }

PyMachine::Inside::Inside() noexcept {
    t_inside = true;
    begin_of_apply();
}

PyMachine::Inside::~Inside() {
    end_of_apply();
    t_inside = false;
}

void PyMachine::begin_run() {
    keep_thread_state();
    gil_ = PyGILState_Ensure();
}

void PyMachine::end_run() { PyGILState_Release(gil_); }

bool PyMachine::apply(std::span<std::byte const> command, OwnedBytes& reply) {
    Inside const inside;
    ForkWatch const watch;
    try {
        nb::object const given = apply_(to_python(command));
        watch.check();
        if (!given.is_none()) {
            from_python(given, reply, "apply");
        }
        return true;
    } catch (nb::python_error const& error) {
        watch.check();
        if (is_of_this_process(error)) {
            stop_by("apply ran into a limit of this process, which the other replicas may not meet: ", error);
        }
        std::string const text = text_of(error);
        if (!error.matches(PyExc_Exception) || struck_by_signal(error)) {
            stop_by("the state machine was interrupted inside apply by ", error);
        }
        auto const* const bytes = reinterpret_cast<std::byte const*>(text.data());
        reply.assign(bytes, bytes + text.size());
        return false;
    }
}

bool PyMachine::snapshot(OwnedBytes& out) {
    keep_thread_state();
    nb::gil_scoped_acquire const gil;
    Inside const inside;
    ForkWatch const watch;
    try {
        nb::object const given = snapshot_();
        watch.check();
        from_python(given, out, "snapshot");
        return true;
    } catch (nb::python_error const& error) {
        watch.check();
        if (failed_ == FailedSnapshot::throws || !error.matches(PyExc_Exception)) {
            stop_by("the state machine's snapshot failed: ", error);
        }
        log_error(
            "The state machine's snapshot failed: a replica that lost its memory, or is far behind, was to have it, "
            "and stays out. Nothing is lost, and the others go on; it is tried again.",
            error);
        return false;
    }
}

void PyMachine::restore(std::span<std::byte const> snapshot) {
    keep_thread_state();
    nb::gil_scoped_acquire const gil;
    Inside const inside;
    ForkWatch const watch;
    try {
        restore_(to_python(snapshot));
        watch.check();
    } catch (nb::python_error const& error) {
        watch.check();
        stop_by("the state machine's restore failed: ", error);
    }
}

void PyMachine::stop_by(char const* what, nb::python_error const& error) const {
    if (failed_ == FailedSnapshot::is_logged) {
        log_error(
            "This replica stops, because its state is not known to be right any more. Nothing that was decided is "
            "lost as long as a majority goes on; open it again, and it is brought up.",
            error);
    }
    throw std::runtime_error(what + text_of(error));
}

}  // namespace mu::bindings
