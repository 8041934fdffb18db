#include "shard/shard.h"

#include "base/assert.h"
#include "shard/shard_state.h"

#include <stdio.h>
#include <stdlib.h>

/* A turn with at most this many requests is synced inline: one caller waits, and a hop to another thread and back
 * costs more than it hides (docs/performance.md). */
enum { SHARD_INLINE_REQUESTS = 16 };

void shard_close_batch(struct shard *shard)
{
    list_append(&shard->waiting, &shard->open->node);
    shard->open = batch_take(shard);
}

/* The batch's entry goes to consensus. */
static enum status propose(struct shard *shard, struct batch *batch)
{
    enum status status = log_reserve(shard->log, batch->logged.size);
    if (status != STATUS_OK) {
        return status;
    }
    if (!shard->leading) {
        return STATUS_AGAIN;
    }
    shard_time_now(shard, &batch->header.time_ms, &batch->header.wall_ms);
    batch->header.commands = (uint16_t)batch->logged_count;
    entry_header_put(batch->logged.data, &batch->header);
    if (shard_propose(shard, batch->kind, buffer_slice(&batch->logged), &batch->index) != STATUS_OK) {
        return STATUS_AGAIN;
    }
    shard_time_entry_made(shard, &batch->header);
    return STATUS_OK;
}

/* Takes the batches that wait to the log, as far as it has space. Returns how many requests that were. */
static size_t seal_waiting(struct shard *shard)
{
    size_t requests = 0;
    while (!list_empty(&shard->waiting) && !shard->failed) {
        struct batch *batch = CONTAINER_OF(shard->waiting.next, struct batch, node);
        bool logs = batch->logged_count != 0 || batch->kind == ENTRY_TIME;
        enum status status = logs ? propose(shard, batch) : STATUS_OK;
        if (status == STATUS_AGAIN || shard->failed) {
            break;
        }
        if (status != STATUS_OK) {
            batch_refuse(shard, batch, status);
        }
        requests += batch->request_count;
        list_remove(&batch->node);
        list_append(&shard->sealed, &batch->node);
        shard_pump(shard); /* consensus borrows the payload only until then */
    }
    return requests;
}

void shard_fail(struct shard *shard, enum status status, const char *what)
{
    if (!shard->failed) {
        shard->failed = true;
        shard->failed_status = status;
        if (shard->opening_message != NULL) { /* the caller of shard_open hears of it */
            (void)snprintf(shard->opening_message, shard->opening_message_capacity, "%s: %s", what,
                           status_text(status));
        } else {
            shard->sink.failed(shard->owner, status, what);
        }
    }
}

static void log_durable(void *owner, uint64_t ticket)
{
    struct shard *shard = owner;
    if (!shard->failed) {
        shard_stored(shard, ticket);
        shard_pump(shard);
    }
}

static void log_failed(void *owner, enum status status, const char *what) { shard_fail(owner, status, what); }

static const struct log_events shard_log_events = {log_durable, log_failed};

static void close_time_entry(struct shard *shard)
{
    int64_t time_ms = 0;
    int64_t wall_ms = 0;
    shard_time_now(shard, &time_ms, &wall_ms);
    shard->time_entry_due = false;
    if (machine_has_due(shard->machine, time_ms, wall_ms) || time_ms - shard->time_ms >= SHARD_TIME_ENTRY_MS) {
        ASSERT(shard->open->request_count == 0);
        shard->open->kind = ENTRY_TIME;
        shard_close_batch(shard);
    }
}

static void log_turn(struct shard *shard)
{
    if (log_syncing(shard->log)) {
        return; /* the next batch gathers */
    }
    if (shard->open->request_count != 0) {
        shard_close_batch(shard);
    }
    if (shard->time_entry_due && list_empty(&shard->waiting)) {
        close_time_entry(shard);
    }
    size_t requests = seal_waiting(shard);
    log_flush(shard->log, requests <= SHARD_INLINE_REQUESTS ? LOG_SYNC_INLINE : LOG_SYNC_BACKGROUND);
}

/* Whether a turn now would bring something to the log. */
static bool may_log(const struct shard *shard)
{
    return !log_syncing(shard->log) && list_empty(&shard->waiting) &&
           (shard->open->request_count != 0 || shard->time_entry_due);
}

bool shard_turn(struct shard *shard)
{
    if (!shard->failed) {
        shard_tick(shard);
        shard_pump(shard);
    }
    if (!shard->failed) {
        log_turn(shard);
    }
    if (shard->failed) {
        return false;
    }
    shard_time_schedule(shard);
    snapshot_begin_if_due(shard);
    bool more = snapshot_go_on(shard);
    more = machine_work(shard->machine) || more;
    return may_log(shard) || more;
}

bool shard_idle(const struct shard *shard)
{
    return shard->open->request_count == 0 && list_empty(&shard->waiting) && list_empty(&shard->sealed) &&
           !log_syncing(shard->log);
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
    ret_stats->committed_index = shard->commit;
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
    list_init(&shard->waiting);
    list_init(&shard->sealed);
    list_init(&shard->spare);
    command_arguments_init(&shard->arguments);
    shard_time_init(shard);
    if (shard->options.snapshot_log_bytes == 0) {
        shard->options.snapshot_log_bytes = SHARD_SNAPSHOT_LOG_BYTES;
    }
    if (shard->options.pending_bytes == 0) {
        shard->options.pending_bytes = SHARD_PENDING_BYTES;
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
    snapshot_leave(shard);
    shard_time_stop(shard);
    if (shard->log != NULL) {
        log_close(shard->log);
    }
    machine_destroy(shard->machine);
    raft_destroy(shard->raft);
    buffer_deinit(&shard->storing);
    buffer_deinit(&shard->entry_bytes);
    batch_destroy(shard->open);
    batches_destroy(&shard->waiting);
    batches_destroy(&shard->sealed);
    batches_destroy(&shard->spare);
    buffer_deinit(&shard->snapshot_block);
    command_arguments_deinit(&shard->arguments);
    free(shard);
}
