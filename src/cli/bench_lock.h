/* What `cohort bench --mode lock` asks for: pairs of an acquire and, when its answer is there, a release.
 *
 *   LOCK form   LOCK.ACQUIRE lock owner PX ttl [WAIT wait], then LOCK.RELEASE lock owner token
 *   SET form    SET lock owner NX PX ttl, then EVAL of a compare-and-delete: how locks are taken in Redis; a lock that
 *               is held is tried again at once
 *
 * A client is one owner and has as many locks under way as its pipeline is deep. No two of all clients' requests that
 * are under way name the same lock, unless there are fewer locks than that: then they contend, and a client has one
 * only, as it would wait for itself. */
#pragma once

#include "cli/bench_request.h"

enum { BENCH_OWNER_BYTES = 24 };

struct bench_lock_try {
    uint64_t lock, token;
    bool held;
};

struct bench_locks {
    const struct bench_mix *mix;
    uint64_t next, step; /* locks of the next batch: next, next + 1, … modulo the keys; then step more */
    char owner[BENCH_OWNER_BYTES];
    struct bench_lock_try *tries; /* `pipeline` of them */
    uint32_t count;               /* of the batch; when it is released, those that are held */
    uint64_t grants;
};

/* Of client `index` of `clients`; the mix is borrowed. */
void bench_locks_init(struct bench_locks *locks, const struct bench_mix *mix, uint32_t index, uint32_t clients,
                      uint32_t pipeline);
void bench_locks_deinit(struct bench_locks *locks);

void bench_locks_acquire(struct bench_locks *locks, uint32_t count, struct buffer *out);
/* The answer to acquire number i, which is no error: was it granted? */
bool bench_locks_answered(struct bench_locks *locks, uint32_t i, struct slice reply);
/* Of those that were granted. Returns how many they are. */
uint32_t bench_locks_release(struct bench_locks *locks, struct buffer *out);
