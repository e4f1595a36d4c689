// What the shm fabric does with files: who may have them, what is left behind, what is refused.
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <functional>

#include "child.hpp"
#include "fabric/segment.hpp"
#include "fabric/segment_lock.hpp"
#include "shm_world.hpp"

namespace mu::test {

namespace {

// The code with which an attempt is refused; the message is left in `message`.
std::optional<FabricError::Code> refusal(EndpointOptions const& options, std::string* message = nullptr) {
    try {
        ShmFabric const fabric(options);
        return std::nullopt;
    } catch (FabricError const& error) {
        if (message != nullptr) *message = error.what();
        return error.code();
    }
}

bool exists(std::string const& path) {
    struct stat status = {};
    return ::stat(path.c_str(), &status) == 0;
}

bool look_until(std::function<bool()> const& holds, ShmFabric& fabric) {
    for (int i = 0; i < kPatience; ++i) {
        if (holds()) return true;
        fabric.wait(Plane::background, fabric.ticket(Plane::background), 200'000);
    }
    return false;
}

TEST_CASE("A segment and its lock are for their owner only") {
    PrivateDirectory const directory;
    ShmFabric const fabric(shm_options(directory, 1));
    for (std::string const& path : {directory.segment(1), directory.segment(1) + ".lock"}) {
        struct stat status = {};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 07777) == 0600);
    }
}

TEST_CASE("A replica that takes its leave leaves no file behind") {
    PrivateDirectory const directory;
    {
        ShmFabric const fabric(shm_options(directory, 1));
        CHECK(fabric.notice().empty());
        CHECK_FALSE(directory.empty());
    }
    CHECK(directory.empty());
}

TEST_CASE("A second life of a replica is refused while the first one lasts, and names its pid") {
    PrivateDirectory const directory;
    ShmFabric const fabric(shm_options(directory, 1));
    std::string message;
    CHECK(refusal(shm_options(directory, 1), &message) == FabricError::Code::id_in_use);
    CHECK(message.find("replica 1 of cluster test already runs as pid " + std::to_string(::getpid())) !=
          std::string::npos);
    CHECK(exists(directory.segment(1)));
}

TEST_CASE("A replica of another process keeps its id too, stopped or not") {
    PrivateDirectory const directory;
    Child child([&](auto const& ready) {
        ShmFabric const fabric(shm_options(directory, 1));
        ready();
        sleep_for_ever();
    });
    REQUIRE(child.ready());
    child.stop();
    CHECK(refusal(shm_options(directory, 1)) == FabricError::Code::id_in_use);
}

TEST_CASE("The segment of a dead run is replaced, marked, and told of") {
    PrivateDirectory const directory;
    Child child([&](auto const& ready) {
        ShmFabric const fabric(shm_options(directory, 1));
        ready();
        sleep_for_ever();
    });
    REQUIRE(child.ready());
    pid_t const dead = child.pid();
    std::string const path = directory.segment(1);
    SegmentShape const shape{42, {1, 2, 3}, kRingBytes, kBackgroundBytes};
    FoundSegment const old = find_segment(path, shape, 1, 0);
    REQUIRE(old.segment != nullptr);
    child.kill();
    REQUIRE(exists(path));

    ShmFabric const fabric(shm_options(directory, 1));
    CHECK(fabric.notice().find("dead run (pid " + std::to_string(dead) + ")") != std::string::npos);
    CHECK(old.segment->header().ended.superseded == 1);
    CHECK(fabric.incarnation() > old.segment->incarnation());
}

TEST_CASE("An incarnation is later than all before it, whatever the clock says") {
    PrivateDirectory const directory;
    std::string const path = directory.segment(1);
    constexpr Incarnation kFarFuture = ~Incarnation{0} / 2;
    {
        ShmFabric fabric(shm_options(directory, 1));
        fabric.abandon();
    }
    {
        std::fstream segment(path, std::ios::in | std::ios::out | std::ios::binary);
        segment.seekp(offsetof(SegmentIdentity, incarnation));
        segment.write(reinterpret_cast<char const*>(&kFarFuture), sizeof kFarFuture);
    }
    {
        ShmFabric fabric(shm_options(directory, 1));
        CHECK(fabric.incarnation() == kFarFuture + 1);
        fabric.abandon();
    }
    std::filesystem::remove(path);  // now only the lock file remembers
    ShmFabric const fabric(shm_options(directory, 1));
    CHECK(fabric.incarnation() == kFarFuture + 2);
}

TEST_CASE("An incarnation is later than any that a neighbour has met, and a clock that was put back is told of") {
    PrivateDirectory const directory;
    constexpr Incarnation kFarFuture = ~Incarnation{0} / 2;
    ShmFabric neighbour(shm_options(directory, 2));
    {
        std::fstream segment(directory.segment(2), std::ios::in | std::ios::out | std::ios::binary);
        segment.seekp(offsetof(SegmentHeader, seen) + 1 * sizeof(Incarnation));
        segment.write(reinterpret_cast<char const*>(&kFarFuture), sizeof kFarFuture);
    }
    ShmFabric const fabric(shm_options(directory, 1));
    CHECK(fabric.incarnation() == kFarFuture + 1);
    CHECK(fabric.notice().find("the clock stands before") != std::string::npos);
    REQUIRE(look_until([&] { return neighbour.peer(1).incarnation == fabric.incarnation(); }, neighbour));
    SegmentShape const shape{42, {1, 2, 3}, kRingBytes, kBackgroundBytes, 3};
    CHECK(find_segment(directory.segment(2), shape, 2, 0).segment->header().seen.latest[1] == fabric.incarnation());
}

TEST_CASE("A replica whose lock file is removed knows that its place is lost") {
    PrivateDirectory const directory;
    ShmFabric const fabric(shm_options(directory, 1));
    CHECK(fabric.lost().empty());
    std::filesystem::remove(directory.segment(1) + ".lock");
    CHECK(fabric.lost().find(directory.segment(1) + ".lock was removed") != std::string::npos);
}

TEST_CASE("A lock file or a segment that another user made is refused, and left as it was") {
    if (::geteuid() != 0) {
        MESSAGE("needs the right to give a file away");
        return;
    }
    PrivateDirectory const directory;
    std::string const segment = directory.segment(1);
    std::string foreign;
    SUBCASE("the lock file") { foreign = segment + ".lock"; }
    SUBCASE("the segment") { foreign = segment; }
    std::ofstream(foreign) << "another user's";
    constexpr uid_t kAnother = 65534;
    REQUIRE(::chown(foreign.c_str(), kAnother, kAnother) == 0);

    std::string message;
    CHECK(refusal(shm_options(directory, 1), &message) == FabricError::Code::permission_denied);
    CHECK(message.find(foreign) != std::string::npos);
    std::string left;
    std::getline(std::ifstream(foreign), left);
    CHECK(left == "another user's");
}

TEST_CASE("A lock of another user's is not taken for one that a replica of this user's holds") {
    if (::geteuid() != 0) {
        MESSAGE("needs the right to give a file away");
        return;
    }
    PrivateDirectory const directory;
    ShmFabric const fabric(shm_options(directory, 1));
    std::string const path = directory.segment(1) + ".lock";
    REQUIRE(look_at_lock(path).held);
    constexpr uid_t kAnother = 65534;
    REQUIRE(::chown(path.c_str(), kAnother, kAnother) == 0);
    CHECK_FALSE(look_at_lock(path).held);
}

TEST_CASE("A child of fork() does not keep the id of a dead parent") {
    PrivateDirectory const directory;
    Child parent([&](auto const& ready) {
        ShmFabric const fabric(shm_options(directory, 1));
        Child orphan([&](auto const& born) {
            born();
            sleep_for_ever();
        });
        if (!orphan.ready()) return;
        ::setpgid(orphan.pid(), 0);
        std::ofstream(directory.path() + "/orphan") << orphan.pid() << std::endl;
        ready();
        sleep_for_ever();
    });
    REQUIRE(parent.ready());
    pid_t orphan = 0;
    std::ifstream(directory.path() + "/orphan") >> orphan;
    parent.kill();
    REQUIRE(::kill(orphan, 0) == 0);
    CHECK_FALSE(refusal(shm_options(directory, 1)).has_value());
    ::kill(orphan, SIGKILL);
}

TEST_CASE("Too little room is refused at the start and leaves nothing behind") {
    PrivateDirectory const directory;
    rlimit before = {};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    rlimit const small{8192, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    std::optional<FabricError::Code> const code = refusal(shm_options(directory, 1));
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(code == FabricError::Code::no_space);
    CHECK(directory.empty());
}

TEST_CASE("A full file system is refused at the start and leaves nothing behind") {
    PrivateDirectory const directory;
    std::string const path = directory.path();
    if (::mount("none", path.c_str(), "tmpfs", 0, "size=16k") != 0) {
        MESSAGE("needs the right to mount; the limit on file sizes stands in for it above");
        return;
    }
    std::string message;
    std::optional<FabricError::Code> const code = refusal(shm_options(directory, 1), &message);
    bool const empty = directory.empty();
    REQUIRE(::umount(path.c_str()) == 0);
    CHECK(code == FabricError::Code::no_space);
    CHECK(message.find("mu clean") != std::string::npos);
    CHECK(empty);
}

TEST_CASE("A directory in which one may not write is refused") {
    PrivateDirectory const directory;
    EndpointOptions options = shm_options(directory, 1);
    options.directory = "/proc/self";  // where not even root makes files
    std::optional<FabricError::Code> const code = refusal(options);
    CHECK((code == FabricError::Code::permission_denied || code == FabricError::Code::system));
}

TEST_CASE("Options that cannot be are refused before anything is made") {
    PrivateDirectory const directory;
    EndpointOptions options = shm_options(directory, 1);
    SUBCASE("a name with a slash") {
        options.cluster = "../x";
        CHECK(refusal(options) == FabricError::Code::bad_name);
    }
    SUBCASE("a replica that is not a member") {
        options.replica = 7;
        CHECK(refusal(options) == FabricError::Code::not_a_member);
    }
    SUBCASE("a member twice") {
        options.members = {1, 2, 2};
        CHECK(refusal(options) == FabricError::Code::not_a_member);
    }
    SUBCASE("a ring that is not a power of two") {
        options.ring_bytes = 5000;
        CHECK(refusal(options) == FabricError::Code::bad_size);
    }
    SUBCASE("a ring larger than the log can use") {
        options.ring_bytes = 2 * kLargestRing;
        CHECK(refusal(options) == FabricError::Code::bad_size);
    }
    SUBCASE("a background region of broken words") {
        options.background_bytes = 12;
        CHECK(refusal(options) == FabricError::Code::bad_size);
    }
    CHECK(directory.empty());
}

TEST_CASE("F6: a segment of another cluster, of other members or of other sizes is never mapped, and it is said why") {
    PrivateDirectory const directory;
    EndpointOptions options = shm_options(directory, 2);
    std::string why;
    SUBCASE("another key") {
        options.cluster_key = 43;
        why = "another key";
    }
    SUBCASE("other members") {
        options.members = {1, 2, 4};
        why = "list of members";
    }
    SUBCASE("another size") {
        options.ring_bytes *= 2;
        why = "another size";
    }
    ShmFabric fabric(shm_options(directory, 1));
    ShmFabric const other(options);
    REQUIRE(look_until([&] { return !fabric.peer_problem(2).empty(); }, fabric));
    CHECK(fabric.peer_problem(2).find(why) != std::string::npos);
    CHECK_FALSE(fabric.channel(Plane::replication).connect(2));
    CHECK(fabric.peer(2).incarnation == 0);
}

TEST_CASE("F6: a segment of another layout is never mapped, and it is said why") {
    PrivateDirectory const directory;
    SegmentShape const shape{42, {1, 2, 3}, kRingBytes, kBackgroundBytes};
    SegmentIdentity identity = shape.identity(2, 1);
    identity.layout = kSegmentLayout + 1;
    std::ofstream file(directory.segment(2), std::ios::binary);
    file.write(reinterpret_cast<char const*>(&identity), sizeof identity);
    file.close();
    FoundSegment const found = find_segment(directory.segment(2), shape, 2, 0);
    CHECK(found.segment == nullptr);
    std::string const why = "layout " + std::to_string(kSegmentLayout + 1) + ", this version of Mu uses layout " +
                            std::to_string(kSegmentLayout);
    CHECK(found.problem.find(why) != std::string::npos);
}

TEST_CASE("A segment that is cut short is never mapped") {
    PrivateDirectory const directory;
    SegmentShape const shape{42, {1, 2, 3}, kRingBytes, kBackgroundBytes};
    ShmFabric fabric(shm_options(directory, 2));
    fabric.abandon();
    std::filesystem::resize_file(directory.segment(2), shape.bytes() - 1);
    FoundSegment const found = find_segment(directory.segment(2), shape, 2, 0);
    CHECK(found.segment == nullptr);
    CHECK(found.problem.find("cut short") != std::string::npos);
}

TEST_CASE("Cleaning removes what dead runs left and nothing of the living") {
    PrivateDirectory const directory;
    ShmFabric const living(shm_options(directory, 1));
    ShmFabric dead(shm_options(directory, 2));
    dead.abandon();
    EndpointOptions elsewhere = shm_options(directory, 3);
    elsewhere.cluster = "other";
    ShmFabric dead_elsewhere(elsewhere);
    dead_elsewhere.abandon();
    std::ofstream(directory.path() + "/mu.notes.txt") << "not ours";

    std::vector<StaleSegment> const stale = stale_segments(directory.path());
    REQUIRE(stale.size() == 2);
    CHECK(stale[0].cluster == "other");
    CHECK(stale[0].pid == ::getpid());
    std::vector<StaleSegment> const removed = clean(directory.path(), "test");
    REQUIRE(removed.size() == 1);
    CHECK(removed[0].replica == 2);
    CHECK(removed[0].bytes > 3 * kRingBytes);
    CHECK_FALSE(exists(directory.segment(2)));
    CHECK_FALSE(exists(directory.segment(2) + ".lock"));
    CHECK(exists(directory.segment(1)));
    CHECK(clean(directory.path(), std::nullopt).size() == 1);
    CHECK(exists(directory.segment(1)));
    CHECK(exists(directory.path() + "/mu.notes.txt"));
}

}  // namespace

}  // namespace mu::test
