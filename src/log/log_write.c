/* From appended records to durable blocks.
 *
 *            append            seal              fill                  finish
 *   record ─────────▶ open block ─────▶ arena ─────────▶ flush job ─────────▶ durable
 *                                         │                  │ write, sync: here or on another thread
 *                                         └── stays as cache until LOG_CACHE_BYTES of newer ones are there, or all is
 *                                             idle
 *
 * Invariants
 * 1. One job at a time, and a job is bytes of one segment. So all bytes before a job's are synced when it starts, and a
 *    segment is synced before the next one gets its first byte.
 * 2. A block's `synced` was true when the block was sealed.
 * 3. Bytes of an arena do not change or move once sealed, so another thread may write them while more are appended.
 */
#include "log/log_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

static struct log_arena *last_arena(const struct log *log)
{
    struct list *last = log->arenas.prev;
    ASSERT(last != NULL);
    return last == &log->arenas ? NULL : CONTAINER_OF(last, struct log_arena, in_log);
}

static struct log_segment *appending(const struct log *log) { return &log->segments[log->appending]; }

static void free_arena(struct log *log, struct log_arena *arena)
{
    log->arena_bytes -= arena->capacity;
    list_remove(&arena->in_log);
    free(arena->data);
    free(arena);
}

void log_write_deinit(struct log *log)
{
    LIST_FOR_EACH_SAFE (at, after, &log->arenas) {
        free_arena(log, CONTAINER_OF(at, struct log_arena, in_log));
    }
    buffer_deinit(&log->window.bytes);
}

void log_fail(struct log *log, enum status status, const char *operation, uint64_t segment)
{
    if (log->failed) {
        return;
    }
    log->failed = true;
    env_timer_stop(log->env, &log->mark_timer);
    char path[LOG_PATH_BYTES];
    log_segment_path(log, segment, path);
    (void)snprintf(log->what, sizeof(log->what), "%s %s: %s", operation, path, status_text(status));
    if (!log->closing) {
        log->events->failed(log->owner, status, log->what);
    }
}

/* ---- blocks ---- */

static struct log_arena *add_arena(struct log *log, size_t size)
{
    struct log_arena *arena = memory_allocate_zeroed(1, sizeof(*arena));
    arena->capacity = size > LOG_ARENA_BYTES ? size : LOG_ARENA_BYTES;
    arena->data = memory_allocate(arena->capacity);
    arena->segment = appending(log)->number;
    arena->offset = appending(log)->end;
    list_append(&log->arenas, &arena->in_log);
    log->arena_bytes += arena->capacity;
    return arena;
}

static void seal_block(struct log *log)
{
    if (!log->block_open) {
        return;
    }
    struct log_segment *segment = appending(log);
    struct log_arena *arena = last_arena(log);
    while (arena->used % LOG_BLOCK_ALIGNMENT != 0) {
        arena->data[arena->used++] = 0;
        segment->end++;
    }
    uint8_t *at = arena->data + log->block_at;
    size_t body_size = arena->used - log->block_at - LOG_BLOCK_HEADER_BYTES;
    log_format_put_block(
        at, segment->seed,
        &(struct log_block_header){
            .segment = segment->number,
            .sequence = segment->blocks,
            .synced = segment->synced_blocks,
            .previous = segment->previous,
            .body_size = (uint32_t)body_size,
            .body_crc = log_format_body_crc(slice_of(at + LOG_BLOCK_HEADER_BYTES, body_size), segment->seed),
        });
    log->block_open = false;
}

/* Room for `size` more bytes in an open block of the appending segment. */
static struct log_arena *open_block(struct log *log, size_t size)
{
    struct log_segment *segment = appending(log);
    struct log_arena *arena = last_arena(log);
    size_t with_padding = size + LOG_BLOCK_ALIGNMENT;
    if (log->block_open && arena->capacity - arena->used >= with_padding) {
        return arena;
    }
    seal_block(log);
    if (arena == NULL || arena->segment != segment->number || arena->offset + arena->used != segment->end ||
        arena->capacity - arena->used < LOG_BLOCK_HEADER_BYTES + with_padding) {
        arena = add_arena(log, LOG_BLOCK_HEADER_BYTES + with_padding);
    }
    log->block_at = arena->used;
    log->block_open = true;
    arena->used += LOG_BLOCK_HEADER_BYTES;
    segment->end += LOG_BLOCK_HEADER_BYTES;
    arena->last_block = ++segment->blocks;
    return arena;
}

static void put_checkpoint(struct log *log)
{
    struct log_segment *segment = appending(log);
    segment->started = true;
    size_t size = log_checkpoint_bytes(log);
    struct log_arena *arena = open_block(log, LOG_RECORD_HEADER_BYTES + size);
    uint8_t *at = arena->data + arena->used;
    log_checkpoint_put(log, at + LOG_RECORD_HEADER_BYTES);
    segment->start_ticket = log_write_end(log, at,
                                          &(struct log_record){.type = LOG_RECORD_CHECKPOINT,
                                                               .a = log->group_count,
                                                               .payload = {at + LOG_RECORD_HEADER_BYTES, size}});
    segment->fresh = true;
}

