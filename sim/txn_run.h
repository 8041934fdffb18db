/* One transaction over three shards on five whole nodes, and whoever is lost meanwhile: its client, the node that runs
 * it, the leader of any of the shards. One of these is its home.
 *
 * Points, counted from the client's words on: each message about the transaction is one when it leaves and one when it
 * arrives (txn_watch.h), and each forced write of any node is one. A crash comes right after a point, or within a turn,
 * right after a forced write and before anything that follows it.
 *
 * Always true, or the run has failed
 * 1. All keys are written, or none.
 * 2. Who was told that it is committed finds it written; who was refused never does.
 * 3. When the process that ran it has ended, nothing else is lost and the network is quiet, its keys are free within
 *    TXN_FREED_MS.
 * 4. Ten seconds after all are back nothing is prepared, and soon all records are done and all nodes agree.
 * And what node_run.h says of every world. */
#pragma once

#include "machine/txn/prepare.h"
#include "run.h"

enum txn_victim {
    TXN_VICTIM_CLIENT, /* its connection is reset, and it is not heard of again */
    TXN_VICTIM_DRIVER, /* the node that the client talks to; it leads none of the shards */
    TXN_VICTIM_FIRST,  /* the leader of shard 1 … */
    TXN_VICTIM_SECOND,
    TXN_VICTIM_THIRD,
    TXN_VICTIMS,
};

struct txn_crash {
    enum txn_victim victim;
    bool decided;  /* once home has decided, whoever leads it then; else … */
    bool killed;   /* its process ends, and its machine says so; else its power is lost, and nobody hears of that */
    bool mid_turn; /* right after the point-th forced write of the victim, a node */
    int point;     /* from 0 */
};

enum { TXN_CRASHES = 2, TXN_FREED_MS = 1000 };

struct txn_case {
    uint64_t seed;
    enum txn_protocol protocol;
    bool interactive; /* TXN.BEGIN … TXN.COMMIT; else MULTI … EXEC */
    struct txn_crash crashes[TXN_CRASHES];
    int crash_count;
};

struct txn_outcome {
    int points;         /* there were so many … */
    int forced_writes;  /* … and at most so many forced writes at one node */
    int crashes;        /* that came */
    bool told, refused; /* the client was told that it is committed, or that it never will be */
    bool written;
    int held_ms; /* so long after the node that ran it was lost, something was prepared somewhere */
};

/* mutation and record may be NULL. */
void txn_run_case(const struct txn_case *one, const struct sim_mutation *mutation, const struct sim_record *record,
                  struct sim_result *ret_result, struct txn_outcome *ret_outcome);

/* A case that is drawn from the seed, with as many crashes as the profile has faults; with SIM_FAULT_BLACKOUT the first
 * of them is that of home's leader, once it has decided. */
void txn_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
             const struct sim_record *record, struct sim_result *ret_result);
