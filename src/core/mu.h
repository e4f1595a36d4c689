/* The C face of Mu, for programs that are not Python: a replica inside a foreign process.
 *
 *     mu_machine machine = {.context = &mine, .apply = apply, .snapshot = snapshot, .restore = restore};
 *     mu_options options = {.struct_bytes = sizeof options, .cluster = "orders", .replica_id = 1, …};
 *     mu_node* node = mu_open(&options, &machine);
 *     if (node == NULL) { puts(mu_last_error()); }
 *     if (mu_execute(node, "+1", 2, 1000000000, &answer) == MU_OK) { … }
 *     mu_close(node);
 *
 * Every command that is decided is handed to `apply` on every replica, once, in the same order, with its sequence
 * number: 1, 2, 3 … over the whole life of the cluster. A replica that fell too far behind, or started again, gets a
 * snapshot instead, and goes on from the number that it stands for.
 *
 * Invariants: nothing throws and nothing exits through this face; a call that returns MU_NOT_LEADER, MU_NO_MAJORITY,
 * MU_LOG_FULL, MU_TOO_LARGE, MU_BUSY or MU_NO_MEMORY has proposed nothing, ever; MU_INDETERMINATE means that the command
 * may yet be decided, once, now or later, or never. All functions but mu_open and mu_close may be called from any thread at any time; from
 * inside a callback only those that say so.
 *
 * In a child of fork() a node of its parent's is stopped: every mu_outcome is MU_STOPPED, nobody leads, mu_status tells
 * nothing but the replica's id, mu_failure tells why, and mu_pause, mu_stand_aside and mu_close do nothing.
 */
#ifndef MU_H
#define MU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mu_node mu_node;

typedef enum mu_outcome {
    MU_OK = 0,
    MU_NOT_LEADER,    /* nothing was proposed: ask the replica that mu_leader names */
    MU_NO_MAJORITY,   /* nothing was proposed: too few replicas can be reached */
    MU_LOG_FULL,      /* nothing was proposed: followers have not applied enough of the log yet */
    MU_TOO_LARGE,     /* nothing was proposed: see mu_max_command */
    MU_INDETERMINATE, /* proposed, and it is not known whether it is decided */
    MU_REJECTED,      /* decided, and `apply` returned false, on every replica alike */
    MU_STOPPED,       /* this replica was closed, or has stopped by itself: see mu_failure */
    MU_BUSY,          /* nothing was proposed: callbacks, or other calls, took all of the given time */
    MU_NO_MEMORY      /* nothing was proposed: this process has none left to put the proposal together */
} mu_outcome;

/* Bytes that a callback hands back: mu_write appends to them. */
typedef struct mu_bytes mu_bytes;
void mu_write(mu_bytes* bytes, void const* data, size_t length);

/* What is replicated. Callbacks come from a thread of the node's, or from inside a call of mu_execute, mu_confirm or
 * mu_propose, but never from two threads at once. They must not call mu_execute, mu_propose, mu_confirm or mu_close. */
typedef struct mu_machine {
    void* context; /* handed to every callback */
    /* Executes one decided command. What is written to `reply` is what mu_execute returns. False: the command is
     * rejected; that has to come out alike on every replica. */
    bool (*apply)(void* context, uint64_t sequence, void const* command, size_t length, mu_bytes* reply);
    /* Writes the state after command `sequence`. */
    void (*snapshot)(void* context, uint64_t sequence, mu_bytes* out);
    /* Replaces the state by what snapshot() wrote elsewhere after command `sequence`. */
    void (*restore)(void* context, uint64_t sequence, void const* snapshot, size_t length);
    /* A run of apply() calls has ended, so that whoever waits is woken once for all of them. May be NULL. */
    void (*end_run)(void* context);
} mu_machine;

