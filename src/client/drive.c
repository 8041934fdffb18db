/* Who waits for the descriptors (handle.h). */
#include "base/assert.h"
#include "client/feed.h"
#include "client/handle.h"
#include "client/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { EVENTS = 32 };

void handle_wake(struct cohort *cohort)
{
    if (!cohort->woken) {
        cohort->woken = true;
        (void)eventfd_write(cohort->wake_fd, 1);
    }
}

void handle_set_timer(struct cohort *cohort, struct timer *timer, int64_t due_ns)
{
    timers_set(&cohort->timers, timer, due_ns);
    if (cohort->driving && due_ns < cohort->driver_until_ns) {
        handle_wake(cohort);
    }
}

static void run_timer(struct cohort *cohort, struct timer *timer, int64_t now_ns)
{
    switch (timer->kind) {
    case TIMER_OPERATION: operation_due(CONTAINER_OF(timer, struct operation, timer), now_ns); break;
    case TIMER_LINK: link_due(CONTAINER_OF(timer, struct link, timer)); break;
    case TIMER_HANDLE: cohort->dispatch_due = true; break;
    case TIMER_KEEPER: keeper_due(CONTAINER_OF(timer, struct cohort_keeper, timer), now_ns); break;
    case TIMER_FEED: client_feed_due(CONTAINER_OF(timer, struct cohort_feed, timer), now_ns); break;
    case TIMER_FEED_CALL: client_feed_call_due(CONTAINER_OF(timer, struct cohort_feed, call_timer)); break;
    }
}

void handle_flush(struct cohort *cohort)
{
    for (struct list *at = cohort->links.next; at != &cohort->links; at = at->next) {
        struct link *link = CONTAINER_OF(at, struct link, all);
        if (!list_empty(&link->queued) && !link->wants_write && link->state >= LINK_GREETING) {
            link_flush(link);
            if (link->state == LINK_CLOSED) {
                return; /* the list may have changed; what was lost sets dispatch_due */
            }
        }
    }
}

/* Does what is to be done without waiting. */
static void settle(struct cohort *cohort)
{
    do {
        if (cohort->dispatch_due) {
            cohort->dispatch_due = false;
            handle_dispatch_waiting(cohort);
        }
        handle_flush(cohort);
    } while (cohort->dispatch_due);
}

static void resolve_names(struct cohort *cohort)
{
    bool again = true;
    while (again) {
        again = false;
        LIST_FOR_EACH (at, &cohort->links) {
            struct link *link = CONTAINER_OF(at, struct link, all);
            if (link->state == LINK_RESOLVING) {
                link_resolve(link);
                again = true; /* the list may have changed meanwhile */
                break;
            }
        }
    }
}

void handle_free_dead(struct cohort *cohort)
{
    while (!list_empty(&cohort->dead)) {
        struct link *link = CONTAINER_OF(cohort->dead.next, struct link, all);
        list_remove(&link->all);
        client_connection_deinit(&link->connection);
        free(link);
    }
}

static int milliseconds_until(int64_t due_ns)
{
    if (due_ns == INT64_MAX) {
        return -1;
    }
    int64_t left_ns = due_ns - client_clock_ns();
    int64_t left_ms = left_ns <= 0 ? 0 : (left_ns + 999999) / 1000000;
    return left_ms > 60000 ? 60000 : (int)left_ms;
}

static int wait_for_events(struct cohort *cohort, int64_t until_ns, bool is_short, struct epoll_event *events)
{
    int64_t next_ns = timers_next_ns(&cohort->timers);
    cohort->driver_until_ns = next_ns < until_ns ? next_ns : until_ns;
    int timeout_ms = is_short ? 0 : milliseconds_until(cohort->driver_until_ns);
    handle_unlock(cohort);
    int count = epoll_wait(cohort->work_fd, events, EVENTS, timeout_ms);
    handle_lock(cohort);
    cohort->driver_until_ns = INT64_MIN; /* timers that are set now are seen before the next wait */
    return count;
}

static void take_events(struct cohort *cohort, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct link *link = events[i].data.ptr;
        if (link != NULL) {
            link_ready(link, events[i].events);
        } else {
            eventfd_t value;
            (void)eventfd_read(cohort->wake_fd, &value);
            cohort->woken = false;
        }
    }
}

