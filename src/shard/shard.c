#include "shard/shard.h"

#include "base/assert.h"
#include "shard/shard_state.h"

#include <stdlib.h>

/* A turn with at most this many requests is synced inline: one caller waits, and a hop to another thread and back
 * costs more than it hides (docs/performance.md). */
enum { SHARD_INLINE_REQUESTS = 16, TIME_ENTRY_ROOM_BYTES = 1024 };

uint64_t shard_log_entry(struct shard *shard, enum entry_kind kind, const struct entry_header *header,
                         struct slice body)
{
    uint8_t head[ENTRY_HEADER_BYTES];
    entry_header_put(head, header);
    struct slice parts[2] = {slice_of(head, sizeof(head)), body};
    struct log_entry entry = {.index = shard->last_index + 1, .term = SHARD_TERM, .kind = (uint8_t)kind};
    shard->last_index = entry.index;
    shard->logged_since_snapshot_bytes += sizeof(head) + body.size;
    shard_time_entry_made(shard, header);
    return log_append(shard->log, SHARD_GROUP, &entry, parts, 2);
}

void shard_seal(struct shard *shard)
{
    struct batch *batch = shard->open;
    if (batch->logged_count != 0 || batch->kind == ENTRY_TIME) {
        shard_time_now(shard, &batch->header.time_ms, &batch->header.wall_ms);
        batch->header.commands = (uint16_t)batch->logged_count;
        batch->ticket = shard_log_entry(shard, batch->kind, &batch->header, buffer_slice(&batch->logged));
        batch->index = shard->last_index;
    }
    list_append(&shard->sealed, &batch->node);
    shard->open = batch_take(shard);
}

/* Applies what is durable, in order; a batch of reads alone only waits for those before it. */
static void apply_durable(struct shard *shard, uint64_t ticket)
{
    while (!list_empty(&shard->sealed)) {
        struct batch *batch = CONTAINER_OF(shard->sealed.next, struct batch, node);
        if (batch->index != 0 && batch->ticket > ticket) {
            break;
        }
        batch_apply(shard, batch);
        batch_give_back(shard, batch);
    }
}

static void log_durable(void *owner, uint64_t ticket)
{
    struct shard *shard = owner;
    if (!shard->failed) {
        apply_durable(shard, ticket);
    }
}

static void log_failed(void *owner, enum status status, const char *what)
{
    struct shard *shard = owner;
    shard->failed = true;
    shard->sink.failed(shard->owner, status, what);
}

static const struct log_events shard_log_events = {log_durable, log_failed};

static void seal_time_entry(struct shard *shard)
{
    int64_t time_ms = 0;
    int64_t wall_ms = 0;
    shard_time_now(shard, &time_ms, &wall_ms);
    shard->time_entry_due = false;
    if (machine_has_due(shard->machine, time_ms, wall_ms) || time_ms - shard->time_ms >= SHARD_TIME_ENTRY_MS) {
        ASSERT(shard->open->request_count == 0);
        shard->open->kind = ENTRY_TIME;
        shard_seal(shard);
    }
}

bool shard_turn(struct shard *shard)
{
    if (shard->failed) {
        return false;
    }
    /* While a sync runs the next batch gathers. */
    if (!log_syncing(shard->log)) {
        size_t requests = shard->open->request_count;
        if (requests != 0) {
            shard_seal(shard);
        }
        if (shard->time_entry_due && log_room(shard->log) > TIME_ENTRY_ROOM_BYTES) {
            seal_time_entry(shard);
        }
        log_flush(shard->log, requests <= SHARD_INLINE_REQUESTS ? LOG_SYNC_INLINE : LOG_SYNC_BACKGROUND);
        apply_durable(shard, log_durable_ticket(shard->log));
    }
    if (shard->failed) {
        return false;
    }
    int64_t time_ms = 0;
    int64_t wall_ms = 0;
    shard_time_now(shard, &time_ms, &wall_ms);
    shard_time_schedule(shard);
    snapshot_begin_if_due(shard);
    bool more = snapshot_go_on(shard);
    more = machine_work(shard->machine) || more;
    return more || (shard->open->request_count != 0 && !log_syncing(shard->log));
}

bool shard_idle(const struct shard *shard)
{
    return shard->open->request_count == 0 && list_empty(&shard->sealed) && !log_syncing(shard->log);
}

enum status shard_submit(struct shard *shard, const struct command *command, void *origin, uint64_t tag)
{
    bool write = (command->spec->flags & COMMAND_READONLY) == 0;
    return batch_add(shard, command, write ? REQUEST_LOGGED : REQUEST_READ, origin, tag);
}

enum status shard_submit_logged(struct shard *shard, const struct command *command, void *origin, uint64_t tag)
{
    return batch_add(shard, command, REQUEST_LOGGED, origin, tag);
}

bool shard_read(struct shard *shard, const struct command *command, struct resp_writer *reply)
{
    struct machine_context context = {0};
    shard_time_now(shard, &context.time_ms, &context.wall_ms);
    return machine_read(shard->machine, &context, command, reply);
}

uint64_t shard_key_version(const struct shard *shard, struct slice key)
{
    return machine_key_version(shard->machine, key);
}

uint64_t shard_digest(const struct shard *shard) { return machine_digest(shard->machine); }

void shard_stats(const struct shard *shard, struct shard_stats *ret_stats)
{
    *ret_stats = shard->stats;
    machine_stats(shard->machine, &ret_stats->machine);
    log_stats(shard->log, &ret_stats->log);
    ret_stats->applied_index = shard->applied_index;
    ret_stats->committed_index = shard->applied_index;
    ret_stats->last_index = shard->last_index;
    ret_stats->pending_bytes = shard->pending_bytes;
    ret_stats->snapshot_running = shard->snapshot != NULL;
}

enum status shard_open(struct env *env, const struct shard_options *options, const struct shard_sink *sink, void *owner,
                       struct shard **ret_shard, char *ret_message, size_t message_capacity)
{
    struct shard *shard = calloc(1, sizeof(*shard));
    ASSERT(shard != NULL);
    *shard = (struct shard){.env = env, .options = *options, .sink = *sink, .owner = owner};
    list_init(&shard->sealed);
    list_init(&shard->spare);
    command_arguments_init(&shard->arguments);
    shard_time_init(shard);
    if (shard->options.snapshot_log_bytes == 0) {
        shard->options.snapshot_log_bytes = SHARD_SNAPSHOT_LOG_BYTES;
    }
    shard->open = batch_take(shard);
    struct log_options log_options = {options->directory, options->log_segment_bytes};
    enum status status =
        log_open(env, &log_options, &shard_log_events, shard, &shard->log, ret_message, message_capacity);
    if (status == STATUS_OK) {
        status = shard_recover(shard, ret_message, message_capacity);
    }
    if (status != STATUS_OK) {
        shard_close(shard);
        return status;
    }
    *ret_shard = shard;
    return STATUS_OK;
}

static void batches_destroy(struct list *batches)
{
    LIST_FOR_EACH_SAFE (at, after, batches) {
        batch_destroy(CONTAINER_OF(at, struct batch, node));
    }
}

void shard_close(struct shard *shard)
{
    if (shard == NULL) {
        return;
    }
    shard->failed = true;
    snapshot_abandon(shard);
    shard_time_stop(shard);
    if (shard->log != NULL) {
        log_close(shard->log);
    }
    machine_destroy(shard->machine);
    batch_destroy(shard->open);
    batches_destroy(&shard->sealed);
    batches_destroy(&shard->spare);
    buffer_deinit(&shard->snapshot_block);
    command_arguments_deinit(&shard->arguments);
    free(shard);
}
