/* Timers: a pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) whose nodes stand in what they belong to, so that
 * setting one never needs memory.
 *
 * Invariant: no node is due before the node above it. A timer that is not set is not in the heap. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum timer_kind { TIMER_OPERATION, TIMER_LINK, TIMER_HANDLE, TIMER_KEEPER, TIMER_FEED, TIMER_FEED_CALL };

struct timer {
    int64_t due_ns;
    enum timer_kind kind; /* what it stands in */
    bool is_set;
    struct timer *child;    /* the first of those below */
    struct timer *next;     /* the next beside */
    struct timer *previous; /* the one before beside, or the one above when this is its first child */
};

struct timers {
    struct timer *root;
};

static inline void timer_init(struct timer *timer, enum timer_kind kind) { *timer = (struct timer){.kind = kind}; }

/* Sets it, or moves it when it was set. */
void timers_set(struct timers *timers, struct timer *timer, int64_t due_ns);

/* Harmless when it is not set. */
void timers_clear(struct timers *timers, struct timer *timer);

/* When the first is due; INT64_MAX when there is none. */
static inline int64_t timers_next_ns(const struct timers *timers)
{
    return timers->root == 0 ? INT64_MAX : timers->root->due_ns;
}

/* Takes off the first that is due by then; NULL when there is none. */
struct timer *timers_take(struct timers *timers, int64_t now_ns);
