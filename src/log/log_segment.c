/* Segment files: made in the background before they are needed, removed when nothing in them is.
 *
 * A file is made under a temporary name, zeros written and synced, then renamed: so a name ending in .log always stands
 * for a whole file with a good header, and writing into it later changes no metadata (which makes fdatasync half as
 * dear as on a growing file, and spares the stalls of allocation). A removal is synced before the next, so that the
 * numbers of the files that are there never have a gap. */
#include "log/log_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ZERO_BYTES = 64 * 1024, ZERO_PARTS = 16 };

static const uint8_t zeros[ZERO_BYTES];

struct log_segment *log_segment_by_number(const struct log *log, uint64_t number)
{
    if (log->segment_count == 0 || number < log->segments[0].number ||
        number - log->segments[0].number >= log->segment_count) {
        return NULL;
    }
    return &log->segments[number - log->segments[0].number];
}

struct log_segment *log_segment_push(struct log *log, const struct log_segment_header *header)
{
    ASSERT(header->number <= UINT32_MAX);
    if (log->segment_count == log->segment_capacity) {
        log->segment_capacity = log->segment_capacity == 0 ? 8 : log->segment_capacity * 2;
        log->segments = memory_resize(log->segments, log->segment_capacity * sizeof(log->segments[0]));
    }
    struct log_segment *segment = &log->segments[log->segment_count++];
    *segment = (struct log_segment){
        .number = header->number,
        .salt = header->salt,
        .size = header->size,
        .seed = log_format_seed(header->salt),
        .end = LOG_SEGMENT_START,
        .written = LOG_SEGMENT_START,
    };
    return segment;
}

/* Bytes of a segment before its first record: header page and checkpoint. */
static uint64_t start_bytes(const struct log *log)
{
    return LOG_SEGMENT_START + LOG_BLOCK_HEADER_BYTES + LOG_RECORD_HEADER_BYTES + log_checkpoint_bytes(log);
}

bool log_segment_takes(const struct log *log, const struct log_segment *segment, uint64_t record_bytes)
{
    uint64_t end = segment->started ? segment->end : start_bytes(log);
    /* The open block may have to be sealed, and so will be the record's own. */
    return end + LOG_BLOCK_ALIGNMENT + LOG_BLOCK_HEADER_BYTES + record_bytes + LOG_BLOCK_ALIGNMENT <= segment->size;
}

bool log_segment_ahead_takes(const struct log *log, uint64_t record_bytes)
{
    for (size_t i = log->appending + 1; i < log->segment_count && log->segments[i].made; i++) {
        if (log_segment_takes(log, &log->segments[i], record_bytes)) {
            return true;
        }
    }
    return false;
}

/* Each segment has twice the size of the one before, up to the largest. */
static uint64_t next_size(const struct log *log, uint64_t least_bytes)
{
    uint64_t size = log->segment_count == 0 ? LOG_FIRST_SEGMENT_BYTES : log->segments[log->segment_count - 1].size * 2;
    size = size < log->segment_bytes ? size : log->segment_bytes;
    /* A checkpoint of many groups must not fill what it opens. */
    uint64_t least = (4 * log_checkpoint_bytes(log) + LOG_MINIMUM_SEGMENT_BYTES) & ~(uint64_t)(ZERO_BYTES - 1);
    least = least > least_bytes ? least : (least_bytes + ZERO_BYTES - 1) & ~(uint64_t)(ZERO_BYTES - 1);
    return size > least ? size : least;
}

void log_segment_add(struct log *log, uint64_t least_bytes)
{
    struct log_segment_header header = {
        .number = log->segment_count == 0 ? 1 : log->segments[log->segment_count - 1].number + 1,
        .size = next_size(log, least_bytes),
    };
    env_random(log->env, &header.salt, sizeof(header.salt));
    (void)log_segment_push(log, &header);
}

void log_segment_path(const struct log *log, uint64_t number, char path[LOG_PATH_BYTES])
{
    char name[LOG_NAME_BYTES];
    log_format_name(number, name);
    (void)snprintf(path, LOG_PATH_BYTES, "%s/%s", log->directory, name);
}

/* The time after a failure is over. */
static void prepare_due(struct env_timer *timer)
{
    struct log *log = CONTAINER_OF(timer, struct log, prepare_timer);
    if (log->flush_wanted) {
        log_write_continue(log);
    }
}

void log_segments_init(struct log *log) { env_timer_init(&log->prepare_timer, prepare_due); }

void log_segments_deinit(struct log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        if (log->segments[i].file != NULL) {
            env_close(log->env, log->segments[i].file);
        }
    }
    free(log->segments);
}

/* ---- files for readers ---- */

