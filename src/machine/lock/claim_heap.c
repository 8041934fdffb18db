#include "machine/lock/claim_heap.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/lock/lock.h"

/* The root is at 3: then the four children of i are at 4(i-2) and after, in one cache line. */
enum { ROOT = 3, CHUNK_ITEMS = 1024, FIRST_ITEMS = 16 };

static struct claim_due *item_at(const struct claim_heap *heap, uint32_t index)
{
    return &heap->chunks[index / CHUNK_ITEMS][index % CHUNK_ITEMS];
}

static uint32_t heap_end(const struct claim_heap *heap) { return ROOT + heap->count; }

static bool item_before(const struct claim_due *a, const struct claim_due *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->claim->order < b->claim->order;
}

static void item_put(struct claim_heap *heap, uint32_t index, struct claim_due item)
{
    *item_at(heap, index) = item;
    item.claim->heap_index = index;
}

void claim_heap_init(struct claim_heap *heap) { *heap = (struct claim_heap){0}; }

void claim_heap_deinit(struct claim_heap *heap)
{
    uint32_t chunks = heap->first_capacity == 0 ? 0 : (heap_end(heap) - 1) / CHUNK_ITEMS + 1;
    for (uint32_t i = 0; i < chunks; i++) {
        free(heap->chunks[i]);
    }
    free(heap->chunks);
    claim_heap_init(heap);
}

static struct claim_due *chunk_create(size_t items)
{
    return memory_allocate_aligned(64, items * sizeof(struct claim_due));
}

static void heap_reserve(struct claim_heap *heap, uint32_t index)
{
    uint32_t chunk = index / CHUNK_ITEMS;
    if (chunk >= heap->chunks_capacity) {
        heap->chunks_capacity = heap->chunks_capacity == 0 ? 1 : heap->chunks_capacity * 2;
        heap->chunks = memory_resize(heap->chunks, heap->chunks_capacity * sizeof(heap->chunks[0]));
    }
    if (chunk == 0 && index >= heap->first_capacity) {
        uint32_t capacity = heap->first_capacity == 0 ? FIRST_ITEMS : heap->first_capacity * 2;
        struct claim_due *first = chunk_create(capacity);
        if (heap->first_capacity > 0) {
            memcpy(first, heap->chunks[0], heap->first_capacity * sizeof(*first));
            free(heap->chunks[0]);
        }
        heap->chunks[0] = first;
        heap->first_capacity = capacity;
    } else if (chunk > 0 && index % CHUNK_ITEMS == 0) {
        heap->chunks[chunk] = chunk_create(CHUNK_ITEMS);
    }
}

static void sift_up(struct claim_heap *heap, uint32_t index, struct claim_due item)
{
    while (index > ROOT) {
        uint32_t parent = index / 4 + 2;
        if (!item_before(&item, item_at(heap, parent))) {
            break;
        }
        item_put(heap, index, *item_at(heap, parent));
        index = parent;
    }
    item_put(heap, index, item);
}

static void sift_down(struct claim_heap *heap, uint32_t index, struct claim_due item)
{
    for (;;) {
        uint64_t child = 4 * ((uint64_t)index - 2), end = child + 4;
        if (child >= heap_end(heap)) {
            break;
        }
        uint32_t least = (uint32_t)child;
        while (++child < end && child < heap_end(heap)) {
            if (item_before(item_at(heap, (uint32_t)child), item_at(heap, least))) {
                least = (uint32_t)child;
            }
        }
        if (!item_before(item_at(heap, least), &item)) {
            break;
        }
        item_put(heap, index, *item_at(heap, least));
        index = least;
    }
    item_put(heap, index, item);
}

void claim_heap_insert(struct claim_heap *heap, struct claim *claim)
{
    ASSERT(claim->heap_index == 0 && heap->count < UINT32_MAX - ROOT - 1);
    heap_reserve(heap, heap_end(heap));
    heap->count++;
    sift_up(heap, heap_end(heap) - 1, (struct claim_due){claim->due_ms, claim});
}

void claim_heap_remove(struct claim_heap *heap, struct claim *claim)
{
    uint32_t index = claim->heap_index;
    ASSERT(index >= ROOT && index < heap_end(heap) && item_at(heap, index)->claim == claim);
    claim->heap_index = 0;
    heap->count--;
    uint32_t end = heap_end(heap);
    struct claim_due last = *item_at(heap, end);
    if (end % CHUNK_ITEMS == 0) {
        free(heap->chunks[end / CHUNK_ITEMS]);
    }
    if (index == end) {
        return;
    }
    if (index > ROOT && item_before(&last, item_at(heap, index / 4 + 2))) {
        sift_up(heap, index, last);
    } else {
        sift_down(heap, index, last);
    }
}

struct claim *claim_heap_first(const struct claim_heap *heap)
{
    return heap->count == 0 ? NULL : item_at(heap, ROOT)->claim;
}
