/* Many runs, each guarded: a broken assertion ends a child process, not the hunt. */
#pragma once

#include "group_run.h"

/* As group_run in a child process; an abort counts as a failure of the run, with its last words. */
void group_run_guarded(uint64_t seed, const struct sim_profile *profile, const struct group_mutation *mutation,
                       struct group_result *ret_result);

struct group_hunt {
    uint64_t first_seed, count; /* seeds first_seed, + step, … */
    uint64_t step;
    int64_t until_ns;            /* of the monotonic clock; 0: all seeds */
    const char *profile_changes; /* as for sim_profile_draw */
    const struct group_mutation *mutation;
};

struct group_hunt_result {
    uint64_t seeds;          /* run, the failed one included */
    uint64_t seed;           /* the last one */
    struct group_result sum; /* marks and counts over all seeds; failed and failure of the last one */
};

/* Runs seeds until one fails. STATUS_IO: there can be no child process. */
MUST_USE enum status group_hunt_run(const struct group_hunt *hunt, struct group_hunt_result *ret_result);

/* A smaller profile with which the seed still fails (in any way); returns how many runs that took. */
int group_shrink(uint64_t seed, const struct group_mutation *mutation, struct sim_profile *profile,
                 struct group_result *result);
