/* The inside of a feed (cohort/feed.h): who asks for it, what has come of it, and who waits for that.
 *
 *      asked for ──OK──▶ followed ──lost, silent, unfeed──▶ resting ──a pause──▶ asked for, from where it was
 *       │  ▲  │refused for now: another node                   ▲
 *       │  └──┘                                                │
 *       ├──no node in time─────────────────────────────────────┘
 *       └──refused for good (-COMPACTED, …)──▶ ended
 *
 * Invariants
 * 1. What has come whole is in `fresh`, and is given as `given`; a position is part of what it stands behind. So the
 *    position that is told is never beyond what was given, and the one that is asked from never before what has come.
 * 2. There is one `fresh` at most. While there is, the link is paused: what else is there stays unread, with what TCP
 *    holds, and with the server. All of that is given up when the link is lost, and asked for again.
 * 3. A feed that is open and has not ended has a link, or an operation that asks for one, or a set timer.
 * 4. All is under the handle's mutex, but for `given`, which belongs to the thread that uses the feed. */
#pragma once

#include "client/handle.h"

#include <cohort/feed.h>

enum {
    FEED_SILENCE_MS = 15000, /* a server tells something each ten seconds, when it is not too busy for that */
    FEED_PAUSE_MS = 10,      /* before the second attempt after a loss; doubles */
    FEED_PAUSE_MAXIMUM_MS = 500,
};

/* One push: some changes and the position behind them. */
struct feed_push {
    struct cohort_reply *reply; /* that the bytes are in; NULL: there are none */
    const char *position;
    size_t count;
    struct cohort_feed_change changes[];
};

struct cohort_feed {
    struct cohort *cohort;
    struct list node;         /* in cohort.feeds, from its opening on */
    struct slice prefix;      /* behind the struct, with the next */
    struct cohort_bytes from; /* of the opening; data NULL: from now */
    int64_t silence_ns;
    int64_t since_ns; /* from then on its node is silent, if it is */
    uint32_t losses;  /* since something has come */

    struct link *link;        /* NULL: it is asked for, or rests */
    struct operation *asking; /* after the opening */
    struct timer timer;       /* the end of the silence, or of the rest */

    struct feed_push *given;
    struct feed_push *fresh;
    enum cohort_status end; /* COHORT_OK: it goes on */
    struct cohort_reply *end_reply;
    char problem[160]; /* why it has no link */

    bool is_awaited; /* a call of cohort_feed_next, or one to make, is under way */
    bool is_stopped;
    bool is_closed;      /* within its callback: whoever made that call frees it */
    bool is_calling;     /* it runs */
    struct outcome turn; /* where a thread waits while another drives */
    struct list telling; /* in cohort.telling */
    struct timer call_timer;
    cohort_feed_opened_callback opened;
    cohort_feed_callback callback;
    void *data;
};

/* ---- feed_push.c ---- */

/* Nothing but a position: where a feed begins. NULL: memory was refused. */
struct feed_push *client_feed_push_begin(struct cohort_bytes position);

/* A push of the feed of this prefix; the reply is moved if it is OK. STATUS_CORRUPT: it is none. STATUS_VERSION: there
 * is a change in it of a kind that is not known, which *ret_kind is. STATUS_NOMEM. */
MUST_USE enum status client_feed_push_create(struct cohort_reply *reply, struct slice prefix,
                                             struct feed_push **ret_push, const char **ret_kind);
void client_feed_push_free(struct feed_push *push);

/* ---- feed_ask.c: how it comes to a link ---- */

/* Asks from where the feed is, or to open it; NULL: memory was refused. The link is the feed's if it ends well. */
struct operation *client_feed_ask_operation(struct cohort_feed *feed, unsigned flags, int64_t timeout_ms);

/* Takes its link off, and its operation and timer. */
void client_feed_leave(struct cohort_feed *feed);

/* What was fresh is given: there may be more. */
void client_feed_resume(struct cohort_feed *feed);

/* Its timer. */
void client_feed_due(struct cohort_feed *feed, int64_t now_ns);

/* ---- feed.c ---- */

/* So many wait for a connection that they have a right to. */
uint32_t client_feeds_without_link(const struct cohort *cohort);

/* The handle closes: nothing more comes. */
void client_feeds_leave(struct cohort *cohort);

/* Frees one that is in no list. */
void client_feed_destroy(struct cohort_feed *feed);

/* ---- feed_next.c ---- */

/* There is something to give, or nothing will ever be: whoever waits hears of it. */
void client_feed_tell(struct cohort_feed *feed);
void client_feed_call_due(struct cohort_feed *feed);

/* Makes the calls that are due on the loop. The mutex is released meanwhile. */
void client_feeds_call_back(struct cohort *cohort);
