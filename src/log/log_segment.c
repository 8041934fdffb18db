/* Segment files: made in the background before they are needed, removed when nothing in them is.
 *
 * A file is made under a temporary name, zeros written and synced, then renamed: so a name ending in .log always stands
 * for a whole file with a good header, and writing into it later changes no metadata (which makes fdatasync half as
 * dear as on a growing file, and spares the stalls of allocation). A removal is synced before the next, so that the
 * numbers of the files that are there never have a gap. */
#include "log/log_internal.h"

#include "base/assert.h"

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
        log->segments = realloc(log->segments, log->segment_capacity * sizeof(log->segments[0]));
        ASSERT(log->segments != NULL);
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

void log_segment_add(struct log *log)
{
    struct log_segment_header header = {.number = 1, .size = LOG_FIRST_SEGMENT_BYTES};
    if (log->segment_count > 0) {
        const struct log_segment *last = &log->segments[log->segment_count - 1];
        header.number = last->number + 1;
        header.size = last->size * 2;
    }
    header.size = header.size < log->segment_bytes ? header.size : log->segment_bytes;
    /* A checkpoint of many groups must not fill what it opens. */
    uint64_t least = (4 * log_checkpoint_bytes(log) + LOG_MINIMUM_SEGMENT_BYTES) & ~(uint64_t)(ZERO_BYTES - 1);
    header.size = header.size > least ? header.size : least;
    env_random(log->env, &header.salt, sizeof(header.salt));
    (void)log_segment_push(log, &header);
}

void log_segment_path(const struct log *log, uint64_t number, char path[LOG_PATH_BYTES])
{
    char name[LOG_NAME_BYTES];
    log_format_name(number, name);
    (void)snprintf(path, LOG_PATH_BYTES, "%s/%s", log->directory, name);
}

void log_segments_deinit(struct log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        if (log->segments[i].file != NULL) {
            env_close(log->env, log->segments[i].file);
        }
    }
    free(log->segments);
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
    env_close(env, chore->file);
    chore->file = NULL;
    chore->status = env_unlink(env, chore->path);
    if (chore->status == STATUS_OK) {
        chore->status = env_sync_directory(env, directory);
    }
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
    struct log_segment *segment = log_segment_by_number(log, chore->header.number);
    if (chore->status == STATUS_OK && !chore->removal) {
        segment->file = chore->file;
        chore->file = NULL;
        log->prepare_status = STATUS_OK;
    } else if (chore->status != STATUS_OK) {
        log->prepare_status = chore->status;
        log->prepare_again_ns = env_monotonic_ns(log->env) + LOG_PREPARE_AGAIN_NS;
        if (chore->removal || (log->flush_wanted && segment == &log->segments[log->writing])) {
            log_fail(log, chore->status, chore->operation, chore->header.number);
            return;
        }
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

/* After a failure (a full disk, most often) it is tried again now and then. */
static bool may_make(struct log *log)
{
    if (log->prepare_status == STATUS_OK) {
        return true;
    }
    int64_t now_ns = env_monotonic_ns(log->env);
    if (now_ns < log->prepare_again_ns) {
        return false;
    }
    log->prepare_again_ns = now_ns + LOG_PREPARE_AGAIN_NS;
    return true;
}

uint64_t log_room(struct log *log)
{
    if (log->prepare_status == STATUS_OK) {
        return UINT64_MAX;
    }
    log_segments_tend(log);
    const struct log_segment *appending = &log->segments[log->appending];
    if (appending->file == NULL) {
        return 0;
    }
    uint64_t room = appending->size > appending->end ? appending->size - appending->end : 0;
    for (size_t i = log->appending + 1; i < log->segment_count && log->segments[i].file != NULL; i++) {
        room += log->segments[i].size / 2; /* the rest for headers, and for what does not fit at an end */
    }
    return room > LOG_ROOM_MARGIN_BYTES ? room - LOG_ROOM_MARGIN_BYTES : 0;
}

void log_segments_tend(struct log *log)
{
    if (log->failed || log->closing || log->chore.running) {
        return;
    }
    const struct log_segment *appending = &log->segments[log->appending];
    if (log->appending + 1 == log->segment_count && appending->end > appending->size / 2) {
        log_segment_add(log);
    }
    for (size_t i = log->writing; i < log->segment_count; i++) {
        if (log->segments[i].file == NULL && may_make(log)) {
            log_chore_make(log, &log->segments[i]);
            submit(log);
            return;
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
