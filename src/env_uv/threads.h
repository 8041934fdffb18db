/* The threads of a node with several workers: one for each but the first, whose loop its owner runs. */
#pragma once

#include "env_uv/env_uv.h"

enum { ENV_UV_THREADS_MAXIMUM = 64 };

struct env_uv_threads;

/* Makes an env for each, all with these options, and lets its thread run it. */
MUST_USE enum status env_uv_threads_start(struct env *first, uint32_t count, const struct env_uv_options *options,
                                          struct env_uv_threads **ret_threads);
/* Of all, the first one too. */
struct env *const *env_uv_threads_envs(const struct env_uv_threads *threads);
/* Ends the loops that still run, and waits for the threads. Takes NULL. */
void env_uv_threads_end(struct env_uv_threads *threads);
/* After that, and after everything that lived on the envs is gone; the first one stays. Takes NULL. */
void env_uv_threads_destroy(struct env_uv_threads *threads);
