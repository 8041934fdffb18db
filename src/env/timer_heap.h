/* The armed timers of one env, earliest first: a binary heap that both implementations share.
 *
 * Invariants
 * 1. timer->armed exactly when it is in the heap; timer->implementation then says where, so stopping is O(log n)
 *    and allocates nothing.
 * 2. Timers due at the same time fire in the order in which they were started.
 * 3. A timer started while timer_heap_fire runs waits for the next call, whatever its time. */
#pragma once

#include "env/env.h"

struct timer_heap_item {
    int64_t at_ns;
    uint64_t sequence;
    struct env_timer *timer;
};

struct timer_heap {
    struct timer_heap_item *items;
    size_t count, capacity;
    uint64_t sequence;   /* of the next start */
    int64_t fired_to_ns; /* earlier times count as this one, so that no timer overtakes those already due */
};

void timer_heap_init(struct timer_heap *heap);
/* Disarms what is still armed, without callbacks. */
void timer_heap_deinit(struct timer_heap *heap);
void timer_heap_start(struct timer_heap *heap, struct env_timer *timer, int64_t at_ns);
void timer_heap_stop(struct timer_heap *heap, struct env_timer *timer);
/* When the earliest is due; INT64_MAX when none is armed. */
int64_t timer_heap_next_ns(const struct timer_heap *heap);
/* Fires what is due at now_ns; returns how many. Callbacks may start and stop any timer. */
size_t timer_heap_fire(struct timer_heap *heap, int64_t now_ns);