static void close_oldest(struct log *log)
{
    struct log_segment *segment = log_segment_by_number(log, log->read_files[0]);
    if (segment != NULL) { /* not removed meanwhile */
        env_close(log->env, segment->file);
        segment->file = NULL;
    }
    log->read_file_count--;
    memmove(&log->read_files[0], &log->read_files[1], log->read_file_count * sizeof(log->read_files[0]));
}

void log_segment_leave(struct log *log, struct log_segment *segment)
{
    ASSERT(segment->file != NULL);
    if (log->read_file_count == LOG_READ_FILES) {
        close_oldest(log);
    }
    log->read_files[log->read_file_count++] = segment->number;
}

enum status log_segment_open(struct log *log, struct log_segment *segment)
{
    if (segment->file != NULL) {
        return STATUS_OK;
    }
    if (log->read_file_count == LOG_READ_FILES) {
        close_oldest(log);
    }
    char path[LOG_PATH_BYTES];
    log_segment_path(log, segment->number, path);
    enum status status = env_open(log->env, path, ENV_OPEN_READ, &segment->file);
    while (status == STATUS_FULL && log->read_file_count > 0) { /* no descriptors: one of ours will do */
        close_oldest(log);
        status = env_open(log->env, path, ENV_OPEN_READ, &segment->file);
    }
    if (status == STATUS_OK) {
        log_segment_leave(log, segment);
    }
    return status;
}

/* ---- chores ---- */

/* Header and zeros. Synced piece by piece, so that a flush beside it waits for one piece at most. */
static enum status write_image(struct env *env, struct env_file *file, const struct log_segment_header *header)
{
    uint8_t page[LOG_SEGMENT_START] = {0};
    log_format_put_segment(page, header);
    struct iovec parts[ZERO_PARTS] = {{page, sizeof(page)}};
    enum status status = env_write(env, file, 0, parts, 1);
    uint64_t at = sizeof(page);
    while (status == STATUS_OK && at < header->size) {
        int count = 0;
        uint64_t from = at;
        for (; count < ZERO_PARTS && at < header->size; count++) {
            size_t size = header->size - at < ZERO_BYTES ? (size_t)(header->size - at) : ZERO_BYTES;
            parts[count] = (struct iovec){(void *)(uintptr_t)zeros, size};
            at += size;
        }
        status = env_write(env, file, from, parts, count);
        if (status == STATUS_OK) {
            status = env_sync(env, file);
        }
    }
    return status;
}

static enum status make_file(struct env *env, const char *directory, struct log_chore *chore)
{
    chore->operation = "make";
    enum status status = env_open(env, chore->temporary,
                                  ENV_OPEN_READ | ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &chore->file);
    if (status != STATUS_OK) {
        return status;
    }
    status = write_image(env, chore->file, &chore->header);
    if (status == STATUS_OK) {
        status = env_rename(env, chore->temporary, chore->path);
    }
    if (status == STATUS_OK) {
        status = env_sync_directory(env, directory);
    }
    if (status != STATUS_OK) {
        env_close(env, chore->file);
        chore->file = NULL;
        enum status removed = env_unlink(env, chore->temporary);
        (void)removed; /* else the next start removes it */
    }
    return status;
}

void log_chore_run(struct env_work *work)
{
    struct log_chore *chore = CONTAINER_OF(work, struct log_chore, work);
    struct env *env = chore->log->env;
    const char *directory = chore->log->directory;
    if (!chore->removal) {
        chore->status = make_file(env, directory, chore);
        return;
    }
    chore->operation = "remove";
    if (chore->file != NULL) {
        env_close(env, chore->file);
        chore->file = NULL;
    }
    chore->status = env_unlink(env, chore->path);
    if (chore->status == STATUS_OK) {
        chore->status = env_sync_directory(env, directory);
    }
}

/* What a broken disk says; anything else may pass. */
static bool is_final(enum status status) { return status == STATUS_IO || status == STATUS_READONLY; }

/* The chore has made a segment, or has not. False when that is the end of the log. */
static bool made(struct log *log)
{
    struct log_chore *chore = &log->chore;
    struct log_segment *segment = log_segment_by_number(log, chore->header.number);
    log->prepare_status = chore->status;
    if (chore->status == STATUS_OK) {
        segment->made = true;
        segment->file = chore->file;
        chore->file = NULL;
        return true;
    }
    if (is_final(chore->status) && log->flush_wanted && segment == &log->segments[log->writing]) {
        log_fail(log, chore->status, chore->operation, chore->header.number);
        return false;
    }
    log->refused_status = chore->status;
    log->refused_bytes = chore->header.size;
    env_timer_start(log->env, &log->prepare_timer, env_monotonic_ns(log->env) + LOG_PREPARE_AGAIN_NS);
    /* What nothing was appended to may be asked for in another size. */
    while (log->segment_count > log->appending + 1 && !log->segments[log->segment_count - 1].made) {
        log->segment_count--;
    }
    return true;
}

