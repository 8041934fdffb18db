/* Keepers (cohort/lock.h): what renews a lease, on a thread of its own or on the caller's loop.
 *
 *      resting ──a third of the time to live──▶ renewing ──OK──▶ resting
 *                                                  │──LOCKLOST, or no longer valid──▶ lost ──told──▶ over
 *
 * Invariants
 * 1. It is a timer and an operation of the handle, all under its mutex. A keeper's thread does nothing but drive the
 * handle, and make the call when the lock is lost.
 * 2. Its timer is never later than the end of the validity, so a loss is told then, whatever a renewal is doing.
 * 3. Stopped under the mutex: its operation is cancelled, its timer cleared; a call that is due is not made.
 * 4. The server's word that a lock is lost, which it pushes to the connection by which that was acquired, counts like
 * its answer to a renewal. It may never come, so nothing waits for it. */
#pragma once

#include "client/lease.h"

#include <cohort/lock.h>

enum keeper_state { KEEPER_RESTING, KEEPER_RENEWING, KEEPER_LOST, KEEPER_OVER };

struct cohort_keeper {
    struct list node; /* in cohort.keepers while a call is due on the loop */
    struct list all;  /* in cohort.kept, from start to stop */
    struct timer timer;
    struct lease *lease;
    struct operation *renewal; /* while renewing */
    enum keeper_state state;
    enum cohort_status why;
    void (*tell)(struct cohort_keeper *keeper); /* makes the call; NULL: nobody wants it */
    void (*lost)(void);                         /* what `tell` calls, of its own type */
    void *data;
    bool on_loop;
    bool stopping;
    bool stopped_within; /* by `lost` itself: whoever called that frees it */
    bool calling;        /* `lost` runs, in `thread` */
    struct outcome turn; /* where its thread waits while another drives */
    pthread_t thread;
    pthread_t caller; /* of `lost`, while it runs */
    pthread_cond_t called;
};

/* In two steps: between them the caller sets whom it tells. NULL: memory was refused; then the start says so. */
struct cohort_keeper *keeper_create(struct lease *lease, unsigned flags, void *data);
enum cohort_status keeper_start(struct cohort_keeper *keeper, struct cohort_keeper **ret_keeper);

/* What a server pushed: the keeper of a lock that is lost hears of it. */
void keepers_hear(struct cohort *cohort, const struct cohort_reply *push);

/* Its timer. */
void keeper_due(struct cohort_keeper *keeper, int64_t now_ns);

/* Makes the calls that are due on the loop. The mutex is released meanwhile. */
void keepers_call_back(struct cohort *cohort);
