/* How a feed comes to a link, and what comes over it (feed.h). */
#include "client/feed.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>

/* ---- its end, and a loss ---- */

/* For good. The reply is moved; NULL: memory was short. */
static void end_feed(struct cohort_feed *feed, enum cohort_status status, struct cohort_reply *reply)
{
    ASSERT(feed->end == COHORT_OK && status != COHORT_OK && feed->asking == NULL);
    feed->end = status;
    feed->end_reply = reply;
    client_feed_leave(feed);
    client_feed_tell(feed);
    handle_wake(feed->cohort);
}

/* The first attempt comes at once. */
static void rest(struct cohort_feed *feed, const char *problem)
{
    struct cohort *cohort = feed->cohort;
    (void)snprintf(feed->problem, sizeof(feed->problem), "%s", problem);
    int64_t pause_ms = feed->losses == 0 ? 0 : (int64_t)FEED_PAUSE_MS << (feed->losses < 7 ? feed->losses - 1 : 6);
    pause_ms = pause_ms > FEED_PAUSE_MAXIMUM_MS ? FEED_PAUSE_MAXIMUM_MS : pause_ms;
    int64_t pause_ns = pause_ms * 1000000;
    pause_ns = pause_ns / 2 + (int64_t)prng_below(&cohort->prng, (uint64_t)pause_ns / 2 + 1);
    feed->losses++;
    handle_set_timer(cohort, &feed->timer, client_clock_ns() + pause_ns);
    handle_wake(cohort); /* also when nobody drives: the caller's loop asks for the time anew */
}

/* The next push would be as large again, from whatever node. */
static void end_overflowed(struct cohort_feed *feed)
{
    end_feed(feed, COHORT_PROTOCOL,
             reply_error("the next push is larger than reply_bytes_max, which is %" PRIu64
                         " bytes: raise it in struct cohort_options, and open a feed from this one's position",
                         feed->cohort->settings.reply_bytes_max));
}

static void link_lost(struct link *link)
{
    struct cohort_feed *feed = link->owner;
    feed->link = NULL;
    if (link->overflowed) {
        end_overflowed(feed);
        return;
    }
    rest(feed, feed->cohort->problem);
}

void client_feed_leave(struct cohort_feed *feed)
{
    struct link *link = feed->link;
    timers_clear(&feed->cohort->timers, &feed->timer);
    feed->link = NULL;
    if (link != NULL) {
        link_give_back(link, false); /* there is a feed on it, so nobody else can have it */
    }
    if (feed->asking != NULL) {
        struct operation *asking = feed->asking;
        feed->asking = NULL;
        asking->data = NULL;
        operation_cancel(asking, COHORT_CANCELLED, "the feed was closed");
    }
}

/* ---- what comes ---- */

static void listen_from(struct cohort_feed *feed, int64_t now_ns)
{
    feed->since_ns = now_ns;
    if (!feed->timer.is_set) { /* else it looks again when it is due */
        handle_set_timer(feed->cohort, &feed->timer, now_ns + feed->silence_ns);
    }
}

/* True: it is taken over. */
static bool take_push(struct cohort_feed *feed, struct cohort_reply *reply)
{
    const char *kind;
    switch (client_feed_push_create(reply, feed->prefix, &feed->fresh, &kind)) {
    case STATUS_OK: break;
    case STATUS_VERSION:
        end_feed(feed, COHORT_PROTOCOL,
                 reply_error("the server tells of changes of the kind '%.40s', which this library does not know: "
                             "a newer one does",
                             kind));
        return false;
    case STATUS_NOMEM: link_lose(feed->link, "no memory for what it sent"); return false;
    default: link_lose(feed->link, "it sends what is no push of a feed"); return false;
    }
    feed->losses = 0;
    link_pause(feed->link);
    client_feed_tell(feed);
    return true;
}

static bool pushed(struct link *link, struct cohort_reply *push)
{
    struct cohort_feed *feed = link->owner;
    const char *word = cohort_reply_text(cohort_reply_at(push, 0));
    if (strcmp(word, "feed") == 0) {
        return take_push(feed, push);
    }
    if (strcmp(word, "unfeed") == 0) { /* asked again, it says why, and from where on it can go on */
        char why[100];
        (void)snprintf(why, sizeof(why), "it ended the feed: %s", cohort_reply_text(cohort_reply_at(push, 2)));
        link_lose(link, why);
    }
    return false;
}

void client_feed_resume(struct cohort_feed *feed)
{
    if (feed->link == NULL) {
        return;
    }
    listen_from(feed, client_clock_ns());
    link_resume(feed->link); /* it may be lost now */
}

/* ---- asking ---- */

/* The link is the feed's. */
static void follow(struct cohort_feed *feed, struct link *link)
{
    link->owner = feed;
    link->lost = link_lost;
    link->pushed = pushed;
    feed->link = link;
    listen_from(feed, client_clock_ns());
    if (feed->fresh != NULL) {
        link_pause(link);
    }
}