/* Zero stands for the default wherever one is named. */
typedef struct mu_options {
    size_t struct_bytes; /* sizeof(mu_options): what later versions append is absent then */
    char const* cluster; /* its name: letters, digits, '-' and '_' */
    uint64_t cluster_key;
    uint32_t replica_id;
    uint32_t const* members; /* all replicas' ids, this one's included */
    size_t member_count;
    char const* fabric;      /* "shm" or "verbs"; NULL: "shm" */
    char const* directory;   /* of the segments; NULL: /dev/shm */
    uint64_t log_bytes;      /* the ring: a power of two; 0: 1 MiB */
    bool dedicated_cores;    /* a core for every thread: spin */
    bool idle_commit_off;    /* followers learn of the last command only with the next one */
    uint32_t commit_idle_us; /* else: after so long without a proposal; 0: 100 */
    uint32_t stall_limit_ms; /* a follower that holds up the log for longer is dropped; 0: 500 */
    bool stands_aside;       /* as if mu_stand_aside(node, true) had been called before anything else */
    /* On shared cores: how long a follower sleeps between two looks at a busy log; 0: 50. Each look costs processor
     * time that the leader may lack. */
    uint32_t follower_nap_us;
    /* The fabric "verbs": several hosts with RDMA devices. It wants a registry, where the replicas find each other. */
    char const* registry;          /* its address, "host" or "host:port" */
    char const* rdma_device;       /* by its name; NULL: the first with an active port */
    uint32_t rdma_port;            /* of the device; 0: the first active one */
    uint32_t rdma_mtu;             /* bytes; 0: what is active */
    int32_t const* rdma_gid_index; /* which address of the port; NULL, or negative: RoCE v2 over IPv4 if there is one */
    char const* tuning; /* of the core's settings, in ns, as "stale_limit=50000000,…"; rarely needed; NULL: nothing */
} mu_options;

/* Brings a replica up. NULL: mu_last_error says why, and nothing of a running cluster was changed. */
mu_node* mu_open(mu_options const* options, mu_machine const* machine);
/* What a person should know of its start: the stale segment of a dead run was removed. "" if there is nothing; valid
 * until mu_close. A program that has a log should put it there. */
char const* mu_notice(mu_node const* node);
/* Takes leave of the others and frees the node. Calls that are under way in other threads end first, with MU_STOPPED or
 * MU_INDETERMINATE, and are waited for; none may begin any more. */
void mu_close(mu_node* node);

/* Proposes, decides and applies one command, and copies the reply (cut to its capacity). */
typedef struct mu_reply {
    void* bytes; /* where to; NULL: nowhere */
    size_t capacity;
    size_t length; /* of the whole reply */
} mu_reply;
mu_outcome mu_execute(mu_node* node, void const* command, size_t length, int64_t timeout_ns, mu_reply* reply);
/* Decides one command without waiting for its execution here. */
mu_outcome mu_propose(mu_node* node, void const* command, size_t length, int64_t timeout_ns);

/* Confirms that this replica leads now, and that all that was decided before the call is applied here: what is read
 * of the state after MU_OK and was there before the call is a linearizable read. `tenure`, unless NULL, receives the
 * number of this leadership: as long as it is the same, nobody else has decided anything in between. */
mu_outcome mu_confirm(mu_node* node, int64_t timeout_ns, uint64_t* tenure);

/* The cheap questions: no lock, callable from callbacks and signal handlers. */
bool mu_leads(mu_node const* node);      /* leads as far as is known, without asking anybody */
uint32_t mu_leader(mu_node const* node); /* whom this replica takes for the leader; 0: nobody */
size_t mu_max_command(mu_node const* node);

/* Blocks until this replica leads; false when time is up, or the node was closed. */
bool mu_wait_until_leading(mu_node* node, int64_t timeout_ns);

/* Silences the heartbeat, so that the others take this replica for dead; or lets it beat again. */
void mu_pause(mu_node* node, bool paused);
/* The program around this replica is not able to lead: another one is elected, while this one goes on accepting and
 * applying. May be called from callbacks. */
void mu_stand_aside(mu_node* node, bool aside);

typedef struct mu_status_t {
    uint32_t replica_id;
    uint32_t leader; /* 0: nobody */
    bool leads;
    bool admitted; /* a full member: formed, or brought up */
    bool paused;
    uint64_t tenure;    /* of the last leadership of this replica */
    uint64_t applied;   /* offset in the log, in bytes */
    uint64_t decided;   /* offset below which everything is known to be decided */
    uint64_t sequence;  /* of the last command that was applied */
    uint32_t confirmed; /* replicas that a leader writes to, itself included */
    uint32_t alive;     /* bit by replica id: whom this replica takes for alive */
} mu_status_t;
void mu_status(mu_node* node, mu_status_t* status);

/* What went wrong last, in this thread (mu_open), or why this node stopped; "" if nothing did. */
char const* mu_last_error(void);
char const* mu_failure(mu_node* node);
char const* mu_outcome_text(mu_outcome outcome);

#ifdef __cplusplus
}
#endif

#endif /* MU_H */
