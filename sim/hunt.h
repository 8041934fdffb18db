/* Many runs, each guarded: a broken assertion ends a child process, not the hunt. */
#pragma once

#include "run.h"

/* As sim_run in a child process; an abort counts as a failure of the run, with its last words. */
void sim_run_guarded(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
                     struct sim_result *ret_result);

struct sim_hunt {
    uint64_t first_seed, count; /* seeds first_seed, + step, … */
    uint64_t step;
    int64_t until_ns;            /* of the monotonic clock; 0: all seeds */
    const char *profile_changes; /* as for sim_profile_draw */
    const struct sim_mutation *mutation;
};

struct sim_hunt_result {
    uint64_t seeds;         /* run, the failed one included */
    uint64_t seed;          /* the last one */
    struct sim_result last; /* the failure, when there is one */
    /* Sums over all seeds of a level. */
    struct sim_level_sum {
        uint64_t seeds;
        int64_t processor_ns;     /* what they cost */
        struct sim_result result; /* marks and counts; trace: of all */
    } levels[SIM_LEVELS];
};

/* Runs seeds until one fails. STATUS_IO: there can be no child process. */
MUST_USE enum status sim_hunt_run(const struct sim_hunt *hunt, struct sim_hunt_result *ret_result);

/* A smaller profile with which the seed still fails (in any way); returns how many runs that took. */
int sim_shrink(uint64_t seed, const struct sim_mutation *mutation, struct sim_profile *profile,
               struct sim_result *result);
