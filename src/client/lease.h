/* A lease: what ends by itself and can be renewed before: a lock, an office, a session. What keepers keep.
 *
 * Invariant: `valid_until_ns` is never later than the server's own end of the lease, as long as both clocks are within
 * the allowance; it goes forward by renewals alone, and is 0 for ever once the lease is over. */
#pragma once

#include "client/handle.h"

enum {
    LEASE_TTL_MINIMUM_MS = 100,
    LEASE_TTL_MAXIMUM_MS = 24 * 3600 * 1000,
    LEASE_DRIFT_MS = 2,        /* the allowance: this, */
    LEASE_DRIFT_DIVISOR = 500, /* and this part of the time to live */
    LEASE_NAME_BYTES = 33,
};

/* For a lock: the server's limit. */
#define LEASE_WAIT_MAXIMUM_MS (INT64_C(365) * 24 * 3600 * 1000)

struct lease;

/* What a lease is. */
struct lease_kind {
    /* A renewal that ends by then, with `ended` or another end still to be set; NULL: memory was refused. */
    struct operation *(*renewal)(struct lease *lease, int64_t timeout_ms);
    /* Whether what a server pushed says that it is lost; NULL: nothing is pushed. */
    bool (*is_lost_by)(const struct lease *lease, const struct cohort_reply *push);
    enum cohort_status over; /* what its loss is called */
};

struct lease {
    const struct lease_kind *kind;
    struct cohort *cohort;
    struct cohort_keeper *keeper;
    int64_t ttl_ms;
    int64_t valid_until_ns; /* under the mutex, as the next */
    bool is_over;           /* lost or released */
};

/* A request that was sent at `sent_boottime_ns` was answered that so many ms are left. Under the mutex. */
void lease_confirm(struct lease *lease, int64_t sent_boottime_ns, int64_t left_ms);

/* Under the mutex. */
void lease_end(struct lease *lease);

/* From outside of the mutex. */
int64_t lease_valid_until(const struct lease *lease);
void lease_give_up(struct lease *lease);

/* A name that nobody else has; false: the system has no random numbers. */
bool lease_make_name(char name[static LEASE_NAME_BYTES]);
