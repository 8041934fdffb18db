/* Batches: made once, used again, so that a request costs no allocation. */
#include "shard/shard_state.h"

#include "base/assert.h"

#include <stdlib.h>

/* What the log adds to an entry, generously. */
enum { ENTRY_ROOM_BYTES = 1024 };

enum { BATCH_KEEP_BYTES = 1 << 20, BATCH_KEEP_REQUESTS = 4096 };

static void batch_begin(struct batch *batch)
{
    batch->kind = ENTRY_COMMANDS;
    buffer_reserve(&batch->logged, ENTRY_HEADER_BYTES);
    batch->logged.size = ENTRY_HEADER_BYTES;
}

struct batch *batch_take(struct shard *shard)
{
    if (!list_empty(&shard->spare)) {
        struct batch *batch = CONTAINER_OF(shard->spare.next, struct batch, node);
        list_remove(&batch->node);
        batch_begin(batch);
        return batch;
    }
    struct batch *batch = calloc(1, sizeof(*batch));
    ASSERT(batch != NULL);
    list_init(&batch->node);
    batch_begin(batch);
    return batch;
}

void batch_give_back(struct shard *shard, struct batch *batch)
{
    list_remove(&batch->node);
    buffer_clear(&batch->logged);
    buffer_clear(&batch->reads);
    buffer_shrink(&batch->logged, BATCH_KEEP_BYTES);
    buffer_shrink(&batch->reads, BATCH_KEEP_BYTES);
    if (batch->request_capacity > BATCH_KEEP_REQUESTS) {
        free(batch->requests);
        batch->requests = NULL;
        batch->request_capacity = 0;
    }
    batch->request_count = 0;
    batch->logged_count = 0;
    batch->index = 0;
    list_append(&shard->spare, &batch->node);
}

void batch_destroy(struct batch *batch)
{
    list_remove(&batch->node);
    buffer_deinit(&batch->logged);
    buffer_deinit(&batch->reads);
    free(batch->requests);
    free(batch);
}

static size_t command_size(const struct command *command)
{
    size_t size = 16;
    for (uint32_t i = 0; i < command->argc; i++) {
        size += command->argv[i].size + 5;
    }
    return size;
}

enum status batch_add(struct shard *shard, const struct command *command, enum request_kind kind, void *origin,
                      uint64_t tag)
{
    if (shard->failed) {
        return STATUS_CLOSED;
    }
    size_t size = command_size(command);
    if (size > LOG_MAXIMUM_ENTRY_BYTES - ENTRY_HEADER_BYTES) {
        return STATUS_TOO_LARGE;
    }
    if (shard->pending_bytes + size > SHARD_PENDING_BYTES) {
        return STATUS_FULL;
    }
    if (kind == REQUEST_LOGGED && shard->pending_bytes + size + ENTRY_ROOM_BYTES > log_room(shard->log)) {
        return STATUS_NOSPACE;
    }
    struct batch *batch = shard->open;
    if (batch->request_count == SHARD_BATCH_COMMANDS ||
        batch->logged.size + size > LOG_MAXIMUM_ENTRY_BYTES - ENTRY_HEADER_BYTES) {
        if (!shard_seal(shard)) {
            return STATUS_FULL;
        }
        batch = shard->open;
    }
    if (batch->request_count == batch->request_capacity) {
        size_t capacity = batch->request_capacity == 0 ? 64 : batch->request_capacity * 2;
        struct request *requests = realloc(batch->requests, capacity * sizeof(*requests));
        ASSERT(requests != NULL);
        batch->requests = requests;
        batch->request_capacity = capacity;
    }
    struct buffer *into = kind == REQUEST_LOGGED ? &batch->logged : &batch->reads;
    size_t before = into->size;
    command_encode(into, command);
    shard->pending_bytes += into->size - before;
    batch->logged_count += kind == REQUEST_LOGGED ? 1 : 0;
    batch->requests[batch->request_count++] =
        (struct request){origin, tag, kind, machine_key_hash(shard->machine, command)};
    return STATUS_OK;
}
