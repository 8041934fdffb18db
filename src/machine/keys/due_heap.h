/* Entries in the order in which they are due: a 4-ary heap over chunks, so that it grows without moving.
 *
 * The order (due, key) is total: what comes out next does not depend on how the heap came about.
 * Each entry in it knows its place (heap_index); 0 means that it is in none. */
#pragma once

#include "base/slice.h"

struct entry;

struct due_item {
    int64_t due_ms;
    struct entry *entry;
};

struct due_heap {
    struct due_item **chunks; /* a first one alone may be small */
    uint32_t count;
    uint32_t chunks_capacity;
    uint32_t first_capacity;
};

void due_heap_init(struct due_heap *heap);
void due_heap_insert(struct due_heap *heap, struct entry *entry, int64_t due_ms);
void due_heap_remove(struct due_heap *heap, struct entry *entry);
/* Notes that an entry in the heap has a new address (and the same key). */
void due_heap_moved(struct due_heap *heap, struct entry *entry);
/* The first one, or NULL when the heap is empty. */
const struct due_item *due_heap_first(const struct due_heap *heap);
/* Gives back up to `chunks` chunks of memory; true while some are left. For a heap that will not be used again. */
bool due_heap_release(struct due_heap *heap, size_t chunks);
