/* Claims in the order in which they are due: a 4-ary heap over chunks, as machine/keys/due_heap.h, by (due, order). */
#pragma once

#include "base/slice.h"

struct claim;

struct claim_due {
    int64_t due_ms;
    struct claim *claim;
};

struct claim_heap {
    struct claim_due **chunks;
    uint32_t count;
    uint32_t chunks_capacity;
    uint32_t first_capacity;
};

void claim_heap_init(struct claim_heap *heap);
void claim_heap_deinit(struct claim_heap *heap);
/* Under claim->due_ms, which stays until it is removed. */
void claim_heap_insert(struct claim_heap *heap, struct claim *claim);
void claim_heap_remove(struct claim_heap *heap, struct claim *claim);
/* The first one, or NULL when the heap is empty. */
struct claim *claim_heap_first(const struct claim_heap *heap);
