// How the shm fabric learns of lives and deaths, in processes of their own.
#include <atomic>
#include <fstream>
#include <thread>

#include "child.hpp"
#include "shm_world.hpp"

namespace mu::test {

namespace {

// The test's own replica 1 beside a child that is replica 2.
class Beside final : public FabricWorld {
public:
    Beside()
        : child_([this](auto const& ready) {
              ShmFabric const fabric(shm_options(directory_, 2, 2));
              ready();
              sleep_for_ever();
          }),
          fabric_((started_ = child_.ready(), shm_options(directory_, 1, 2))) {}

    [[nodiscard]] ShmFabric& endpoint(ReplicaId) override { return fabric_; }
    [[nodiscard]] Incarnation incarnation(ReplicaId) const override { return fabric_.incarnation(); }
    void crash(ReplicaId) override { child_.kill(); }
    void restart(ReplicaId) override {}
    void deliver() override { fabric_.wait(Plane::background, fabric_.ticket(Plane::background), 200'000); }
    [[nodiscard]] Child& child() { return child_; }
    [[nodiscard]] bool started() const { return started_; }
    [[nodiscard]] PrivateDirectory const& directory() const { return directory_; }

private:
    PrivateDirectory directory_;
    bool started_ = false;
    Child child_;
    ShmFabric fabric_;
};

TEST_CASE("A killed process is reported as gone") {
    Beside world;
    REQUIRE(world.started());
    REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).incarnation != 0; }));
    CHECK_FALSE(world.endpoint(1).peer(2).gone);
    world.child().kill();
    CHECK(eventually(world, [&] { return world.endpoint(1).peer(2).gone; }));
}

TEST_CASE("A process that may run is told from one that is stopped or has ended") {
    Beside world;
    REQUIRE(world.started());
    REQUIRE(eventually(world, [&] { return world.endpoint(1).peer(2).incarnation != 0; }));
    CHECK(world.endpoint(1).is_runnable(2));
    world.child().stop();
    CHECK_FALSE(world.endpoint(1).is_runnable(2));
    world.child().go_on();
    CHECK(world.endpoint(1).is_runnable(2));
    world.child().kill();
    CHECK_FALSE(world.endpoint(1).is_runnable(2));
    CHECK_FALSE(world.endpoint(1).is_runnable(7));
}

TEST_CASE("A stopped process is not gone, and its memory can be written") {
    Beside world;
    REQUIRE(world.started());
    Driver driver(world, 1, Plane::background);
    REQUIRE(driver.connect(2));
    world.child().stop();
    for (int i = 0; i < 500; ++i) {
        world.deliver();
        REQUIRE_FALSE(world.endpoint(1).peer(2).gone);
    }
    CHECK(driver.write(2, Region::background, 0, {filled(8, 1)}));
    world.child().go_on();
    CHECK(driver.write(2, Region::background, 0, {filled(8, 2)}));
}

TEST_CASE("The remains of a run that died before anybody saw it are known to be gone") {
    PrivateDirectory directory;
    ShmFabric dead(shm_options(directory, 2));
    Incarnation const incarnation = dead.incarnation();
    dead.abandon();
    ShmFabric fabric(shm_options(directory, 1));
    for (int i = 0; i < kPatience && fabric.peer(2).incarnation == 0; ++i) {
        fabric.wait(Plane::background, fabric.ticket(Plane::background), 200'000);
    }
    CHECK(fabric.peer(2).incarnation == incarnation);
    CHECK(fabric.peer(2).gone);
    CHECK_FALSE(fabric.channel(Plane::replication).connect(2));
}

TEST_CASE("A replica that takes its leave is gone for its peers, and nothing it is sent succeeds") {
    PrivateDirectory directory;
    ShmFabric leader(shm_options(directory, 1));
    auto follower = std::make_unique<ShmFabric>(shm_options(directory, 2));
    ShmChannel& channel = leader.channel(Plane::replication);
    for (int i = 0; i < kPatience && !channel.connect(2); ++i) {
        leader.wait(Plane::background, leader.ticket(Plane::background), 200'000);
    }
    Tenure const tenure{1, leader.incarnation(), make_proposal(1, 1)};
    KeepAll keeper;
    channel.begin_tenure(2, tenure, follower->permit(tenure, keeper));
    follower.reset();
    channel.write(2, Region::log, 0, {filled(64, 1)}, 5);
    std::array<Completion, 1> completion;
    REQUIRE(channel.poll(completion) == 1);
    CHECK_FALSE(completion[0].success);
    for (int i = 0; i < kPatience && !leader.peer(2).gone; ++i) {
        leader.wait(Plane::background, leader.ticket(Plane::background), 200'000);
    }
    CHECK(leader.peer(2).gone);
}

// Whether a thread of this process sleeps in the kernel.
bool asleep(pid_t thread) {
    std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string text;
    std::getline(stat, text);
    std::size_t const state = text.rfind(") ");
    return state != std::string::npos && text[state + 2] == 'S';
}

constexpr Nanoseconds kFarTooLong = 3'600'000'000'000;

// Puts a thread to sleep on `plane` and rings once. False if something else, like the news of a peer that has just been
// found, had ended the sleep before: then the ring showed nothing.
bool one_ring_ends_a_sleep(ShmFabric& peer, Plane plane, Driver& driver) {
    std::uint32_t const ticket = peer.ticket(plane);
    std::atomic<pid_t> sleeper = 0;
    std::atomic<bool> ended = false;
    std::thread thread([&] {
        sleeper = ::gettid();
        peer.wait(plane, ticket, kFarTooLong);
        ended = true;
    });
    while (!ended && (sleeper == 0 || !asleep(sleeper))) {
        std::this_thread::yield();
    }
    bool const slept = !ended;
    driver.channel().ring(2, plane);
    thread.join();
    return slept;
}

TEST_CASE("One ring wakes a plane of a peer that sleeps, and a ring before the sleep is not lost") {
    ShmWorld world(2);
    Driver driver(world, 1);
    REQUIRE(driver.connect(2));
    ShmFabric& peer = world.endpoint(2);
    for (Plane const plane : {Plane::replication, Plane::background, Plane::learner}) {
        std::uint32_t const before = peer.ticket(plane);
        driver.channel().ring(2, plane);
        CHECK(peer.ticket(plane) != before);
        peer.wait(plane, before, kFarTooLong);  // comes back at once
        bool slept = false;
        for (int i = 0; i < kPatience && !slept; ++i) {
            slept = one_ring_ends_a_sleep(peer, plane, driver);
        }
        CHECK(slept);
    }
}

}  // namespace

}  // namespace mu::test