void handle_drive(struct cohort *cohort, int64_t until_ns, const struct outcome *mine)
{
    ASSERT(!cohort->driving);
    cohort->driving = true;
    cohort->driver_until_ns = INT64_MIN;
    settle(cohort);
    resolve_names(cohort);
    bool is_over = mine != NULL && mine->operation == NULL;
    struct epoll_event events[EVENTS];
    int count = wait_for_events(cohort, until_ns, is_over, events);
    take_events(cohort, events, count);
    int64_t now_ns = client_clock_ns();
    struct timer *timer;
    while ((timer = timers_take(&cohort->timers, now_ns)) != NULL) {
        run_timer(cohort, timer, now_ns);
    }
    settle(cohort);
    cohort->driving = false;
    handle_free_dead(cohort);
}

/* ---- waiting threads ---- */

void handle_hand_over(struct cohort *cohort)
{
    if (cohort->driving) {
        return;
    }
    if (!list_empty(&cohort->waiters)) {
        struct outcome *next = CONTAINER_OF(cohort->waiters.next, struct outcome, node);
        (void)pthread_cond_signal(&next->cond);
    } else if (timers_next_ns(&cohort->timers) < cohort->loop_until_ns) {
        handle_wake(cohort);
    }
}

/* Another thread drives. It may be stuck in the resolver, so the deadline is this thread's own business. */
static void wait_for_other(struct cohort *cohort, struct outcome *outcome)
{
    int64_t deadline_ns = outcome->operation->deadline_ns;
    struct timespec deadline = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    list_append(&cohort->waiters, &outcome->node);
    int code = pthread_cond_timedwait(&outcome->cond, &cohort->mutex, &deadline);
    list_remove(&outcome->node);
    if (code == ETIMEDOUT && outcome->operation != NULL) {
        operation_due(outcome->operation, client_clock_ns());
    }
}

void handle_wait(struct cohort *cohort, struct outcome *outcome)
{
    while (outcome->operation != NULL) {
        if (cohort->driving) {
            wait_for_other(cohort, outcome);
        } else {
            handle_drive(cohort, INT64_MAX, outcome);
        }
    }
    handle_hand_over(cohort);
}

void handle_deliver(struct cohort *cohort, struct operation *operation)
{
    if (operation->outcome != NULL) {
        struct outcome *outcome = operation->outcome;
        outcome->status = operation->status;
        outcome->reply = operation->reply;
        outcome->operation = NULL;
        operation->reply = NULL;
        (void)pthread_cond_signal(&outcome->cond);
        operation_destroy(operation);
        return;
    }
    if (operation->ended != NULL) {
        operation->ended(operation);
        operation_destroy(operation);
        return;
    }
    if (operation->callback == NULL && operation->call_back == NULL) {
        operation_destroy(operation);
        return;
    }
    list_append(&cohort->ready, &operation->node);
    handle_tell_ready(cohort);
}

void handle_tell_ready(struct cohort *cohort)
{
    if (!cohort->ready_told) {
        cohort->ready_told = true;
        (void)eventfd_write(cohort->ready_fd, 1);
    }
}

/* ---- the caller's loop ---- */

int cohort_fd(const struct cohort *cohort) { return cohort->loop_fd; }

int cohort_timeout(struct cohort *cohort)
{
    if (handle_is_inherited(cohort)) {
        return -1;
    }
    handle_lock(cohort);
    cohort->loop_until_ns = cohort->driving ? INT64_MAX : timers_next_ns(&cohort->timers);
    int timeout_ms = milliseconds_until(cohort->loop_until_ns);
    handle_unlock(cohort);
    return timeout_ms;
}

/* Calls what has ended up to now; what ends meanwhile is the next turn's. */
void handle_call_back(struct cohort *cohort)
{
    struct list now;
    list_init(&now);
    while (!list_empty(&cohort->ready)) {
        struct list *first = cohort->ready.next;
        list_remove(first);
        list_append(&now, first);
    }
    while (!list_empty(&now)) {
        struct operation *operation = CONTAINER_OF(now.next, struct operation, node);
        list_remove(&operation->node);
        handle_unlock(cohort);
        if (operation->call_back != NULL) {
            operation->call_back(operation);
        } else {
            operation->callback(operation->data, operation->status, operation->reply);
        }
        operation_destroy(operation);
        handle_lock(cohort);
    }
}

void cohort_process(struct cohort *cohort)
{
    if (handle_is_inherited(cohort)) {
        return;
    }
    handle_lock(cohort);
    cohort->loop_until_ns = INT64_MIN;
    if (cohort->ready_told) {
        eventfd_t value;
        (void)eventfd_read(cohort->ready_fd, &value);
        cohort->ready_told = false;
    }
    if (!cohort->driving) {
        handle_drive(cohort, 0, NULL);
        handle_hand_over(cohort);
    }
    keepers_call_back(cohort);
    client_feeds_call_back(cohort);
    handle_call_back(cohort);
    handle_unlock(cohort);
}
