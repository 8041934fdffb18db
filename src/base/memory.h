/* Memory that is there: no caller has to think of an allocation that fails.
 *
 * The promise: a node that runs out of memory stops, at once and with one line that says so; what it acknowledged is on
 * its disk, and the cluster goes on without it. `maxmemory` keeps it from coming to that. (Going on instead would need
 * a way back at every allocation, none of which is ever taken in a test.)
 *
 * Blocks are given back with free. Sizes are at least 1. */
#pragma once

#include <stddef.h>
#include <stdlib.h>

/* Prints one line to stderr and ends the process with EX_OSERR; nothing is flushed or cleaned up. */
__attribute__((noreturn, cold)) void memory_refused(size_t bytes);

/* Inline, since a key is one of these. */
__attribute__((malloc, returns_nonnull, warn_unused_result, alloc_size(1))) static inline void *
memory_allocate(size_t bytes)
{
    void *block = malloc(bytes);
    if (__builtin_expect(block == NULL, 0)) {
        memory_refused(bytes);
    }
    return block;
}

/* `count` times `bytes`, all zero. */
__attribute__((malloc, returns_nonnull, warn_unused_result, alloc_size(1, 2))) void *
memory_allocate_zeroed(size_t count, size_t bytes);
/* At a multiple of `alignment`, a power of two; bytes is a multiple of it. */
__attribute__((malloc, returns_nonnull, warn_unused_result, alloc_size(2))) void *
memory_allocate_aligned(size_t alignment, size_t bytes);
/* The block, larger or smaller, maybe elsewhere; NULL makes a new one. */
__attribute__((returns_nonnull, warn_unused_result, alloc_size(2))) void *memory_resize(void *block, size_t bytes);
__attribute__((malloc, returns_nonnull, warn_unused_result)) char *memory_copy_text(const char *text);
/* These bytes and a NUL. */
__attribute__((malloc, returns_nonnull, warn_unused_result)) char *memory_make_text(const void *bytes, size_t size);
