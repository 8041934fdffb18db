/* An operation: what a caller wants done, from the call to its end.
 *
 *      waiting ──a link is there──▶ queued ──its last byte is with the kernel──▶ sent ──its reply──▶ ended
 *         ▲                            │                                          │
 *         ├──────the link is lost──────┘◀───lost, and it may be sent again────────┤
 *         └──────after a pause────────────── refused (-BUSY, -CLUSTERDOWN) ───────┘
 *
 * Invariants
 * 1. What was not sent to its last byte was not executed, so it may go to another link; what was sent is sent again
 * only if it was refused, or is marked COHORT_READ or COHORT_AGAIN.
 * 2. It ends once, at its deadline at the latest. An operation that ends while its reply is still to come leaves a
 * ghost in its place, which takes that reply.
 * 3. All of it is under the handle's mutex, but for the memory of one that has not been submitted yet. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "client/reply.h"
#include "client/timer.h"

#include <cohort/client.h>
#include <pthread.h>

struct cohort;
struct link;
struct operation;

enum {
    /* beside COHORT_READ and COHORT_AGAIN */
    OPERATION_PRIVATE = 1 << 8,     /* on a connection of its own */
    OPERATION_NO_RETRY = 1 << 9,    /* a refusal may be the words of a script that wrote before: not sent again */
    OPERATION_INTERNAL = 1 << 10,   /* not counted against the caller's limits */
    OPERATION_UNHURRIED = 1 << 11,  /* its reply may take until the deadline: silence says nothing about the link */
    OPERATION_RESOLVES = 1 << 13,   /* pinned, and its step can find out elsewhere what became of it */
    OPERATION_PROBED = 1 << 14,     /* with UNHURRIED: its node is asked now and then whether it can serve */
    OPERATION_KEEPS_LINK = 1 << 12, /* a private link stays its owner's when it ends well */
};

/* More than anybody waits: a year for a lock, and the time limit behind it. */
#define OPERATION_TIMEOUT_MAXIMUM_MS (INT64_C(400) * 24 * 3600 * 1000)

enum operation_state {
    OPERATION_NEW,
    OPERATION_WAITING,
    OPERATION_PAUSING,
    OPERATION_QUEUED,
    OPERATION_SENT,
    OPERATION_ENDED
};

/* Looks at how a request ended and may change that, or put another request in its place (operation_ask) and say true:
 * then the operation goes on. `may_go_on` is false when it must end. */
typedef bool (*operation_step)(struct operation *operation, bool may_go_on);

/* Where a thread waits for the end. */
struct outcome {
    struct operation *operation; /* NULL once ended */
    pthread_cond_t cond;
    struct list node; /* in cohort.waiters while it is not the one that drives */
    enum cohort_status status;
    struct cohort_reply *reply; /* moved to the waiter */
};

void outcome_init(struct outcome *outcome, struct operation *operation);

struct operation {
    struct list node; /* in cohort.waiting, .pausing or .ready, or a link's queued or sent */
    struct cohort *cohort;
    struct link *link;     /* while queued or sent; always, when pinned */
    struct link **link_of; /* pinned to this one, whatever it is when it is submitted; NULL: lost */
    bool pinned;           /* to its link: that is lost, and so is it */
    bool ghost;
    enum operation_state state;
    unsigned flags;
    int slot; /* of its key; −1: any node */

    struct buffer request;
    size_t sent_bytes;
    uint32_t replies; /* that the request has */
    uint32_t replies_left;

    struct timer timer;
    int64_t deadline_ns;
    int64_t patience_ns;      /* silence after which one that may be sent again tries elsewhere */
    int64_t sent_ns;          /* before the first byte left */
    int64_t sent_boottime_ns; /* the same on CLOCK_BOOTTIME */
    int64_t again_ns;         /* end of the pause */
    uint32_t refusals;
    bool was_lost;   /* sent before without an answer: it may have been executed then */
    bool overflowed; /* its reply is larger than reply_bytes_max: it would be again */

    operation_step step;
    void (*again)(struct operation *operation); /* it is sent again: its request may be made anew, not longer; NULL */
    uint32_t stage;                             /* the step's own */
    void *context;                              /* borrowed, or the operation's with `release` */
    void (*release)(void *context);

    /* One of these, or none: a waiting thread, a callback, an internal hook that is called under the mutex. */
    struct outcome *outcome;
    cohort_callback callback;
    void *data;
    void (*ended)(struct operation *operation);
    void (*call_back)(struct operation *operation); /* as `callback`, for one with more to tell */

    enum cohort_status status;
    struct cohort_reply *reply; /* the last; of several the first that is an error is kept in `trouble` */
    struct cohort_reply *trouble;
};

struct client_request {
    const struct cohort_bytes *argv;
    size_t argc;
    unsigned flags;
    int64_t timeout_ms; /* 0: the handle's */
    const struct cohort_bytes *key;
    operation_step step;
    void *context;
    void (*release)(void *context);
    struct link *link; /* pinned to it */
};

/* Appends a command; false when memory is refused. */
MUST_USE bool request_append(struct buffer *request, const struct cohort_bytes *argv, size_t argc);

/* STATUS_NOMEM. On failure the context is not released. */
MUST_USE enum status operation_create(struct cohort *cohort, const struct client_request *request,
                                      struct operation **ret_operation);

/* Frees it with what it holds. */
void operation_destroy(struct operation *operation);

/* Adds one more command to its request: all of them are sent in one run, and each has a reply. */
MUST_USE enum status operation_add(struct operation *operation, const struct cohort_bytes *argv, size_t argc);

/* Within a step: another request in the place of the one that was answered. */
MUST_USE enum status operation_ask(struct operation *operation, const struct cohort_bytes *argv, size_t argc);

/* Within a step: what it ends with. The reply is moved; the one before is freed. */
void operation_answer(struct operation *operation, enum cohort_status status, struct cohort_reply *reply);

/* ---- under the mutex ---- */

/* Takes the operation over. COHORT_CANCELLED (the handle is being closed), COHORT_FULL, COHORT_TXNABORT (the link that
 * it belongs to is lost): it was not taken. */
enum cohort_status operation_submit(struct operation *operation);

/* The link has all its replies. */
void operation_answered(struct operation *operation);

/* The link went away under it. It stands in no list. */
void operation_lost(struct operation *operation, const char *why);

/* Its timer. */
void operation_due(struct operation *operation, int64_t now_ns);

/* Ends it now; what was sent of it stays sent. */
void operation_cancel(struct operation *operation, enum cohort_status status, const char *why);
