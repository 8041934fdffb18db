/* Giving what has come (feed.h): to a thread that waits, or to the caller's loop. */
#include "client/feed.h"

#include "base/assert.h"

static bool is_due(const struct cohort_feed *feed)
{
    return feed->fresh != NULL || feed->end != COHORT_OK || feed->is_stopped;
}

/* The next batch is given, or the status says why not. */
static enum cohort_status give(struct cohort_feed *feed)
{
    if (feed->is_stopped) {
        return COHORT_CANCELLED;
    }
    if (feed->fresh != NULL) {
        client_feed_push_free(feed->given);
        feed->given = feed->fresh;
        feed->fresh = NULL;
        client_feed_resume(feed);
        return COHORT_OK;
    }
    if (feed->end != COHORT_OK) {
        return feed->end;
    }
    return feed->link == NULL ? COHORT_UNREACHABLE : COHORT_TIMEOUT;
}

/* The words that go with it; NULL also when memory was short. */
static struct cohort_reply *words(const struct cohort_feed *feed, enum cohort_status status)
{
    switch (status) {
    case COHORT_OK: return NULL;
    case COHORT_CANCELLED: return reply_error("the feed was stopped");
    case COHORT_TIMEOUT: return reply_error("nothing was told within the time limit");
    case COHORT_UNREACHABLE: return reply_error("no node serves the feed just now: %s", feed->problem);
    default: return reply_copy_error(feed->end_reply);
    }
}

static int64_t deadline_of(int64_t timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : client_clock_ns() + timeout_ms * 1000000;
}

static bool is_time(int64_t timeout_ms) { return timeout_ms <= HANDLE_TIMEOUT_MAXIMUM_MS; }

/* ---- a thread that waits ---- */

static void wait_for_turn(struct cohort_feed *feed, int64_t deadline_ns)
{
    struct cohort *cohort = feed->cohort;
    struct timespec deadline = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    list_append(&cohort->waiters, &feed->turn.node);
    (void)pthread_cond_timedwait(&feed->turn.cond, &cohort->mutex, &deadline);
    list_remove(&feed->turn.node);
}

/* Looks at the network once at least. */
static void wait_until(struct cohort_feed *feed, int64_t deadline_ns)
{
    struct cohort *cohort = feed->cohort;
    while (!is_due(feed)) {
        if (cohort->driving) {
            wait_for_turn(feed, deadline_ns);
        } else {
            handle_drive(cohort, deadline_ns, NULL);
        }
        if (client_clock_ns() >= deadline_ns) {
            break;
        }
    }
    handle_hand_over(cohort);
}

enum cohort_status cohort_feed_next(struct cohort_feed *feed, int64_t timeout_ms, size_t *ret_count,
                                    struct cohort_reply **ret_reply)
{
    struct cohort *cohort = feed->cohort;
    if (!is_time(timeout_ms)) {
        return client_refuse(COHORT_INVALID, ret_reply, "timeout_ms must be -1, or up to 24 hours");
    }
    if (handle_is_inherited(cohort)) {
        return client_refuse_inherited(ret_reply);
    }
    handle_lock(cohort);
    if (feed->is_awaited) {
        handle_unlock(cohort);
        return client_refuse(COHORT_INVALID, ret_reply,
                             "another call waits for this feed; it belongs to one at a time");
    }
    feed->is_awaited = true;
    wait_until(feed, deadline_of(timeout_ms));
    feed->is_awaited = false;
    enum cohort_status status = give(feed);
    if (ret_reply != NULL) {
        *ret_reply = words(feed, status);
    }
    handle_unlock(cohort);
    if (status == COHORT_OK && ret_count != NULL) {
        *ret_count = feed->given->count;
    }
    return status;
}

const struct cohort_feed_change *cohort_feed_change(const struct cohort_feed *feed, size_t index)
{
    return index < feed->given->count ? &feed->given->changes[index] : NULL;
}

const char *cohort_feed_position(const struct cohort_feed *feed) { return feed->given->position; }

/* ---- the caller's loop ---- */

void client_feed_tell(struct cohort_feed *feed)
{
    (void)pthread_cond_signal(&feed->turn.cond);
    if (feed->callback != NULL && list_empty(&feed->telling)) {
        list_append(&feed->cohort->telling, &feed->telling);
        handle_tell_ready(feed->cohort);
    }
}

void client_feed_call_due(struct cohort_feed *feed) { client_feed_tell(feed); }

enum cohort_status cohort_feed_next_start(struct cohort_feed *feed, int64_t timeout_ms, cohort_feed_callback callback,
                                          void *data)
{
    struct cohort *cohort = feed->cohort;
    if (!is_time(timeout_ms) || callback == NULL || handle_is_inherited(cohort)) {
        return COHORT_INVALID;
    }
    handle_lock(cohort);
    enum cohort_status status = feed->is_awaited ? COHORT_INVALID : COHORT_OK;
    if (status == COHORT_OK) {
        feed->is_awaited = true;
        feed->callback = callback;
        feed->data = data;
        if (is_due(feed)) {
            client_feed_tell(feed);
        } else if (timeout_ms >= 0) {
            handle_set_timer(cohort, &feed->call_timer, deadline_of(timeout_ms));
            handle_wake(cohort);
        }
    }
    handle_unlock(cohort);
    return status;
}

/* The mutex is released meanwhile. */
static void call_back(struct cohort_feed *feed)
{
    struct cohort *cohort = feed->cohort;
    cohort_feed_callback callback = feed->callback;
    void *data = feed->data;
    timers_clear(&cohort->timers, &feed->call_timer);
    feed->callback = NULL;
    feed->is_awaited = false;
    feed->is_calling = true;
    enum cohort_status status = give(feed);
    struct cohort_reply *reply = words(feed, status);
    handle_unlock(cohort);
    callback(data, status, feed, status == COHORT_OK ? feed->given->count : 0, reply);
    cohort_reply_free(reply);
    handle_lock(cohort);
    feed->is_calling = false;
    if (feed->is_closed) {
        client_feed_destroy(feed);
    }
}

void client_feeds_call_back(struct cohort *cohort)
{
    struct list now; /* what comes meanwhile is the next turn's */
    list_init(&now);
    while (!list_empty(&cohort->telling)) {
        struct list *first = cohort->telling.next;
        list_remove(first);
        list_append(&now, first);
    }
    while (!list_empty(&now)) {
        struct cohort_feed *feed = CONTAINER_OF(now.next, struct cohort_feed, telling);
        list_remove(&feed->telling);
        call_back(feed);
    }
}
