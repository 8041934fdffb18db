/* Engines whose store keeps whole states (lock_state.h): one is read, changed and written while nobody else may.
 *
 * A store brings `enter`, which reads a lock's state and keeps others away from it, and `leave`, which writes it if it
 * changed and lets them in. Everything else is the same for all of them. */
#pragma once

#include "engine/engine.h"

struct stored {
    struct engine engine;
    const struct stored_ops *store;
};

struct stored_ops {
    /* Reads into an initialised state; a lock that nobody knows has an empty one. What is over may still be in it. With
     * `looks` nothing will be written, and others need not be kept away. On failure nobody is kept away. */
    enum engine_code (*enter)(struct stored *stored, struct slice key, bool looks, struct lock_state *ret_state,
                              int64_t *ret_now_ms);
    /* ENGINE_OK: what changed is as durable as the store promises. Another code: nothing changed, or it is
     * ENGINE_UNCERTAIN. */
    enum engine_code (*leave)(struct stored *stored, struct slice key, const struct lock_state *state, bool changed);
};

/* For struct engine_ops. */
enum engine_code stored_acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted);
enum engine_code stored_renew(struct engine *engine, struct slice key, struct slice owner, uint64_t token,
                              int64_t ttl_ms, int64_t *ret_left_ms);
enum engine_code stored_release(struct engine *engine, struct slice key, struct slice owner, uint64_t token);
enum engine_code stored_leave(struct engine *engine, struct slice key, struct slice owner);
enum engine_code stored_look(struct engine *engine, struct slice key, struct lock_state *ret_state,
                             int64_t *ret_now_ms);
enum engine_code stored_fence(struct engine *engine, struct slice key, uint64_t token);
