/* A transaction with external participants: one client, up to two resources that are not Cohort's, and a resolver, at
 * five whole nodes with three shards; and whoever is lost meanwhile, as in txn_run.h. A resource never fails: it keeps
 * what was prepared by its name. The client joins, prepares, commits, finishes and acknowledges; it may stop at any
 * step, and pause for longer than its transaction may take. The resolver lists what is prepared, THEN asks what is
 * decided, THEN acts, with pauses between; and acknowledges for clients that are gone.
 *
 * Always true, or the run has failed
 * 1. No branch is rolled back once it was committed, or the other way round, or committed without being prepared.
 * 2. When all is over, nothing is prepared, nothing is left at home, and all branches and the keys of the shards agree.
 * 3. Who was told that it is committed finds it so; who was refused never does.
 * And what node_run.h says of every world. */
#pragma once

#include "run.h"
#include "txn_run.h"

struct external_case {
    uint64_t seed;
    int resources;  /* 1 or 2 */
    bool keyless;   /* no key of Cohort's takes part */
    bool named;     /* the client chooses the id */
    bool pauses;    /* client and resolver make long ones */
    int stop_after; /* the client does so many steps, then nothing any more; -1: all */
    struct txn_crash crashes[TXN_CRASHES];
    int crash_count;
};

struct external_outcome {
    int steps, points, crashes;
    bool told, refused, committed;
    bool resolved; /* the resolver has finished a branch */
};

/* mutation and record may be NULL. */
void external_run_case(const struct external_case *one, const struct sim_mutation *mutation,
                       const struct sim_record *record, struct sim_result *ret_result,
                       struct external_outcome *ret_outcome);

/* A case that is drawn from the seed. */
void external_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
                  const struct sim_record *record, struct sim_result *ret_result);
