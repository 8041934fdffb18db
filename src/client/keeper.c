#include "client/keeper.h"

#include "base/assert.h"

#include <signal.h>
#include <stdlib.h>

/* When the validity ends, on the clock of timers. */
static int64_t end_of_validity(const struct cohort_keeper *keeper)
{
    return client_clock_ns() + (keeper->lease->valid_until_ns - handle_boottime_ns());
}

/* Until two thirds are left; when a renewal has just brought less than was asked for, as engines may: of what it
 * brought. */
static void rest(struct cohort_keeper *keeper, bool is_renewed)
{
    struct lease *lease = keeper->lease;
    int64_t end_ns = end_of_validity(keeper);
    int64_t third_ns = lease->ttl_ms * 1000000 / 3;
    int64_t left_third_ns = (end_ns - client_clock_ns()) / 3;
    if (is_renewed && left_third_ns < third_ns) {
        third_ns = left_third_ns > 0 ? left_third_ns : 0;
    }
    keeper->state = KEEPER_RESTING;
    handle_set_timer(lease->cohort, &keeper->timer, end_ns - 2 * third_ns);
}

static void become_lost(struct cohort_keeper *keeper, enum cohort_status why)
{
    struct cohort *cohort = keeper->lease->cohort;
    timers_clear(&cohort->timers, &keeper->timer);
    lease_end(keeper->lease);
    keeper->state = KEEPER_LOST;
    keeper->why = why;
    if (keeper->on_loop) {
        list_append(&cohort->keepers, &keeper->node);
        handle_tell_ready(cohort);
    } else {
        (void)pthread_cond_signal(&keeper->turn.cond);
        handle_wake(cohort);
    }
}

void keepers_hear(struct cohort *cohort, const struct cohort_reply *push)
{
    LIST_FOR_EACH (at, &cohort->kept) {
        struct cohort_keeper *keeper = CONTAINER_OF(at, struct cohort_keeper, all);
        const struct lease *lease = keeper->lease;
        bool is_kept = keeper->state == KEEPER_RESTING || keeper->state == KEEPER_RENEWING;
        if (is_kept && lease->kind->is_lost_by != NULL && lease->kind->is_lost_by(lease, push)) {
            become_lost(keeper, lease->kind->over);
        }
    }
}

/* The timer does, until the validity ends. */
static void try_again(struct cohort_keeper *keeper, enum cohort_status why)
{
    int64_t again_ns = client_clock_ns() + keeper->lease->ttl_ms * 1000000 / 16;
    int64_t end_ns = end_of_validity(keeper);
    keeper->why = why;
    keeper->state = KEEPER_RESTING;
    handle_set_timer(keeper->lease->cohort, &keeper->timer, again_ns < end_ns ? again_ns : end_ns);
}

static void renewed(struct operation *renewal)
{
    struct cohort_keeper *keeper = renewal->data;
    if (keeper == NULL) {
        return; /* stopped */
    }
    keeper->renewal = NULL;
    if (keeper->state != KEEPER_RENEWING) {
        return;
    }
    if (renewal->status == COHORT_OK) {
        rest(keeper, true);
    } else if (renewal->status == keeper->lease->kind->over || keeper->lease->is_over) {
        become_lost(keeper, keeper->lease->kind->over);
    } else {
        try_again(keeper, renewal->status);
    }
}

static void renew(struct cohort_keeper *keeper, int64_t left_ns)
{
    struct cohort *cohort = keeper->lease->cohort;
    struct operation *renewal = keeper->lease->kind->renewal(keeper->lease, left_ns / 1000000 + 1);
    if (renewal == NULL) {
        try_again(keeper, COHORT_NOMEM);
        return;
    }
    handle_set_timer(cohort, &keeper->timer, end_of_validity(keeper));
    keeper->state = KEEPER_RENEWING;
    renewal->flags |= OPERATION_INTERNAL; /* limits of the caller do not cost a lock */
    renewal->ended = renewed;
    renewal->data = keeper;
    keeper->renewal = renewal;
    (void)operation_submit(renewal);
    handle_wake(cohort);
}

void keeper_due(struct cohort_keeper *keeper, int64_t now_ns)
{
    int64_t left_ns = keeper->lease->valid_until_ns - handle_boottime_ns();
    if (keeper->lease->is_over) {
        become_lost(keeper, keeper->lease->kind->over);
    } else if (left_ns <= 0) {
        become_lost(keeper, keeper->why != COHORT_OK ? keeper->why : COHORT_TIMEOUT);
    } else if (keeper->state == KEEPER_RESTING) {
        renew(keeper, left_ns);
    } else {
        handle_set_timer(keeper->lease->cohort, &keeper->timer, end_of_validity(keeper));
    }
}

/* Tells of the loss; the mutex is released meanwhile. The keeper may be gone afterwards if it is on the loop. */
static void tell(struct cohort_keeper *keeper)
{
    struct cohort *cohort = keeper->lease->cohort;
    keeper->state = KEEPER_OVER;
    if (keeper->tell == NULL) {
        return;
    }
    keeper->calling = true;
    keeper->caller = pthread_self();
    handle_unlock(cohort);
    keeper->tell(keeper);
    handle_lock(cohort);
    keeper->calling = false;
    (void)pthread_cond_broadcast(&keeper->called);
}

