#include "env/timer_heap.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

enum { TIMER_HEAP_FIRST_CAPACITY = 16 };

void timer_heap_init(struct timer_heap *heap) { *heap = (struct timer_heap){.fired_to_ns = INT64_MIN}; }

void timer_heap_deinit(struct timer_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        heap->items[i].timer->armed = false;
        heap->items[i].timer->implementation = NULL;
    }
    free(heap->items);
    timer_heap_init(heap);
}

static bool before(const struct timer_heap_item *a, const struct timer_heap_item *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void put(struct timer_heap *heap, size_t place, struct timer_heap_item item)
{
    heap->items[place] = item;
    item.timer->implementation = (void *)(uintptr_t)(place + 1);
}

static size_t place_of(const struct timer_heap *heap, const struct env_timer *timer)
{
    size_t place = (size_t)(uintptr_t)timer->implementation - 1;
    ASSERT(place < heap->count && heap->items[place].timer == timer);
    return place;
}

/* Puts the item where it belongs, given that `place` is free and its subtree is in order. */
static void settle(struct timer_heap *heap, size_t place, struct timer_heap_item item)
{
    while (place > 0 && before(&item, &heap->items[(place - 1) / 2])) {
        put(heap, place, heap->items[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < heap->count && before(&heap->items[child + 1], &heap->items[child])) {
            child++;
        }
        if (child >= heap->count || !before(&heap->items[child], &item)) {
            break;
        }
        put(heap, place, heap->items[child]);
        place = child;
    }
    put(heap, place, item);
}

void timer_heap_start(struct timer_heap *heap, struct env_timer *timer, int64_t at_ns)
{
    if (at_ns < heap->fired_to_ns) {
        at_ns = heap->fired_to_ns;
    }
    struct timer_heap_item item = {at_ns, heap->sequence++, timer};
    if (timer->armed) {
        settle(heap, place_of(heap, timer), item);
        return;
    }
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity == 0 ? TIMER_HEAP_FIRST_CAPACITY : heap->capacity * 2;
        heap->items = memory_resize(heap->items, heap->capacity * sizeof(*heap->items));
    }
    timer->armed = true;
    heap->count++;
    settle(heap, heap->count - 1, item);
}

void timer_heap_stop(struct timer_heap *heap, struct env_timer *timer)
{
    if (!timer->armed) {
        return;
    }
    size_t place = place_of(heap, timer);
    timer->armed = false;
    timer->implementation = NULL;
    heap->count--;
    if (place < heap->count) {
        settle(heap, place, heap->items[heap->count]);
    }
}

int64_t timer_heap_next_ns(const struct timer_heap *heap)
{
    return heap->count == 0 ? INT64_MAX : heap->items[0].at_ns;
}

size_t timer_heap_fire(struct timer_heap *heap, int64_t now_ns)
{
    size_t fired = 0;
    uint64_t limit = heap->sequence;
    heap->fired_to_ns = now_ns > heap->fired_to_ns ? now_ns : heap->fired_to_ns;
    while (heap->count > 0 && heap->items[0].at_ns <= now_ns && heap->items[0].sequence < limit) {
        struct env_timer *timer = heap->items[0].timer;
        timer_heap_stop(heap, timer);
        timer->fire(timer);
        fired++;
    }
    return fired;
}
