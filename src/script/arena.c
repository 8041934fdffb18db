/* Blocks of a few sizes, each with a list of free ones; what no list has comes from the untouched rest.
 *
 * Sizes up to 1 KiB go in steps of 16, larger ones in quarters of a power of two. Nothing is merged: a run is short,
 * and its memory is dropped whole. Which address comes out depends on the calls alone. */
#include "script/engine.h"

enum { SMALL_BYTES = 1024, SMALL_STEP = 16, SMALL_CLASSES = SMALL_BYTES / SMALL_STEP };

static uint32_t class_of(size_t size, size_t *ret_taken)
{
    if (size <= SMALL_BYTES) {
        size_t steps = size == 0 ? 1 : (size + SMALL_STEP - 1) / SMALL_STEP;
        *ret_taken = steps * SMALL_STEP;
        return (uint32_t)steps - 1;
    }
    uint32_t log = 63 - (uint32_t)__builtin_clzll(size - 1); /* 2^log < size <= 2^(log + 1) */
    size_t quarter = (size_t)1 << (log - 2);
    uint32_t part = (uint32_t)((size - 1) / quarter) - 3; /* 1 to 4 quarters above 2^log */
    *ret_taken = (4 + (size_t)part) * quarter;
    return SMALL_CLASSES + (log - 10) * 4 + part - 1;
}

size_t arena_taken(size_t size)
{
    size_t taken;
    (void)class_of(size, &taken);
    return taken;
}

void arena_init(struct arena *arena, void *from, void *end) { *arena = (struct arena){.top = from, .end = end}; }

static void *take(struct arena *arena, size_t size)
{
    size_t taken;
    uint32_t class = class_of(size, &taken);
    ASSERT(class < ARENA_CLASSES);
    void *block = arena->free[class];
    if (block != NULL) {
        memcpy(&arena->free[class], block, sizeof(void *));
    } else if (taken <= (size_t)(arena->end - arena->top)) {
        block = arena->top;
        arena->top += taken;
    } else {
        return NULL;
    }
    arena->in_use += taken;
    return block;
}

static void give(struct arena *arena, void *block, size_t size)
{
    size_t taken;
    uint32_t class = class_of(size, &taken);
    memcpy(block, &arena->free[class], sizeof(void *));
    arena->free[class] = block;
    arena->in_use -= taken;
}

void *arena_resize(struct arena *arena, void *block, size_t old_size, size_t new_size)
{
    if (new_size == 0) {
        if (block != NULL) {
            give(arena, block, old_size);
        }
        return NULL;
    }
    if (block == NULL) {
        return take(arena, new_size);
    }
    if (arena_taken(old_size) == arena_taken(new_size)) {
        return block;
    }
    void *other = take(arena, new_size);
    if (other == NULL) {
        return new_size < old_size ? block : NULL; /* Lua relies on it that nothing fails to shrink */
    }
    memcpy(other, block, old_size < new_size ? old_size : new_size);
    give(arena, block, old_size);
    return other;
}
