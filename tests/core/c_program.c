/* A C program that replicates: three replicas of a sum in one process. What it prints is checked by tests/api. */
#define _POSIX_C_SOURCE 200809L /* fork */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mu.h"

enum { REPLICAS = 3, ADDITIONS = 100 };
static int64_t const SECOND = 1000000000;

typedef struct {
    int64_t sum;
    uint64_t last; /* sequence number */
    uint64_t gaps; /* numbers that did not follow their predecessor */
    uint64_t runs;
} sum_machine;

static bool apply(void* context, uint64_t sequence, void const* command, size_t length, mu_bytes* reply) {
    sum_machine* const sum = context;
    sum->gaps += sequence == sum->last + 1 ? 0 : 1;
    sum->last = sequence;
    int64_t number = 0;
    if (length != sizeof number) {
        return false;
    }
    memcpy(&number, command, sizeof number);
    sum->sum += number;
    mu_write(reply, &sum->sum, sizeof sum->sum);
    return true;
}

static void snapshot(void* context, uint64_t sequence, mu_bytes* out) {
    sum_machine* const sum = context;
    sum->gaps += sequence == sum->last ? 0 : 1;
    mu_write(out, &sum->sum, sizeof sum->sum);
}

static void restore(void* context, uint64_t sequence, void const* bytes, size_t length) {
    sum_machine* const sum = context;
    memcpy(&sum->sum, bytes, length < sizeof sum->sum ? length : sizeof sum->sum);
    sum->last = sequence;
}

static void end_run(void* context) { ++((sum_machine*)context)->runs; }

static mu_node* open_replica(uint32_t replica, char const* directory, sum_machine* sum) {
    static uint32_t const members[REPLICAS] = {1, 2, 3};
    mu_machine const machine = {sum, apply, snapshot, restore, end_run};
    mu_options options;
    memset(&options, 0, sizeof options);
    options.struct_bytes = sizeof options;
    options.cluster = "c-program";
    options.cluster_key = 7;
    options.replica_id = replica;
    options.members = members;
    options.member_count = REPLICAS;
    options.directory = directory;
    mu_node* const node = mu_open(&options, &machine);
    if (node == NULL) {
        printf("mu_open: %s\n", mu_last_error());
        exit(1);
    }
    if (mu_notice(node)[0] != '\0') {
        printf("%s\n", mu_notice(node));
    }
    return node;
}

static void expect(bool holds, char const* what) {
    if (!holds) {
        printf("not so: %s\n", what);
        exit(1);
    }
}

/* Adds 1 on whichever replica leads, until that has worked so often. */
static void add(mu_node* nodes[REPLICAS], int additions) {
    int64_t const one = 1;
    for (int done = 0; done < additions;) {
        for (int i = 0; i < REPLICAS && done < additions; ++i) {
            int64_t sum = 0;
            mu_reply reply = {&sum, sizeof sum, 0};
            if (mu_leads(nodes[i]) && mu_execute(nodes[i], &one, sizeof one, SECOND, &reply) == MU_OK) {
                expect(reply.length == sizeof sum, "a reply is as long as what was written");
                ++done;
            }
        }
    }
}

static void call_everything_in_a_child(mu_node* node) {
    static char large[1 << 20];
    int64_t const one = 1;
    expect(mu_execute(node, &one, sizeof one, SECOND, NULL) == MU_STOPPED, "a child of fork does not replicate");
    expect(mu_propose(node, &one, sizeof one, SECOND) == MU_STOPPED, "nor does it propose");
    expect(mu_propose(node, large, sizeof large, SECOND) == MU_STOPPED, "whatever it proposes");
    expect(mu_confirm(node, SECOND, NULL) == MU_STOPPED, "nor does it confirm");
    expect(!mu_leads(node) && mu_leader(node) == 0, "nor does it lead, or know who does");
    expect(!mu_wait_until_leading(node, SECOND), "nor will it lead");
    mu_status_t status;
    memset(&status, 1, sizeof status);
    mu_status(node, &status);
    expect(status.replica_id == 1 && !status.leads && status.applied == 0 && status.alive == 0, "its status is empty");
    mu_pause(node, true);
    mu_stand_aside(node, true);
    expect(strstr(mu_failure(node), "child of fork") != NULL, "it is told why");
    mu_close(node);
}

