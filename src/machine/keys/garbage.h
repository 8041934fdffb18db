/* Memory that nobody sees any more and that is too much to free at once: it waits in line, and each garbage_work frees
 * a bounded part of it.
 *
 * A block of plain memory carries its place in line in its own first bytes. */
#pragma once

#include "machine/due_heap.h"
#include "machine/keys/entry.h"

/* All keys and their expiry, after keyspace_clear. */
struct detached_keys {
    struct garbage garbage; /* first */
    struct table table;
    struct due_heap heaps[2];
};

/* Each takes what it is given; `*line` is the keyspace's line. */
void garbage_memory(struct garbage **line, void *memory, size_t size);
void garbage_hash(struct garbage **line, struct hash *hash);
void garbage_keys(struct garbage **line, struct detached_keys *keys);

/* Frees a part of what waits: up to `effort` times two buckets or 64 KiB; true when more is left. Writers make a small
 * effort each, so that the line stays short when nobody has time for it. */
enum { GARBAGE_EFFORT_WRITE = 1, GARBAGE_EFFORT_WORK = 16 };
bool garbage_work(struct garbage **line, unsigned effort);