void log_chore_done(struct env_work *work)
{
    struct log_chore *chore = CONTAINER_OF(work, struct log_chore, work);
    struct log *log = chore->log;
    chore->running = false;
    if (log->closing) {
        if (chore->file != NULL) {
            env_close(log->env, chore->file);
            chore->file = NULL;
        }
        (void)log_free_when_idle(log);
        return;
    }
    if (chore->removal) {
        if (chore->status != STATUS_OK) {
            log_fail(log, chore->status, chore->operation, chore->header.number);
            return;
        }
    } else if (!made(log)) {
        return;
    }
    log_write_continue(log);
}

static void describe(struct log *log, uint64_t number)
{
    struct log_chore *chore = &log->chore;
    chore->header.number = number;
    log_segment_path(log, number, chore->path);
    (void)snprintf(chore->temporary, sizeof(chore->temporary), "%s/%016" PRIu64 ".log.tmp", log->directory, number);
}

void log_chore_make(struct log *log, const struct log_segment *segment)
{
    describe(log, segment->number);
    log->chore.removal = false;
    log->chore.header.salt = segment->salt;
    log->chore.header.size = segment->size;
    log->chore.header.folder = log->folder;
}

void log_segment_make_now(struct log *log)
{
    struct log_segment *segment = &log->segments[log->writing];
    ASSERT(!log->chore.running && !segment->made);
    log_chore_make(log, segment);
    log_chore_run(&log->chore.work);
    if (log->chore.status != STATUS_OK) {
        log_fail(log, log->chore.status, log->chore.operation, segment->number);
        return;
    }
    segment->made = true;
    segment->file = log->chore.file;
    log->chore.file = NULL;
}

static void submit(struct log *log)
{
    log->chore.running = true;
    env_work_submit(log->env, &log->chore.work);
}

/* The oldest segment, when nothing needs it (invariant 5 of log.h). */
static bool removable(const struct log *log)
{
    const struct log_segment *oldest = &log->segments[0];
    return log->writing > 0 && oldest->live == 0 && oldest->dead_ticket <= log->durable_ticket &&
           log->segments[1].start_ticket <= log->durable_ticket && log->job.segment != oldest->number;
}

/* After a failure (a full disk, most often) as much is tried again now and then. */
static bool may_make(const struct log *log, uint64_t size)
{
    return !log->prepare_timer.armed || size < log->refused_bytes;
}

enum status log_reserve(struct log *log, uint64_t bytes)
{
    if (log->failed) {
        return STATUS_CLOSED;
    }
    uint64_t record = LOG_RECORD_HEADER_BYTES + bytes;
    const struct log_segment *appending = &log->segments[log->appending];
    if (appending->made && (log_segment_takes(log, appending, record + LOG_RESERVE_BYTES) ||
                            log_segment_ahead_takes(log, record + LOG_RESERVE_BYTES))) {
        return STATUS_OK;
    }
    const struct log_segment *last = &log->segments[log->segment_count - 1];
    uint64_t least = start_bytes(log) + record + LOG_RESERVE_BYTES + LOG_BLOCK_HEADER_BYTES + 2L * LOG_BLOCK_ALIGNMENT;
    bool comes = !last->made;
    uint64_t size = comes ? last->size : next_size(log, least);
    if (may_make(log, size)) {
        if (!comes) {
            log_segment_add(log, least);
        }
        log_segments_tend(log);
        return STATUS_AGAIN;
    }
    if (is_final(log->refused_status)) {
        log_fail(log, log->refused_status, "make", last->number + (comes ? 0 : 1));
        return STATUS_CLOSED;
    }
    return log->refused_status;
}

void log_segments_tend(struct log *log)
{
    if (log->failed || log->closing || log->chore.running) {
        return;
    }
    const struct log_segment *appending = &log->segments[log->appending];
    if (log->appending + 1 == log->segment_count && appending->end > appending->size / 2) {
        log_segment_add(log, 0);
    }
    for (size_t i = log->writing; i < log->segment_count; i++) {
        if (!log->segments[i].made) {
            if (may_make(log, log->segments[i].size)) {
                log_chore_make(log, &log->segments[i]);
                submit(log);
                return;
            }
            break; /* in order, so that no number is left out */
        }
    }
    if (removable(log)) {
        describe(log, log->segments[0].number);
        log->chore.removal = true;
        log->chore.file = log->segments[0].file;
        memmove(&log->segments[0], &log->segments[1], --log->segment_count * sizeof(log->segments[0]));
        log->appending--;
        log->writing--;
        submit(log);
    }
}
