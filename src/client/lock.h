/* The inside of a lock (cohort/lock.h).
 *
 * Invariant: `valid_until_ns` is never later than the server's own end of the lock, as long as both clocks are within
 * the allowance; it goes forward by renewals alone, and is 0 for ever once the lock is lost or released. */
#pragma once

#include "client/handle.h"

#include <cohort/lock.h>

enum {
    LOCK_TTL_MINIMUM_MS = 100,
    LOCK_TTL_MAXIMUM_MS = 24 * 3600 * 1000,
    LOCK_DRIFT_MS = 2,        /* the allowance: this, */
    LOCK_DRIFT_DIVISOR = 500, /* and this part of the time to live */
    LOCK_OWNER_BYTES = 33,
};

struct cohort_lock {
    struct cohort *cohort;
    struct cohort_keeper *keeper;
    int64_t ttl_ms;
    uint64_t token;
    int64_t valid_until_ns; /* under the mutex, as the next */
    bool is_over;           /* lost or released */
    struct slice key;       /* both stand behind the struct */
    struct slice owner;
    char token_text[24];
};

/* A request that was sent at `sent_boottime_ns` was answered that so many ms are left. Under the mutex. */
void lock_was_confirmed(struct cohort_lock *lock, int64_t sent_boottime_ns, int64_t left_ms);

/* Under the mutex. */
void lock_is_over(struct cohort_lock *lock);

/* A renewal that ends by then, with `ended` or another end still to be set; NULL: memory was refused. */
struct operation *lock_renewal(struct cohort_lock *lock, int64_t timeout_ms);
