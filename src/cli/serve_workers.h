/* The threads of `cohort serve`: one for each worker but the first, which has the main thread. */
#pragma once

#include "env/env.h"

struct config;
struct serve_workers;

/* Makes an env for each, with the settings' log level and format, and lets its thread run it. `first` is that of the
 * main thread. */
MUST_USE enum status serve_workers_start(struct env *first, uint32_t count, const struct config *config,
                                         struct serve_workers **ret_workers);
/* Of all workers, the first one's too. */
struct env *const *serve_workers_envs(const struct serve_workers *workers);
/* Ends the loops that still run, and waits for the threads. Takes NULL. */
void serve_workers_end(struct serve_workers *workers);
/* After that, and after everything that lived on the envs is gone; the first one's stays. Takes NULL. */
void serve_workers_destroy(struct serve_workers *workers);