static void destroy(struct cohort_keeper *keeper)
{
    (void)pthread_cond_destroy(&keeper->turn.cond);
    (void)pthread_cond_destroy(&keeper->called);
    free(keeper);
}

void keepers_call_back(struct cohort *cohort)
{
    while (!list_empty(&cohort->keepers)) {
        struct cohort_keeper *keeper = CONTAINER_OF(cohort->keepers.next, struct cohort_keeper, node);
        list_remove(&keeper->node);
        tell(keeper);
        if (keeper->stopped_within) {
            destroy(keeper);
        }
    }
}

/* ---- a thread of its own ---- */

static void *keep(void *owner)
{
    struct cohort_keeper *keeper = owner;
    struct cohort *cohort = keeper->lease->cohort;
    handle_lock(cohort);
    while (!keeper->stopping && keeper->state != KEEPER_OVER) {
        if (keeper->state == KEEPER_LOST) {
            tell(keeper);
        } else if (cohort->driving) {
            list_append(&cohort->waiters, &keeper->turn.node);
            (void)pthread_cond_wait(&keeper->turn.cond, &cohort->mutex);
            list_remove(&keeper->turn.node);
        } else {
            handle_drive(cohort, INT64_MAX, NULL);
        }
    }
    handle_hand_over(cohort);
    if (keeper->stopped_within) { /* nobody joins, so cohort_close waits */
        (void)pthread_detach(pthread_self());
        destroy(keeper);
        cohort->leaving--;
        (void)pthread_cond_broadcast(&cohort->left);
    }
    handle_unlock(cohort);
    return NULL;
}

static bool start_thread(struct cohort_keeper *keeper)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&keeper->thread, NULL, keep, keeper) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

struct cohort_keeper *keeper_create(struct lease *lease, unsigned flags, void *data)
{
    struct cohort_keeper *keeper = calloc(1, sizeof(*keeper));
    if (keeper != NULL) {
        keeper->lease = lease;
        keeper->data = data;
        keeper->on_loop = (flags & COHORT_KEEPER_ON_LOOP) != 0;
        list_init(&keeper->node);
        list_init(&keeper->all);
        list_init(&keeper->turn.node);
        timer_init(&keeper->timer, TIMER_KEEPER);
        (void)pthread_cond_init(&keeper->turn.cond, NULL);
        (void)pthread_cond_init(&keeper->called, NULL);
    }
    return keeper;
}

static void forget(struct cohort_keeper *keeper)
{
    struct cohort *cohort = keeper->lease->cohort;
    keeper->lease->keeper = NULL;
    keeper->stopping = true;
    timers_clear(&cohort->timers, &keeper->timer);
    list_remove(&keeper->node);
    list_remove(&keeper->all);
    if (keeper->renewal != NULL) {
        struct operation *renewal = keeper->renewal;
        keeper->renewal = NULL;
        renewal->data = NULL;
        operation_cancel(renewal, COHORT_CANCELLED, "its keeper was stopped");
    }
}

enum cohort_status keeper_start(struct cohort_keeper *keeper, struct cohort_keeper **ret_keeper)
{
    if (keeper == NULL) {
        return COHORT_NOMEM;
    }
    struct lease *lease = keeper->lease;
    struct cohort *cohort = lease->cohort;
    if (handle_is_inherited(cohort)) {
        destroy(keeper);
        return COHORT_INVALID;
    }
    handle_lock(cohort);
    enum cohort_status status = lease->keeper != NULL || lease->is_over ? COHORT_INVALID : COHORT_OK;
    status = cohort->closing ? COHORT_CANCELLED : status;
    if (status == COHORT_OK) {
        lease->keeper = keeper;
        list_append(&cohort->kept, &keeper->all);
        rest(keeper, false);
        handle_wake(cohort);
        if (!keeper->on_loop && !start_thread(keeper)) {
            forget(keeper);
            status = COHORT_SYSTEM;
        }
    }
    handle_unlock(cohort);
    if (status != COHORT_OK) {
        destroy(keeper);
        return status;
    }
    *ret_keeper = keeper;
    return COHORT_OK;
}

void cohort_keeper_stop(struct cohort_keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    struct cohort *cohort = keeper->lease->cohort;
    if (handle_is_inherited(cohort)) { /* its thread is the parent's, which keeps the lock */
        keeper->lease->keeper = NULL;
        return;
    }
    handle_lock(cohort);
    forget(keeper);
    bool from_within = keeper->calling && pthread_equal(keeper->caller, pthread_self());
    keeper->stopped_within = from_within;
    while (keeper->calling && keeper->on_loop && !from_within) {
        (void)pthread_cond_wait(&keeper->called, &cohort->mutex);
    }
    bool has_thread = !keeper->on_loop;
    pthread_t thread = keeper->thread;
    cohort->leaving += has_thread && from_within;
    if (has_thread) {
        (void)pthread_cond_signal(&keeper->turn.cond);
        handle_wake(cohort);
    }
    handle_unlock(cohort);
    if (from_within) {
        return; /* who called `lost` frees it */
    }
    if (has_thread) {
        (void)pthread_join(thread, NULL);
    }
    destroy(keeper);
}
