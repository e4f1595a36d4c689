// What fork() makes of a node: in the child there are none of its threads, whoever held the plane never lets it go, and
// the segments are not mapped (segment.cpp), since a second writer in the parent's name would overwrite what the parent
// has decided. So in the child a node is closed before anybody can call it. Where a state machine forks inside apply, the
// child comes back into the middle of a step: it leaves that by an exception of the machine's, and touches nothing more.
#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "runtime/node.hpp"

namespace mu {
namespace {

constinit std::atomic<std::uint32_t> g_forks = 0;
constinit std::mutex g_mutex;  // held across a fork, so that the child finds the list whole
// Never destroyed: a host's own handler of the program's end, registered before its first node was made, runs after the
// destructors of static objects that came later, and may still close a node or fork.
std::vector<Node*>& nodes() {
    static auto& list = *new std::vector<Node*>;
    return list;
}

}  // namespace

std::uint32_t Node::forks() noexcept { return g_forks.load(std::memory_order_relaxed); }

void Node::in_child() noexcept {
    g_forks.fetch_add(1, std::memory_order_relaxed);
    for (Node* const node : nodes()) {
        node->become_copy();
    }
    g_mutex.unlock();
}

void Node::hear_of_forks() {
    static std::once_flag once;
    std::call_once(once, [] { pthread_atfork([] { g_mutex.lock(); }, [] { g_mutex.unlock(); }, &Node::in_child); });
    std::scoped_lock const lock(g_mutex);
    nodes().push_back(this);
}

void Node::forget_forks() noexcept {
    std::scoped_lock const lock(g_mutex);
    std::erase(nodes(), this);
}

// Requests lie on the stacks of threads that are not there: nobody may look at them again, were it only to turn them away.
void Node::become_copy() noexcept {
    is_copy_ = true;
    closed_.store(true, std::memory_order_release);
    leading_ = 0;
    queue_.store(nullptr, std::memory_order_relaxed);
    withdrawing_.clear();
    in_flight_.clear();
    lock_.unlock();
}

}  // namespace mu