/* From now on appended bytes go to the next segment. */
static void switch_segment(struct log *log)
{
    seal_block(log);
    uint64_t blocks = appending(log)->blocks;
    if (log->appending + 1 == log->segment_count) {
        log_segment_add(log, 0);
    }
    log->appending++;
    appending(log)->previous = blocks;
    put_checkpoint(log);
}

uint8_t *log_write_begin(struct log *log, size_t payload_size, struct log_position *ret_position)
{
    size_t size = LOG_RECORD_HEADER_BYTES + payload_size;
    if (!appending(log)->started) {
        put_checkpoint(log);
    }
    struct log_segment *segment = appending(log);
    /* One that has its checkpoint only takes a record of any size, unless one ahead was made for it. */
    while (!log_segment_takes(log, segment, size) && (!segment->fresh || log_segment_ahead_takes(log, size))) {
        switch_segment(log);
        segment = appending(log);
    }
    struct log_arena *arena = open_block(log, size);
    *ret_position = (struct log_position){
        .segment = (uint32_t)segment->number,
        .offset = (uint32_t)(arena->offset + arena->used),
        .size = (uint32_t)size,
    };
    return arena->data + arena->used;
}

uint64_t log_write_end(struct log *log, uint8_t *at, const struct log_record *record)
{
    struct log_segment *segment = appending(log);
    struct log_arena *arena = last_arena(log);
    size_t size = log_format_put_record(at, segment->seed, record);
    arena->used += size;
    segment->end += size;
    segment->fresh = false;
    arena->last_ticket = ++log->ticket;
    return log->ticket;
}

/* ---- flushing ---- */

/* Fills the job with what is to be written next. False when that is nothing, or its file is not made yet. */
static bool fill_job(struct log *log)
{
    seal_block(log);
    struct log_segment *segment = &log->segments[log->writing];
    while (segment->written == segment->end && segment->synced_blocks == segment->blocks &&
           log->writing < log->appending) {
        log_segment_leave(log, segment);
        segment = &log->segments[++log->writing];
    }
    bool ends = log->writing < log->appending; /* the segment's mark, if it is unsynced, must not stay so */
    if (segment->written == segment->end && !(ends && segment->synced_blocks < segment->blocks)) {
        log->flush_wanted = false;
        return false;
    }
    if (!segment->made) {
        return false;
    }
    struct log_flush_job *job = &log->job;
    job->file = segment->file;
    job->segment = segment->number;
    job->offset = segment->written;
    job->bytes = 0;
    job->count = 0;
    job->sync = true;
    job->ticket = log->durable_ticket;
    job->block = segment->blocks;
    LIST_FOR_EACH (node, &log->arenas) {
        struct log_arena *arena = CONTAINER_OF(node, struct log_arena, in_log);
        if (arena->segment != segment->number || arena->written == arena->used || job->count == LOG_FLUSH_PARTS) {
            continue;
        }
        ASSERT(arena->offset + arena->written == job->offset + job->bytes);
        job->parts[job->count++] = (struct iovec){arena->data + arena->written, arena->used - arena->written};
        job->bytes += arena->used - arena->written;
        arena->written = arena->used;
        job->ticket = arena->last_ticket > job->ticket ? arena->last_ticket : job->ticket;
        job->block = arena->last_block;
    }
    log->flush_wanted = log->writing < log->appending || segment->written + job->bytes < segment->end;
    return true;
}

/* On any thread. */
static void run_job(struct env_work *work)
{
    struct log_flush_job *job = CONTAINER_OF(work, struct log_flush_job, work);
    struct env *env = job->log->env;
    job->status = STATUS_OK;
    job->operation = "write";
    if (job->count > 0) {
        job->status = env_write(env, job->file, job->offset, job->parts, job->count);
    }
    if (job->status == STATUS_OK && job->sync) {
        job->operation = "sync";
        job->status = env_sync(env, job->file);
    }
}

/* Frees the oldest arenas beyond what may be held. */
static void evict(struct log *log, size_t limit_bytes)
{
    while (log->arena_bytes > limit_bytes) {
        struct log_arena *arena = CONTAINER_OF(log->arenas.next, struct log_arena, in_log);
        bool last = arena == last_arena(log);
        if (arena->written < arena->used || (last && (log->block_open || arena->capacity <= LOG_ARENA_BYTES))) {
            return;
        }
        free_arena(log, arena);
    }
}

