/* Things in the order in which they are due: a 4-ary heap over chunks, so that it grows without moving.
 *
 * The order (due, then what the order says) is total: what comes out next does not depend on how the heap came about.
 * Each thing in it knows its place, in a member uint32_t of its own; 0 means that it is in none. */
#pragma once

#include "base/slice.h"

struct due_order {
    size_t index_offset; /* of the member that has the place */
    /* Of two that are due at the same time: whether the first one comes first. */
    bool (*before)(const void *a, const void *b);
};

struct due_item {
    int64_t due_ms;
    void *of;
};

struct due_heap {
    const struct due_order *order; /* borrowed */
    struct due_item **chunks;      /* a first one alone may be small */
    uint32_t count;
    uint32_t chunks_capacity;
    uint32_t first_capacity;
};

void due_heap_init(struct due_heap *heap, const struct due_order *order);
/* Frees its memory; what is in it still knows its place. */
void due_heap_deinit(struct due_heap *heap);
void due_heap_insert(struct due_heap *heap, void *of, int64_t due_ms);
void due_heap_remove(struct due_heap *heap, void *of);
/* Something in the heap is due earlier or later than it was. */
void due_heap_change(struct due_heap *heap, void *of, int64_t due_ms);
/* Notes that something in the heap has a new address (and the same order). */
void due_heap_moved(struct due_heap *heap, void *of);
/* The first one, or NULL when the heap is empty. */
const struct due_item *due_heap_first(const struct due_heap *heap);
/* Gives back up to `chunks` chunks of memory; true while some are left. For a heap that will not be used again. */
bool due_heap_release(struct due_heap *heap, size_t chunks);
