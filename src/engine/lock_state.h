/* What is known of one lock: who holds it, who waits, and how its last grants ended. Pure: an engine that keeps such
 * states somewhere (a file, a row) reads one, asks this room what a request does to it, and writes it back, all while
 * nobody else may.
 *
 * Invariants
 * 1. `token` is that of the newest grant, and each grant has a larger one.
 * 2. Holders are compatible: one exclusive, or shared ones, or permits of the same limit that sum up to that at most.
 * 3. Nobody is granted before somebody who waits and came earlier, so nobody starves.
 * 4. A claim ends by itself: a holder's in the millisecond after `due_ms` (the clock is rounded down, that of whom it
 * is told of is not), a waiter's at the end of its wait, or when it has not asked for LOCK_STATE_PATIENCE_MS (it is
 * gone, or hangs).
 *
 * Times are milliseconds of whatever clock the engine has; it must not run backwards, and is always passed in. */
#pragma once

#include "base/buffer.h"
#include "base/status.h"

enum {
    LOCK_STATE_KEY_BYTES = 1024,
    LOCK_STATE_OWNER_BYTES = 256,
    LOCK_STATE_NOTE_BYTES = 512,
    LOCK_STATE_HOLDERS = 256,
    LOCK_STATE_WAITERS = 256,
    LOCK_STATE_PAST = 16,
    LOCK_STATE_PATIENCE_MS = 2000,
    LOCK_STATE_PROBLEM_BYTES = 200,
};

enum lock_kind { LOCK_KIND_EXCLUSIVE, LOCK_KIND_SHARED, LOCK_KIND_PERMITS, LOCK_KINDS };

enum lock_why { LOCK_WHY_RELEASED, LOCK_WHY_EXPIRED, LOCK_WHY_GONE, LOCK_WHYS };

/* Texts are the state's. */
struct lock_claim {
    struct slice owner;
    struct slice note;
    enum lock_kind kind;
    uint32_t permits; /* 1 unless the kind is permits */
    uint64_t token;   /* a holder's; of a waiter, whatever the store wants, and 0 in a new one */
    int64_t since_ms;
    int64_t due_ms;   /* a holder's lease, a waiter's wait */
    int64_t asked_ms; /* a waiter: last */
};

struct lock_past {
    struct slice owner;
    uint64_t token;
    int64_t from_ms, to_ms;
    enum lock_why why;
};

struct lock_state {
    uint64_t token;
    uint64_t fence; /* newest token that FENCE.CHECK has seen */
    uint32_t limit; /* of the permits that are held or waited for */
    uint32_t holder_count, waiter_count, past_count;
    struct lock_claim *holders, *waiters;   /* waiters in their order */
    struct lock_past past[LOCK_STATE_PAST]; /* the newest first */
    struct list *texts;                     /* memory of the texts; NULL: none */
};

struct lock_wanted {
    struct slice key;
    struct slice owner;
    struct slice note;
    enum lock_kind kind;
    uint32_t permits, limit;
    int64_t ttl_ms;
    int64_t wait_ms; /* 0: not at all */
    bool extends;    /* who holds it already has the whole time again */
};

struct lock_granted {
    uint64_t token;
    int64_t ttl_ms;
    int64_t again_ms; /* LOCK_ANSWER_WAITS: when to ask again, from now, unless something is heard before */
    bool unchanged;   /* the state is as it was: nothing needs to be written */
};

enum lock_answer {
    LOCK_ANSWER_GRANTED,
    LOCK_ANSWER_NOT,     /* others hold it */
    LOCK_ANSWER_WAITS,   /* it has a place in the queue */
    LOCK_ANSWER_REFUSED, /* ret_problem says why */
    LOCK_ANSWER_NOMEM,
};

void lock_state_init(struct lock_state *state);
void lock_state_deinit(struct lock_state *state);

/* Ends what is over. True: something was. */
bool lock_state_expire(struct lock_state *state, int64_t now_ms);

/* Ends everything: the machine was started anew, so nobody lives who had it. */
void lock_state_end_all(struct lock_state *state, int64_t now_ms);

/* ---- requests; what is over has been ended before ---- */

enum lock_answer lock_state_acquire(struct lock_state *state, const struct lock_wanted *wanted, int64_t now_ms,
                                    struct lock_granted *ret_granted,
                                    char ret_problem[static LOCK_STATE_PROBLEM_BYTES]);

/* False: this token does not hold. A lease is never made shorter. */
bool lock_state_renew(struct lock_state *state, struct slice owner, uint64_t token, int64_t ttl_ms, int64_t now_ms,
                      int64_t *ret_left_ms);
bool lock_state_release(struct lock_state *state, struct slice owner, uint64_t token, int64_t now_ms);

/* Somebody waits no longer. */
bool lock_state_leave(struct lock_state *state, struct slice owner);

/* Whether no newer token has been seen, or this one holds the lock; remembers the newest. True in *ret_changed: it is
 * newer than all. */
bool lock_state_fence(struct lock_state *state, uint64_t token, bool *ret_changed);

/* ---- as bytes ---- */

/* False: memory was refused. */
MUST_USE bool lock_state_write(const struct lock_state *state, struct buffer *out);

/* Into an initialised state. STATUS_CORRUPT, STATUS_VERSION, STATUS_NOMEM: it is empty then. */
MUST_USE enum status lock_state_read(struct lock_state *state, struct slice from);

/* For engines that keep claims one by one: appends one, with copies of its texts. False: memory was refused. */
MUST_USE bool lock_state_add(struct lock_state *state, bool waits, const struct lock_claim *claim);
MUST_USE bool lock_state_add_past(struct lock_state *state, const struct lock_past *past);

const char *lock_kind_text(enum lock_kind kind);
const char *lock_why_text(enum lock_why why);
