#include "script/chunks.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/memory.h"
#include "script/script.h"

struct chunk {
    struct list node; /* in chunks.used */
    uint64_t hash;
    uint64_t budget;
    size_t memory_bytes;
    size_t source_size, image_size;
    bool common;
    uint8_t bytes[]; /* source, image */
};

struct chunks {
    struct list used; /* the last used first */
    size_t count, bytes;
};

struct chunks *chunks_create(void)
{
    struct chunks *chunks = memory_allocate_zeroed(1, sizeof(*chunks));
    list_init(&chunks->used);
    return chunks;
}

static size_t size_of(const struct chunk *chunk) { return sizeof(*chunk) + chunk->source_size + chunk->image_size; }

static void forget_last(struct chunks *chunks)
{
    struct chunk *chunk = CONTAINER_OF(chunks->used.prev, struct chunk, node);
    list_remove(&chunk->node);
    chunks->count--;
    chunks->bytes -= size_of(chunk);
    free(chunk);
}

void chunks_destroy(struct chunks *chunks)
{
    while (chunks != NULL && chunks->count != 0) {
        forget_last(chunks);
    }
    free(chunks);
}

static uint64_t hash_of(const struct script_run *run)
{
    return hash_bytes(run->budget ^ run->memory_bytes, run->source.data, run->source.size);
}

static bool is_of(const struct chunk *chunk, const struct script_run *run)
{
    return chunk->budget == run->budget && chunk->memory_bytes == run->memory_bytes &&
           slice_equal(slice_of(chunk->bytes, chunk->source_size), run->source);
}

struct slice chunks_find(struct chunks *chunks, const struct script_run *run, bool *ret_common)
{
    uint64_t hash = hash_of(run);
    LIST_FOR_EACH (node, &chunks->used) {
        struct chunk *chunk = CONTAINER_OF(node, struct chunk, node);
        if (chunk->hash == hash && is_of(chunk, run)) {
            list_remove(&chunk->node);
            list_prepend(&chunks->used, &chunk->node);
            *ret_common = chunk->common;
            return slice_of(chunk->bytes + chunk->source_size, chunk->image_size);
        }
    }
    return (struct slice){0};
}

void chunks_keep(struct chunks *chunks, const struct script_run *run, struct slice region, bool common)
{
    size_t size = sizeof(struct chunk) + run->source.size + region.size;
    if (size > CHUNK_BYTES) {
        return;
    }
    while (chunks->count >= CHUNKS || chunks->bytes + size > CHUNKS_BYTES) {
        forget_last(chunks);
    }
    struct chunk *chunk = memory_allocate(size);
    *chunk = (struct chunk){.hash = hash_of(run),
                            .budget = run->budget,
                            .memory_bytes = run->memory_bytes,
                            .source_size = run->source.size,
                            .image_size = region.size,
                            .common = common};
    list_init(&chunk->node);
    if (run->source.size != 0) {
        memcpy(chunk->bytes, run->source.data, run->source.size);
    }
    memcpy(chunk->bytes + run->source.size, region.data, region.size);
    list_prepend(&chunks->used, &chunk->node);
    chunks->count++;
    chunks->bytes += size;
}