static void finish_job(struct log *log, int64_t started_ns)
{
    struct log_flush_job *job = &log->job;
    if (job->status != STATUS_OK) {
        log_fail(log, job->status, job->operation, job->segment);
        return;
    }
    struct log_segment *segment = log_segment_by_number(log, job->segment);
    segment->written = job->offset + job->bytes;
    log->stats.writes += job->count > 0;
    log->stats.bytes_written += job->bytes;
    if (job->sync) {
        int64_t now_ns = env_monotonic_ns(log->env);
        segment->synced_blocks = job->block;
        log->stats.syncs++;
        log->stats.last_sync_ns = now_ns - started_ns;
        if (log->stats.last_sync_ns > log->stats.maximum_sync_ns) {
            log->stats.maximum_sync_ns = log->stats.last_sync_ns;
        }
        log->last_sync_at_ns = now_ns;
        if (!log->mark_timer.armed && !log->closing) {
            env_timer_start(log->env, &log->mark_timer, now_ns + LOG_MARK_DELAY_NS);
        }
    }
    evict(log, LOG_CACHE_BYTES);
    if (job->ticket > log->durable_ticket) {
        log->durable_ticket = job->ticket;
        if (!log->closing) {
            log->events->durable(log->owner, job->ticket);
        }
    }
}

size_t log_unwritten_bytes(const struct log *log)
{
    size_t bytes = 0;
    for (const struct list *node = log->arenas.prev; node != &log->arenas; node = node->prev) {
        const struct log_arena *arena = CONTAINER_OF(node, struct log_arena, in_log);
        if (arena->written == arena->used) {
            break; /* and so are all before it */
        }
        bytes += arena->used - arena->written;
    }
    return bytes;
}

static void flush(struct log *log, enum log_sync sync)
{
    log->flushing = true;
    while (log->flush_wanted && !log->failed) {
        if (!fill_job(log)) {
            if (sync == LOG_SYNC_WHOLE && log->flush_wanted) {
                log_segment_make_now(log);
                continue;
            }
            break;
        }
        int64_t started_ns = env_monotonic_ns(log->env);
        if (sync == LOG_SYNC_BACKGROUND) {
            log->job.running = true;
            log->job.sync_ns = started_ns;
            env_work_submit(log->env, &log->job.work);
            break;
        }
        run_job(&log->job.work);
        finish_job(log, started_ns);
    }
    log->flushing = false;
    if (sync != LOG_SYNC_WHOLE) {
        log_segments_tend(log);
    }
}

static void job_done(struct env_work *work)
{
    struct log_flush_job *job = CONTAINER_OF(work, struct log_flush_job, work);
    struct log *log = job->log;
    job->running = false;
    if (log->closing) {
        (void)log_free_when_idle(log);
        return;
    }
    log->flushing = true; /* what `durable` asks for starts below, not inside */
    finish_job(log, job->sync_ns);
    log->flushing = false;
    flush(log, LOG_SYNC_BACKGROUND);
}

void log_write_init(struct log *log)
{
    list_init(&log->arenas);
    log->job = (struct log_flush_job){.work = {.run = run_job, .done = job_done}, .log = log};
    env_timer_init(&log->mark_timer, log_write_mark_due);
}

void log_flush(struct log *log, enum log_sync sync)
{
    if (log->failed) {
        return;
    }
    log->flush_wanted = true;
    if (!log->flushing && !log->job.running) {
        flush(log, sync);
    }
}

void log_write_continue(struct log *log)
{
    if (!log->flushing && !log->job.running) {
        flush(log, LOG_SYNC_BACKGROUND);
    }
}

/* ---- marks ---- */

void log_write_mark(struct log *log)
{
    struct log_segment *segment = appending(log);
    bool idle = !log->failed && !log->flushing && !log->job.running && !log->block_open &&
                log->writing == log->appending && segment->written == segment->end;
    bool stated = segment->synced_blocks < segment->blocks; /* the last block is a mark */
    if (!idle || stated || segment->blocks == 0 || segment->end + LOG_BLOCK_HEADER_BYTES > segment->size) {
        return;
    }
    (void)open_block(log, 0);
    if (fill_job(log)) {
        log->job.sync = false;
        run_job(&log->job.work);
        finish_job(log, 0);
    }
}

void log_write_mark_due(struct env_timer *timer)
{
    struct log *log = CONTAINER_OF(timer, struct log, mark_timer);
    int64_t due_ns = log->last_sync_at_ns + LOG_MARK_DELAY_NS;
    if (env_monotonic_ns(log->env) < due_ns) {
        env_timer_start(log->env, timer, due_ns);
    } else {
        log_write_mark(log);
        if (!log->job.running) {         /* else it is not idle, and arenas that count as written are being so */
            evict(log, LOG_ARENA_BYTES); /* readers that are still behind find it in the file */
        }
    }
}

/* ---- cache ---- */

const uint8_t *log_write_cached(const struct log *log, uint64_t segment, uint64_t offset)
{
    for (struct list *at = log->arenas.prev; at != &log->arenas; at = at->prev) {
        const struct log_arena *arena = CONTAINER_OF(at, struct log_arena, in_log);
        if (arena->segment == segment && offset >= arena->offset && offset - arena->offset < arena->used) {
            return arena->data + (offset - arena->offset);
        }
    }
    return NULL;
}
