/* A whole cluster in one process: virtual time, a virtual network, virtual disks, from one seed.
 *
 * A node is a machine with an address ("10.0.0.1" is node 0), a disk and at most one running process; the process gets
 * a `struct env *` for each of its workers and knows no other world. Clients and fault scripts run on nodes of their
 * own.
 *
 * Invariants
 * 1. The same seed and the same calls give the same events in the same order, and so the same sim_trace_hash.
 * 2. Draws come from independent streams (enum sim_draw), so a new draw in one does not change another.
 * 3. Virtual time moves only in sim_step and sim_run_*. In a turn a worker's clock moves by what it did (readings,
 * syncs), and the worker has no other turn before that time has passed; the others of its process have theirs
 * meanwhile.
 * 4. What is due for a worker when its turn comes forms one turn: messages, timers, then streams, connections and
 *    finished work in drawn order, then the hook.
 * 5. A crash takes effect between turns. From a crash point of the disk (sim_disk_crash_after) on, nothing that the
 *    process does is seen by anyone.
 *
 * After a crash the old env is dead: file calls fail with STATUS_IO, timers and work never come, streams swallow what
 * is written. The owner then destroys what ran on it, as the real process would not, only to give back its memory. */
#pragma once

#include "base/prng.h"
#include "env/env.h"
#include "sim_disk.h"

struct sim;

enum { SIM_NODES = 64, SIM_WORKERS = 8 };

/* ---- life ---- */

struct sim *sim_create(uint64_t seed);
/* Ends all processes first, as sim_node_start does with a dead one. */
void sim_destroy(struct sim *sim);

/* Virtual nanoseconds since sim_create; at least one second is on every node's clocks then. */
int64_t sim_now_ns(const struct sim *sim);
/* Does what is due next; false when nothing ever will be. */
bool sim_step(struct sim *sim);
/* Does all that is due up to and at this time, which then is now. */
void sim_run_until(struct sim *sim, int64_t at_ns);
void sim_run_for(struct sim *sim, int64_t duration_ns);
/* A hash over every event so far: what ran where and when, what it read, wrote and sent. */
uint64_t sim_trace_hash(const struct sim *sim);

/* The streams of randomness. CLIENT is for workloads, CRASH for who fails when. */
enum sim_draw { SIM_DRAW_NETWORK, SIM_DRAW_DISK, SIM_DRAW_CRASH, SIM_DRAW_CLIENT, SIM_DRAW_TIMING, SIM_DRAWS };
struct prng *sim_prng(struct sim *sim, enum sim_draw draw);

/* ---- nodes ---- */

/* A new process on the node. After a crash it first ends the dead one: work in flight runs (without effect) and its
 * done callbacks follow; timers, streams and listeners left over are freed. Destroy what ran there before this. */
struct env *sim_node_start(struct sim *sim, int node);
/* Another worker of the process that runs there; it can accept no connections, which come to the first. */
struct env *sim_node_add_worker(struct sim *sim, int node);
/* The running process, its first worker; NULL when there is none. */
struct env *sim_node_env(struct sim *sim, int node);
/* Outlives crashes. */
struct sim_disk *sim_node_disk(struct sim *sim, int node);
/* Another, empty one takes its place. No process runs there. */
void sim_node_replace_disk(struct sim *sim, int node);
/* "10.0.0.1" …; static for the life of the sim. */
const char *sim_node_address(struct sim *sim, int node);

enum sim_crash {
    SIM_CRASH_KILL,  /* the process ends; its machine closes its connections; the disk loses nothing */
    SIM_CRASH_POWER, /* peers hear nothing, until the machine is on again and refuses what they send; the disk loses
                        what it may */
};
/* Not from a callback of that node. Without a running process KILL does nothing. */
void sim_node_crash(struct sim *sim, int node, enum sim_crash how);
/* Called between turns when a disk's crash point ended a node (which is then as after SIM_CRASH_POWER). */
void sim_on_crash(struct sim *sim, void (*crashed)(void *owner, int node), void *owner);

/* The process that runs there ends when it has done so many more operations that others could see (on files, and writes
 * to connections), as a process does to which the system refuses memory: wherever in its work that is, the last such
 * operation is all that tells. Then it is as after SIM_CRASH_KILL, and sim_on_crash hears of it. */
void sim_node_end_after(struct sim *sim, int node, uint64_t operations);
/* The last process ended so. */
bool sim_node_ended(struct sim *sim, int node);

/* No turn before this time (SIGSTOP, a long page fault); the clocks go on. */
void sim_node_pause(struct sim *sim, int node, int64_t until_ns);
/* The monotonic clock's speed relative to virtual time, in millionths: ±100000 at most. */
void sim_node_set_clock_rate(struct sim *sim, int node, int32_t ppm);
/* The wall clock jumps to virtual time plus this. */
void sim_node_set_wall_offset(struct sim *sim, int node, int64_t offset_ms);

/* ---- how fast things are; all drawn uniformly between the limits ---- */
struct sim_timing {
    int64_t turn_minimum_ns, turn_maximum_ns; /* a turn of the loop, besides what it does on the disk */
    int64_t reading_ns;                       /* of the clock: by what looks at it, work takes time */
    int64_t work_minimum_ns, work_maximum_ns; /* from submission until it runs */
    int64_t post_minimum_ns, post_maximum_ns; /* of a message between workers */
    int64_t sync_minimum_ns, sync_maximum_ns; /* of a file or folder */
    uint32_t slow_sync_one_in;                /* 0: never */
    int64_t slow_sync_ns;                     /* at most this much longer */
};
/* The defaults are those of a good machine without faults. */
struct sim_timing *sim_timing(struct sim *sim);

/* Lines of env_log; without this they are dropped. */
void sim_on_log(struct sim *sim,
                void (*line)(void *owner, int node, int64_t at_ns, enum env_log_level level, const char *text),
                void *owner);
