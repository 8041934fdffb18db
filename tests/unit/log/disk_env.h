/* The least env that a log, a snapshot or a founding needs, for tests that want to say when background work runs and
 * when time passes: files on a sim_disk, a clock that stands still, work and timers that wait for disk_env_run. */
#pragma once

#include "env/env.h"
#include "sim_disk.h"

struct disk_env {
    struct env env;
    struct sim_disk *disk;
    int64_t now_ns;
    uint64_t random;
    bool any_order;           /* work runs in drawn order, else as submitted */
    struct env_work *work[8]; /* submitted, not run yet */
    int work_count;
    struct env_timer *timers[8]; /* armed */
    int64_t due_ns[8];
    int timer_count;
    int open_files, most_open_files; /* now, and at any time */
    int open_limit;                  /* STATUS_FULL beyond it; 0: none */
    char line[1024];                 /* the last one logged */
    unsigned lines;
};

void disk_env_init(struct disk_env *disk_env, struct sim_disk *disk);
/* Runs one piece of work and its done; false when there was none. */
bool disk_env_step(struct disk_env *disk_env);
/* All work, and what that submits. */
void disk_env_run(struct disk_env *disk_env);
/* Moves the clock and fires what is due. */
void disk_env_advance(struct disk_env *disk_env, int64_t duration_ns);