static void use_in_a_child(mu_node* node) {
    pid_t const child = fork();
    if (child == 0) {
        call_everything_in_a_child(node);
        _exit(0);
    }
    int status = 1;
    expect(waitpid(child, &status, 0) == child && status == 0, "a child of fork is told that its parent replicates");
}

static mu_node* kept; /* until the program's end */

/* Registered before Mu was called first, so it is called after whatever Mu may have left for the program's end. */
static void close_at_the_end(void) {
    if (kept == NULL) {
        return;
    }
    mu_close(kept);
    pid_t const child = fork(); /* Mu looks through the nodes that it knows of */
    if (child == 0) {
        _exit(0);
    }
    int status = 1;
    if (waitpid(child, &status, 0) != child || status != 0) {
        printf("not so: a handler of the program's end may close a node\n");
        fflush(stdout);
        _exit(1);
    }
}

int main(int count, char** words) {
    atexit(close_at_the_end);
    expect(count == 2, "the directory of the segments is the only argument");
    sum_machine sums[REPLICAS] = {{0, 0, 0, 0}};
    mu_node* nodes[REPLICAS];
    for (uint32_t i = 0; i < REPLICAS; ++i) {
        nodes[i] = open_replica(i + 1, words[1], &sums[i]);
    }
    mu_stand_aside(nodes[1], true); /* nobody but the first may lead, however crowded the machine is */
    mu_stand_aside(nodes[2], true);
    expect(mu_wait_until_leading(nodes[0], 30 * SECOND), "the lowest id leads");
    while (mu_leads(nodes[1]) || mu_leads(nodes[2])) { /* it did in the moment before */
    }
    add(nodes, ADDITIONS);

    uint64_t tenure = 0;
    expect(mu_confirm(nodes[0], SECOND, &tenure) == MU_OK && tenure != 0, "a leader confirms that it leads");
    expect(mu_confirm(nodes[1], SECOND, NULL) == MU_NOT_LEADER, "a follower does not");
    expect(mu_propose(nodes[1], "", 0, SECOND) == MU_NOT_LEADER, "a follower proposes nothing");
    expect(mu_execute(nodes[0], "odd", 3, SECOND, NULL) == MU_REJECTED, "what apply refuses is rejected");
    static char large[1 << 20];
    expect(mu_propose(nodes[0], large, sizeof large, SECOND) == MU_TOO_LARGE, "a command has to fit a slot");

    use_in_a_child(nodes[0]);

    mu_stand_aside(nodes[1], false);
    mu_stand_aside(nodes[2], false); /* perhaps only this one has all that was decided, and leads until 2 has it too */
    mu_stand_aside(nodes[0], true);  /* another one leads, and this one goes on applying */
    while (!mu_leads(nodes[1])) {
        add(nodes, 1);
    }
    add(nodes, ADDITIONS);
    mu_status_t status;
    mu_status(nodes[1], &status);
    expect(status.admitted && status.replica_id == 2 && status.sequence > 2 * ADDITIONS, "a status says what is");
    uint64_t most = 0;
    for (int agreeing = 0; agreeing < REPLICAS;) { /* it holds the replica: what apply wrote before is seen here */
        for (int i = agreeing = 0; i < REPLICAS; ++i) {
            mu_status(nodes[i], &status);
            agreeing += status.sequence == most ? 1 : 0;
            most = status.sequence > most ? status.sequence : most;
        }
    }
    for (int i = 0; i < REPLICAS; ++i) {
        expect(sums[i].sum == sums[0].sum && sums[i].gaps == 0 && sums[i].runs > 0, "all have applied the same");
    }
    for (int i = 1; i < REPLICAS; ++i) {
        mu_close(nodes[i]);
    }
    kept = nodes[0];
    printf("all of it holds\n");
    return 0;
}
