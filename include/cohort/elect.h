/* Elections: one leader at most, and candidates that wait.
 *
 * An office is a lock whose name is the election's (cohort/lock.h), with other words at the server: its token,
 * cohort_lock_valid_until, renewals, keepers, release (which resigns) and free are those of locks. Elections and locks
 * of the same name have nothing to do with each other. */
#ifndef COHORT_ELECT_H
#define COHORT_ELECT_H

#include <cohort/lock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `ttl_ms` must be said; all else may be zero. */
struct cohort_campaign {
    size_t size;
    int64_t ttl_ms;                /* of the term, 100 ms to 24 hours; renewing begins it anew */
    int64_t wait_ms;               /* how long to wait to lead; 0: not at all */
    struct cohort_bytes candidate; /* data NULL: a random one, which no other has */
    struct cohort_bytes value;     /* told with the office to who asks for the leader */
};

/* Leads the election, or waits to. COHORT_NOT_GRANTED: others led all the time. All else as cohort_lock_acquire. */
COHORT_API enum cohort_status cohort_elect_campaign(struct cohort *cohort, struct cohort_bytes election,
                                                    const struct cohort_campaign *campaign,
                                                    struct cohort_lock **ret_office, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_elect_campaign_start(struct cohort *cohort, struct cohort_bytes election,
                                                          const struct cohort_campaign *campaign,
                                                          cohort_lock_callback callback, void *data);

/* A map of candidate, token, ttl_ms, value. COHORT_NOTFOUND: nobody leads. */
COHORT_API enum cohort_status cohort_elect_leader(struct cohort *cohort, struct cohort_bytes election,
                                                  struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_elect_leader_start(struct cohort *cohort, struct cohort_bytes election,
                                                        cohort_callback callback, void *data);

#ifdef __cplusplus
}
#endif

#endif
