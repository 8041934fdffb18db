#include "machine/due_heap.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

/* The root is at 3: then the four children of i are at 4(i-2) and after, in one cache line. */
enum { ROOT = 3, CHUNK_ITEMS = 1024, FIRST_ITEMS = 16 };

static struct due_item *item_at(const struct due_heap *heap, uint32_t index)
{
    return &heap->chunks[index / CHUNK_ITEMS][index % CHUNK_ITEMS];
}

static uint32_t heap_end(const struct due_heap *heap) { return ROOT + heap->count; }

static bool item_before(const struct due_heap *heap, const struct due_item *a, const struct due_item *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : heap->order->before(a->of, b->of);
}

static uint32_t *index_of(const struct due_heap *heap, void *of)
{
    return (uint32_t *)(void *)((uint8_t *)of + heap->order->index_offset);
}

static void item_put(struct due_heap *heap, uint32_t index, struct due_item item)
{
    *item_at(heap, index) = item;
    *index_of(heap, item.of) = index;
}

void due_heap_init(struct due_heap *heap, const struct due_order *order) { *heap = (struct due_heap){.order = order}; }

void due_heap_deinit(struct due_heap *heap) { (void)due_heap_release(heap, SIZE_MAX); }

static struct due_item *chunk_create(size_t items)
{
    return memory_allocate_aligned(64, items * sizeof(struct due_item));
}

static void heap_reserve(struct due_heap *heap, uint32_t index)
{
    uint32_t chunk = index / CHUNK_ITEMS;
    if (chunk >= heap->chunks_capacity) {
        heap->chunks_capacity = heap->chunks_capacity == 0 ? 1 : heap->chunks_capacity * 2;
        heap->chunks = memory_resize(heap->chunks, heap->chunks_capacity * sizeof(heap->chunks[0]));
    }
    if (chunk == 0 && index >= heap->first_capacity) {
        uint32_t capacity = heap->first_capacity == 0 ? FIRST_ITEMS : heap->first_capacity * 2;
        struct due_item *first = chunk_create(capacity);
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

static void sift_up(struct due_heap *heap, uint32_t index, struct due_item item)
{
    while (index > ROOT) {
        uint32_t parent = index / 4 + 2;
        if (!item_before(heap, &item, item_at(heap, parent))) {
            break;
        }
        item_put(heap, index, *item_at(heap, parent));
        index = parent;
    }
    item_put(heap, index, item);
}

static void sift_down(struct due_heap *heap, uint32_t index, struct due_item item)
{
    for (;;) {
        uint64_t child = 4 * ((uint64_t)index - 2), end = child + 4;
        if (child >= heap_end(heap)) {
            break;
        }
        uint32_t least = (uint32_t)child;
        while (++child < end && child < heap_end(heap)) {
            if (item_before(heap, item_at(heap, (uint32_t)child), item_at(heap, least))) {
                least = (uint32_t)child;
            }
        }
        if (!item_before(heap, item_at(heap, least), &item)) {
            break;
        }
        item_put(heap, index, *item_at(heap, least));
        index = least;
    }
    item_put(heap, index, item);
}

/* Puts an item where one was that was due earlier or later. */
static void sift(struct due_heap *heap, uint32_t index, struct due_item item)
{
    if (index > ROOT && item_before(heap, &item, item_at(heap, index / 4 + 2))) {
        sift_up(heap, index, item);
    } else {
        sift_down(heap, index, item);
    }
}

static uint32_t place_of(const struct due_heap *heap, void *of)
{
    uint32_t index = *index_of(heap, of);
    ASSERT(index >= ROOT && index < heap_end(heap) && item_at(heap, index)->of == of);
    return index;
}

void due_heap_insert(struct due_heap *heap, void *of, int64_t due_ms)
{
    ASSERT(*index_of(heap, of) == 0 && heap->count < UINT32_MAX - ROOT - 1);
    heap_reserve(heap, heap_end(heap));
    heap->count++;
    sift_up(heap, heap_end(heap) - 1, (struct due_item){due_ms, of});
}

void due_heap_remove(struct due_heap *heap, void *of)
{
    uint32_t index = place_of(heap, of);
    *index_of(heap, of) = 0;
    heap->count--;
    uint32_t end = heap_end(heap);
    struct due_item last = *item_at(heap, end);
    if (end % CHUNK_ITEMS == 0) {
        free(heap->chunks[end / CHUNK_ITEMS]);
    }
    if (index != end) {
        sift(heap, index, last);
    }
}

void due_heap_change(struct due_heap *heap, void *of, int64_t due_ms)
{
    sift(heap, place_of(heap, of), (struct due_item){due_ms, of});
}

void due_heap_moved(struct due_heap *heap, void *of) { item_at(heap, *index_of(heap, of))->of = of; }

const struct due_item *due_heap_first(const struct due_heap *heap)
{
    return heap->count == 0 ? NULL : item_at(heap, ROOT);
}

bool due_heap_release(struct due_heap *heap, size_t chunks)
{
    if (heap->first_capacity == 0) {
        return false;
    }
    uint32_t last = (heap_end(heap) - 1) / CHUNK_ITEMS;
    for (; chunks > 0; chunks--) {
        free(heap->chunks[last]);
        if (last == 0) {
            free(heap->chunks);
            due_heap_init(heap, heap->order);
            return false;
        }
        last--;
    }
    heap->count = (last + 1) * CHUNK_ITEMS - ROOT;
    return true;
}
