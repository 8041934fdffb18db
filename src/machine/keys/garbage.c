#include "machine/keys/garbage.h"

#include "base/memory.h"
#include "base/sanitized.h"

#include <stdlib.h>

enum {
    SMALL_BYTES = 64 * 1024, /* freed at once, and the piece cut off a larger block */
    SMALL_HASH_BUCKETS = 8,
    BUCKETS_PER_EFFORT = 2,
};

static void line_push(struct garbage **line, struct garbage *garbage, enum garbage_kind kind)
{
    garbage->kind = kind;
    garbage->next = *line;
    *line = garbage;
}

void garbage_memory(struct garbage **line, void *memory, size_t size)
{
    if (size <= SMALL_BYTES) {
        free(memory);
        return;
    }
    struct garbage *garbage = memory;
    garbage->size = size;
    line_push(line, garbage, GARBAGE_MEMORY);
}

static void release_field(void *owner, void *item)
{
    struct field *field = item;
    garbage_memory(owner, field, sizeof(*field) + field->key_size + field->value_size);
}

static void release_entry(void *owner, void *item)
{
    struct entry *entry = item;
    if (entry->kind == VALUE_LARGE) {
        struct large *large = entry_pointer(entry);
        ASSERT(large->walk == NULL);
        garbage_memory(owner, large, sizeof(*large) + large->capacity);
    } else if (entry->kind == VALUE_PACKED) {
        free(entry_pointer(entry));
    } else if (entry->kind == VALUE_TABLE) {
        garbage_hash(owner, entry_pointer(entry));
    }
    free(entry);
}

/* Cuts the end off a block, so that no call returns many pages at once; the rest waits again. */
static void memory_work(struct garbage **line, struct garbage *garbage, size_t bytes)
{
    if (SANITIZED_ADDRESS && bytes < garbage->size / 8) {
        bytes = garbage->size / 8; /* there realloc copies what stays, which would take minutes for a large value */
    }
    if (garbage->size <= bytes + SMALL_BYTES) {
        free(garbage);
        return;
    }
    size_t size = garbage->size - bytes;
    struct garbage *rest = memory_resize(garbage, size);
    garbage_memory(line, rest, size);
}

static void hash_work(struct garbage **line, struct hash *hash, size_t buckets)
{
    if (table_release(&hash->table, buckets, release_field, line)) {
        line_push(line, &hash->garbage, GARBAGE_HASH);
    } else {
        free(hash);
    }
}

static void keys_work(struct garbage **line, struct detached_keys *keys, size_t buckets)
{
    if (table_release(&keys->table, buckets, release_entry, line) || due_heap_release(&keys->heaps[0], buckets) ||
        due_heap_release(&keys->heaps[1], buckets)) {
        line_push(line, &keys->garbage, GARBAGE_KEYS);
    } else {
        free(keys);
    }
}

void garbage_hash(struct garbage **line, struct hash *hash)
{
    ASSERT(hash->walk == NULL);
    hash_work(line, hash, SMALL_HASH_BUCKETS);
}

void garbage_keys(struct garbage **line, struct detached_keys *keys) { line_push(line, &keys->garbage, GARBAGE_KEYS); }

bool garbage_work(struct garbage **line, unsigned effort)
{
    struct garbage *garbage = *line;
    if (garbage == NULL) {
        return false;
    }
    *line = garbage->next;
    size_t buckets = (size_t)effort * BUCKETS_PER_EFFORT;
    switch (garbage->kind) {
    case GARBAGE_MEMORY: memory_work(line, garbage, (size_t)effort * SMALL_BYTES); break;
    case GARBAGE_HASH: hash_work(line, (struct hash *)garbage, buckets); break;
    case GARBAGE_KEYS: keys_work(line, (struct detached_keys *)garbage, buckets); break;
    }
    return *line != NULL;
}