/* The first answer says where the feed begins. */
static enum cohort_status begin(struct cohort_feed *feed, const struct cohort_reply *reply)
{
    struct cohort_bytes position = cohort_reply_bytes(cohort_reply_at(reply, 1));
    if (cohort_reply_count(reply) != 2 || position.size == 0 || memchr(position.data, 0, position.size) != NULL) {
        return COHORT_PROTOCOL;
    }
    if (feed->given == NULL) {
        feed->given = client_feed_push_begin(position);
        if (feed->given == NULL) {
            return COHORT_NOMEM;
        }
        list_append(&feed->cohort->feeds, &feed->node);
    }
    return COHORT_OK;
}

/* It is this node that cannot, and just now: another may. */
static bool is_of_the_node(const struct operation *operation)
{
    return operation->status == COHORT_CLUSTERDOWN || operation->status == COHORT_BUSY ||
           operation->status == COHORT_UNCERTAIN ||
           (operation->status == COHORT_REFUSED && strstr(cohort_reply_text(operation->reply), "feed-max") != NULL);
}

static void leave_node(struct operation *operation, const char *why)
{
    struct link *link = operation->link;
    operation->link = NULL;
    if (link != NULL) {
        link_lose(link, why);
    }
}

static bool take_answer(struct operation *operation, bool may_go_on)
{
    struct cohort_feed *feed = operation->context;
    if (operation->status == COHORT_OK) {
        enum cohort_status status = begin(feed, operation->reply);
        if (status == COHORT_OK) {
            follow(feed, operation->link);
            return false;
        }
        operation_answer(operation, status, reply_error("%s", cohort_status_text(status)));
        leave_node(operation, cohort_status_text(status));
    } else if (is_of_the_node(operation)) {
        operation->status = operation->status == COHORT_REFUSED ? COHORT_BUSY : operation->status;
        operation->status = operation->status == COHORT_UNCERTAIN ? COHORT_CLUSTERDOWN : operation->status;
        leave_node(operation, cohort_reply_text(operation->reply));
    }
    return false;
}

/* Behind what has come last. */
static struct cohort_bytes place(const struct cohort_feed *feed)
{
    const struct feed_push *last = feed->fresh != NULL ? feed->fresh : feed->given;
    return last != NULL ? cohort_text(last->position) : feed->from;
}

struct operation *client_feed_ask_operation(struct cohort_feed *feed, unsigned flags, int64_t timeout_ms)
{
    struct cohort_bytes from = place(feed);
    struct cohort_bytes argv[] = {cohort_text("COHORT.FEED"), cohort_text("PREFIX"),
                                  cohort_bytes_of(feed->prefix.data, feed->prefix.size), cohort_text("FROM"), from};
    struct client_request request = {.argv = argv,
                                     .argc = from.data == NULL ? 3 : 5,
                                     .flags = flags | COHORT_READ | OPERATION_PRIVATE | OPERATION_KEEPS_LINK,
                                     .timeout_ms = timeout_ms,
                                     .step = take_answer,
                                     .context = feed};
    struct operation *operation = NULL;
    return operation_create(feed->cohort, &request, &operation) == STATUS_OK ? operation : NULL;
}

/* Whether asking again could be answered otherwise. */
static bool is_for_now(enum cohort_status status)
{
    switch (status) {
    case COHORT_COMPACTED:
    case COHORT_REFUSED:
    case COHORT_DENIED: return false;
    default: return true;
    }
}

static void asked(struct operation *operation)
{
    struct cohort_feed *feed = operation->data;
    if (feed == NULL) {
        return; /* closed */
    }
    feed->asking = NULL;
    if (operation->status == COHORT_OK) {
        return; /* take_answer has seen to it */
    }
    if (!is_for_now(operation->status) || operation->overflowed) {
        struct cohort_reply *reply = operation->reply;
        operation->reply = NULL;
        end_feed(feed, operation->status, reply);
    } else if (!feed->cohort->closing) {
        rest(feed, cohort_reply_text(operation->reply));
    }
}

static void ask_again(struct cohort_feed *feed)
{
    struct operation *operation = client_feed_ask_operation(feed, OPERATION_INTERNAL, 0);
    if (operation == NULL) {
        rest(feed, "memory was refused");
        return;
    }
    operation->ended = asked;
    operation->data = feed;
    feed->asking = operation;
    (void)operation_submit(operation); /* internal ones are never too many */
    handle_wake(feed->cohort);
}

/* ---- time ---- */

void client_feed_due(struct cohort_feed *feed, int64_t now_ns)
{
    if (feed->link == NULL) {
        ask_again(feed);
        return;
    }
    if (feed->fresh != NULL) {
        return; /* it is the reader who is silent */
    }
    link_ready(feed->link, EPOLLIN); /* whoever drives may not have come to it yet */
    if (feed->link == NULL || feed->fresh != NULL) {
        return;
    }
    int64_t heard_ns = feed->link->received_ns > feed->since_ns ? feed->link->received_ns : feed->since_ns;
    if (heard_ns + feed->silence_ns <= now_ns) {
        link_lose(feed->link, "it was silent for too long");
    } else {
        handle_set_timer(feed->cohort, &feed->timer, heard_ns + feed->silence_ns);
    }
}
