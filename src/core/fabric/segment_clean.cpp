// What dead runs left in the directory, and its removal (`mu clean`).
//
// Invariant: a file is removed only while this process holds the lock of its replica, so never that of a live one.

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <utility>

#include "fabric/segment_lock.hpp"
#include "fabric/shm.hpp"

namespace mu {

namespace {

namespace fs = std::filesystem;

using Name = std::pair<std::string, ReplicaId>;

// "mu.<cluster>.<replica>", with ".lock" or ".tmp" or nothing after it.
std::optional<Name> parse_name(std::string_view file) {
    for (std::string_view const suffix : {".lock", ".tmp"}) {
        if (file.ends_with(suffix)) file.remove_suffix(suffix.size());
    }
    if (!file.starts_with("mu.")) return std::nullopt;
    file.remove_prefix(3);
    std::size_t const dot = file.rfind('.');
    if (dot == std::string_view::npos || dot == 0) return std::nullopt;
    ReplicaId replica = kNobody;
    char const* const end = file.data() + file.size();
    auto const [stopped, error] = std::from_chars(file.data() + dot + 1, end, replica);
    if (error != std::errc() || stopped != end || replica == kNobody || replica > kMaxReplicaId) return std::nullopt;
    return Name(std::string(file.substr(0, dot)), replica);
}

std::map<Name, std::uint64_t> bytes_by_replica(std::string const& directory) {
    std::map<Name, std::uint64_t> found;
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        std::error_code vanished;  // owners come and go meanwhile
        if (!entry->is_regular_file(vanished) || entry->is_symlink(vanished)) continue;
        if (std::optional<Name> const name = parse_name(entry->path().filename().string())) {
            std::uint64_t const bytes = entry->file_size(vanished);
            found[*name] += vanished ? 0 : bytes;
        }
    }
    return found;
}

}  // namespace

std::vector<StaleSegment> stale_segments(std::string const& directory) {
    std::vector<StaleSegment> stale;
    for (auto const& [name, bytes] : bytes_by_replica(directory)) {
        LockState const lock = look_at_lock(segment_path(directory, name.first, name.second) + ".lock");
        if (!lock.held) stale.push_back({name.first, name.second, lock.note.pid, bytes});
    }
    return stale;
}

std::vector<StaleSegment> clean(std::string const& directory, std::optional<std::string> const& cluster) {
    std::vector<StaleSegment> removed;
    for (StaleSegment const& stale : stale_segments(directory)) {
        if (cluster && stale.cluster != *cluster) continue;
        std::string const path = segment_path(directory, stale.cluster, stale.replica);
        try {
            LockFile const lock(path + ".lock", stale.cluster);  // removes the lock file too, at its end
            std::error_code ignored;
            fs::remove(path, ignored);
            fs::remove(path + ".tmp", ignored);
            removed.push_back(stale);
        } catch (FabricError const&) {
            // Somebody has just started it, or it belongs to another user: it stays.
        }
    }
    return removed;
}

}  // namespace mu
