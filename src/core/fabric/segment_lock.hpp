// The lock file of a replica: at most one life of it at a time, and proof that the earlier ones have ended.
//
// The lock is one of an open file (fcntl's F_OFD_SETLK): whoever only wants to look can ask without taking it, and so
// is never in the way of a replica that starts. The kernel gives it up only when the last thread of the holder has
// closed its files, and a thread leaves the holder's memory before it closes them (do_exit: exit_mm, then exit_files).
// So whoever holds the lock knows that no thread of an earlier life can store anything any more. Forked children would
// share the lock and outlive that truth the other way round, blocking a restart; they close their copy at once.
//
// Invariant: the file that is locked is the file that has the name (looked at again after locking, because another
// holder removes the name before it lets go), and it is this user's, so that nobody else may take the name from it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "common/types.hpp"

namespace mu {

// `mu.<cluster>.<replica>` in `directory`; the lock adds ".lock", a segment in the making ".tmp".
[[nodiscard]] std::string segment_path(std::string const& directory, std::string const& cluster, ReplicaId replica);

// What the holder of a lock wrote into its file.
struct LockNote {
    std::int32_t pid = 0;
    Incarnation incarnation = 0;
};

class LockFile {
public:
    // Takes the lock at `path`, making the file if it may. Throws FabricError: id_in_use if another holds it, with
    // `whose` in the message; permission_denied if the file is another user's.
    LockFile(std::string const& path, std::string const& whose);
    ~LockFile();
    LockFile(LockFile const&) = delete;
    LockFile& operator=(LockFile const&) = delete;

    // What the holder before this one wrote; zeros if there was none.
    [[nodiscard]] LockNote const& earlier() const noexcept { return earlier_; }
    void write(LockNote const& note);
    // Whether the locked file still has a name: without one it keeps nobody out.
    [[nodiscard]] bool has_a_name() const noexcept;
    // Removes the file and lets go, before the end of this object.
    void release() noexcept;
    // Lets go at the end without removing the file, as a killed process would.
    void abandon() noexcept { keep_ = true; }

private:
    int file_ = -1;
    bool keep_ = false;
    std::string path_;
    LockNote earlier_;
};

// Whether somebody holds the lock at `path`, and what the file says; `held` is false if there is no such file of this
// user's, or of `owner`: whoever looks at a segment asks for a lock of the segment's owner, which root may.
struct LockState {
    bool held = false;
    LockNote note;
};
[[nodiscard]] LockState look_at_lock(std::string const& path) noexcept;
[[nodiscard]] LockState look_at_lock(std::string const& path, uid_t owner) noexcept;

}  // namespace mu
