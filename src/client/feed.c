/* Opening and closing a feed (feed.h). */
#include "client/feed.h"

#include "base/assert.h"

#include <stdlib.h>

/* ---- a feed in memory ---- */

static struct cohort_bytes put(uint8_t *at, struct cohort_bytes bytes)
{
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    return cohort_bytes_of(at, bytes.size);
}

/* NULL: memory was refused. */
static struct cohort_feed *create(struct cohort *cohort, struct cohort_bytes prefix,
                                  const struct cohort_feed_options *options)
{
    struct cohort_feed *feed = calloc(1, sizeof(*feed) + prefix.size + options->from.size);
    if (feed == NULL) {
        return NULL;
    }
    uint8_t *at = (uint8_t *)(feed + 1);
    struct cohort_bytes copy = put(at, prefix);
    feed->cohort = cohort;
    feed->prefix = slice_of(copy.data, copy.size);
    if (options->from.data != NULL) {
        feed->from = put(at + prefix.size, options->from);
    }
    feed->silence_ns = (options->silence_ms > 0 ? options->silence_ms : FEED_SILENCE_MS) * 1000000;
    list_init(&feed->node);
    list_init(&feed->telling);
    timer_init(&feed->timer, TIMER_FEED);
    timer_init(&feed->call_timer, TIMER_FEED_CALL);
    outcome_init(&feed->turn, NULL);
    return feed;
}

void client_feed_destroy(struct cohort_feed *feed)
{
    ASSERT(!feed->timer.is_set && !feed->call_timer.is_set && list_empty(&feed->node) && list_empty(&feed->telling));
    (void)pthread_cond_destroy(&feed->turn.cond);
    client_feed_push_free(feed->given);
    client_feed_push_free(feed->fresh);
    cohort_reply_free(feed->end_reply);
    free(feed);
}

uint32_t client_feeds_without_link(const struct cohort *cohort)
{
    uint32_t count = 0;
    LIST_FOR_EACH (at, &cohort->feeds) {
        const struct cohort_feed *feed = CONTAINER_OF(at, struct cohort_feed, node);
        count += feed->link == NULL && feed->asking == NULL && feed->end == COHORT_OK;
    }
    return count;
}

void client_feeds_leave(struct cohort *cohort)
{
    LIST_FOR_EACH (at, &cohort->feeds) {
        client_feed_leave(CONTAINER_OF(at, struct cohort_feed, node));
    }
}

/* ---- open ---- */

static bool take_options(const struct cohort_feed_options *given, struct cohort_feed_options *ret_options)
{
    client_take_options(ret_options, sizeof(*ret_options), given);
    bool is_time = ret_options->timeout_ms >= 0 && ret_options->timeout_ms <= HANDLE_TIMEOUT_MAXIMUM_MS;
    bool is_silence = ret_options->silence_ms >= 0 && ret_options->silence_ms <= HANDLE_TIMEOUT_MAXIMUM_MS;
    return is_time && is_silence && (ret_options->from.data == NULL || ret_options->from.size > 0);
}

enum cohort_status cohort_feed_open(struct cohort *cohort, struct cohort_bytes prefix,
                                    const struct cohort_feed_options *options, struct cohort_feed **ret_feed,
                                    struct cohort_reply **ret_reply)
{
    struct cohort_feed_options taken;
    if (!take_options(options, &taken)) {
        return client_refuse(COHORT_INVALID, ret_reply, "a time of the options is not valid, or the position is empty");
    }
    struct cohort_feed *feed = create(cohort, prefix, &taken);
    struct operation *operation = feed == NULL ? NULL : client_feed_ask_operation(feed, 0, taken.timeout_ms);
    enum cohort_status status = client_run(cohort, operation, ret_reply);
    if (status == COHORT_OK) {
        *ret_feed = feed;
    } else if (feed != NULL) {
        client_feed_destroy(feed);
    }
    return status;
}

/* The feed may have lost its link meanwhile, and have another. */
static void call_back_opened(struct operation *operation)
{
    struct cohort_feed *feed = operation->context;
    struct cohort *cohort = feed->cohort;
    cohort_feed_opened_callback opened = feed->opened;
    void *data = feed->data;
    enum cohort_status status = operation->status;
    if (status == COHORT_OK && cohort->closing) {
        status = COHORT_CANCELLED;
        list_remove(&feed->node);
    }
    if (status != COHORT_OK) {
        client_feed_destroy(feed);
        feed = NULL;
    }
    opened(data, status, feed, operation->reply);
}

enum cohort_status cohort_feed_open_start(struct cohort *cohort, struct cohort_bytes prefix,
                                          const struct cohort_feed_options *options,
                                          cohort_feed_opened_callback callback, void *data)
{
    struct cohort_feed_options taken;
    if (!take_options(options, &taken) || callback == NULL) {
        return COHORT_INVALID;
    }
    struct cohort_feed *feed = create(cohort, prefix, &taken);
    struct operation *operation = feed == NULL ? NULL : client_feed_ask_operation(feed, 0, taken.timeout_ms);
    if (operation != NULL) {
        feed->opened = callback;
        feed->data = data;
        operation->call_back = call_back_opened;
    }
    enum cohort_status status = client_submit(cohort, operation, NULL, NULL);
    if (status != COHORT_OK && feed != NULL) {
        client_feed_destroy(feed);
    }
    return status;
}

struct cohort_bytes cohort_feed_oldest(const struct cohort_reply *reply)
{
    static const char code[] = "COMPACTED ";
    struct cohort_bytes text = cohort_reply_bytes(reply);
    if (reply_status(reply) != COHORT_COMPACTED) {
        return cohort_bytes_of("", 0);
    }
    const char *position = (const char *)text.data + strlen(code);
    return cohort_bytes_of(position, strcspn(position, " "));
}

/* ---- close ---- */

void cohort_feed_stop(struct cohort_feed *feed)
{
    struct cohort *cohort = feed->cohort;
    if (handle_is_inherited(cohort)) {
        return;
    }
    handle_lock(cohort);
    feed->is_stopped = true;
    client_feed_tell(feed);
    handle_wake(cohort);
    handle_unlock(cohort);
}

void cohort_feed_close(struct cohort_feed *feed)
{
    if (feed == NULL || handle_is_inherited(feed->cohort)) {
        return;
    }
    struct cohort *cohort = feed->cohort;
    handle_lock(cohort);
    feed->is_closed = true;
    client_feed_leave(feed);
    timers_clear(&cohort->timers, &feed->call_timer);
    list_remove(&feed->node);
    list_remove(&feed->telling);
    bool within = feed->is_calling;
    handle_unlock(cohort);
    if (!within) { /* else whoever made the call frees it */
        client_feed_destroy(feed);
    }
}
