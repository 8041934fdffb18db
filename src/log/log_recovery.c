/* From files to a log that takes appends.
 *
 * Blocks are walked in order. At the first place without a good block the log ends, or is damaged; which one, the bytes
 * behind it tell: a header there (of this segment, so of a block that was made later) which states that more blocks
 * were synced than were found, or any block in a later segment when this one's end is not where that block says. Then a
 * synced block is damaged, and the log refuses to open. Otherwise the bytes behind are a tail that never was
 * acknowledged: they become zeros, and those are synced, before anything is appended; so no byte of a lost tail can
 * join later blocks.
 *
 * What was found is synced too before log_open returns: it may have been written, not synced, by a process that was
 * killed. */
#include "log/log_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "log/storage_advice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A segment, and one record that made it larger. */
#define LARGEST_FILE_BYTES (LOG_MAXIMUM_SEGMENT_BYTES + (uint64_t)LOG_MAXIMUM_ENTRY_BYTES + 1024 * 1024)

struct recovery {
    struct log *log;
    char *message;
    size_t message_capacity;
    uint64_t *numbers; /* of the files in the folder */
    size_t count, capacity;
    struct buffer temporary; /* names, each with NUL */
    struct buffer bytes;     /* of the segment at hand */
};

/* The failure of one file: "<path>: <text>: <advice>". */
__attribute__((format(printf, 4, 5))) static enum status refuse(struct recovery *recovery, enum status status,
                                                                const char *path, const char *format, ...)
{
    char text[LOG_PATH_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)snprintf(recovery->message, recovery->message_capacity, "%s: %s; %s", path, text, storage_advice(status));
    return status;
}

static enum status refuse_segment(struct recovery *recovery, enum status status, uint64_t number, const char *operation)
{
    char path[LOG_PATH_BYTES];
    log_segment_path(recovery->log, number, path);
    return refuse(recovery, status, path, "cannot %s: %s", operation, status_text(status));
}

static enum status damaged(struct recovery *recovery, uint64_t number, uint64_t offset, const char *what)
{
    char path[LOG_PATH_BYTES];
    log_segment_path(recovery->log, number, path);
    return refuse(recovery, STATUS_CORRUPT, path, "damaged at byte %" PRIu64 ": %s", offset, what);
}

/* ---- the folder ---- */

static void add_name(void *owner, const char *name)
{
    struct recovery *recovery = owner;
    uint64_t number;
    if (log_format_parse_name(name, &number)) {
        if (recovery->count == recovery->capacity) {
            recovery->capacity = recovery->capacity == 0 ? 16 : recovery->capacity * 2;
            recovery->numbers = memory_resize(recovery->numbers, recovery->capacity * sizeof(recovery->numbers[0]));
        }
        recovery->numbers[recovery->count++] = number;
    }
    size_t size = strlen(name);
    if (size > 8 && strcmp(name + size - 8, ".log.tmp") == 0) {
        buffer_append(&recovery->temporary, name, size + 1);
    }
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static enum status list_files(struct recovery *recovery)
{
    struct log *log = recovery->log;
    enum status status = env_list_directory(log->env, log->directory, add_name, recovery);
    if (status != STATUS_OK) {
        return refuse(recovery, status, log->directory, "cannot list the folder: %s", status_text(status));
    }
    if (recovery->count > 0) {
        qsort(recovery->numbers, recovery->count, sizeof(recovery->numbers[0]), compare_numbers);
    }
    for (size_t i = 1; i < recovery->count; i++) {
        if (recovery->numbers[i] != recovery->numbers[i - 1] + 1) {
            char path[LOG_PATH_BYTES];
            log_segment_path(log, recovery->numbers[i - 1] + 1, path);
            return refuse(recovery, STATUS_CORRUPT, path, "this file is missing, though later ones are there");
        }
    }
    return STATUS_OK;
}

/* Files that a crash left half made. */
static enum status remove_temporary(struct recovery *recovery)
{
    struct log *log = recovery->log;
    for (size_t at = 0; at < recovery->temporary.size;) {
        const char *name = (const char *)recovery->temporary.data + at;
        at += strlen(name) + 1;
        char path[LOG_PATH_BYTES + 256];
        (void)snprintf(path, sizeof(path), "%s/%.250s", log->directory, name);
        enum status status = env_unlink(log->env, path);
        if (status != STATUS_OK) {
            return refuse(recovery, status, path, "cannot remove: %s", status_text(status));
        }
    }
    return STATUS_OK;
}

/* ---- one file ---- */

static enum status read_file(struct recovery *recovery, uint64_t number, struct env_file **ret_file)
{
    struct log *log = recovery->log;
    char path[LOG_PATH_BYTES];
    log_segment_path(log, number, path);
    struct env_file *file = NULL;
    enum status status = env_open(log->env, path, ENV_OPEN_READ | ENV_OPEN_WRITE, &file);
    if (status != STATUS_OK) {
        return refuse_segment(recovery, status, number, "open");
    }
    uint64_t size = 0;
    size_t got = 0;
    status = env_size(log->env, file, &size);
    if (status == STATUS_OK && size > LARGEST_FILE_BYTES) {
        env_close(log->env, file);
        return damaged(recovery, number, LARGEST_FILE_BYTES, "no segment is as large as this file");
    }
    if (status == STATUS_OK) {
        buffer_clear(&recovery->bytes);
        status = env_read(log->env, file, 0, buffer_reserve(&recovery->bytes, size + 1), size, &got);
    }
    if (status != STATUS_OK) {
        env_close(log->env, file);
        return refuse_segment(recovery, status, number, "read");
    }
    recovery->bytes.size = got;
    *ret_file = file;
    return STATUS_OK;
}

/* Someone put a file of another folder here, or all of them. */
static enum status foreign(struct recovery *recovery, uint64_t number, const struct folder_name *folder)
{
    char path[LOG_PATH_BYTES];
    char text[FOLDER_NAME_TEXT_BYTES];
    log_segment_path(recovery->log, number, path);
    folder_name_explain(folder, &recovery->log->folder, text);
    return refuse(recovery, STATUS_INVALID, path, "%s", text);
}

/* Reads the file and adds its segment to the log, without blocks as yet. */
static enum status open_segment(struct recovery *recovery, uint64_t number)
{
    struct env_file *file = NULL;
    enum status status = read_file(recovery, number, &file);
    if (status != STATUS_OK) {
        return status;
    }
    env_close(recovery->log->env, file);
    struct log_segment_header header = {0};
    enum log_header_fault fault = log_format_take_segment(buffer_slice(&recovery->bytes), &header);
    bool ours = folder_name_equal(&header.folder, &recovery->log->folder);
    if (fault == LOG_HEADER_OK && header.number == number && ours) {
        if (recovery->bytes.size < header.size) { /* it got its name when all its zeros were synced */
            return damaged(recovery, number, recovery->bytes.size, "the file ends here, though it was made larger");
        }
        log_segment_push(recovery->log, &header)->made = true;
        return STATUS_OK;
    }
    char path[LOG_PATH_BYTES];
    log_segment_path(recovery->log, number, path);
    switch (fault) {
    case LOG_HEADER_OK:
        return ours ? damaged(recovery, number, 16, "the header names another segment")
                    : foreign(recovery, number, &header.folder);
    case LOG_HEADER_MAGIC: return damaged(recovery, number, 0, "this is no log segment");
    case LOG_HEADER_CHECKSUM: return damaged(recovery, number, 0, "the header's checksum is wrong");
    case LOG_HEADER_VERSION:
        return refuse(recovery, STATUS_VERSION, path, "its format is version %" PRIu32 ", this cohort knows version %d",
                      get_u32(recovery->bytes.data + 8), LOG_FORMAT_VERSION);
    }
    UNREACHABLE();
}

/* ---- blocks ---- */

static struct slice bytes_from(const struct recovery *recovery, uint64_t offset)
{
    const struct buffer *bytes = &recovery->bytes;
    return offset < bytes->size ? slice_of(bytes->data + offset, bytes->size - offset) : (struct slice){0};
}

/* Takes blocks from the segment's end as long as they are good. */
static enum status walk_blocks(struct recovery *recovery, struct log_segment *segment)
{
    struct log *log = recovery->log;
    bool mark = false;
    for (;;) {
        struct slice rest = bytes_from(recovery, segment->end);
        struct log_block_header header;
        struct slice body;
        if (!log_format_take_block(rest, segment->seed, segment->number, &header) ||
            header.sequence != segment->blocks + 1 || !log_format_take_body(rest, segment->seed, &header, &body)) {
            break;
        }
        uint64_t offset = segment->end + LOG_BLOCK_HEADER_BYTES;
        const char *wrong = log_replay_body(log, segment, body, &offset);
        if (wrong != NULL) {
            return damaged(recovery, segment->number, offset, wrong);
        }
        segment->previous = header.previous;
        segment->blocks++;
        segment->end += LOG_BLOCK_HEADER_BYTES + body.size;
        mark = body.size == 0;
    }
    segment->written = segment->end;
    segment->synced_blocks = segment->blocks - (mark ? 1 : 0);
    return STATUS_OK;
}

/* Looks behind the segment's end for a proof that it is not the end. */
static enum status look_behind(struct recovery *recovery, const struct log_segment *segment)
{
    for (uint64_t at = segment->end; at + LOG_BLOCK_HEADER_BYTES <= recovery->bytes.size; at += LOG_BLOCK_ALIGNMENT) {
        struct log_block_header header;
        if (!log_format_take_block(bytes_from(recovery, at), segment->seed, segment->number, &header)) {
            continue;
        }
        if (header.synced > segment->blocks) {
            char what[128];
            (void)snprintf(what, sizeof(what),
                           "a block that was synced, as the one at byte %" PRIu64 " states, is not as it was written",
                           at);
            return damaged(recovery, segment->number, segment->end, what);
        }
    }
    return STATUS_OK;
}

/* What the first good header of a segment says about the end of the one before. */
static enum status check_previous(struct recovery *recovery, const struct log_segment *before,
                                  const struct log_segment *later)
{
    struct log_block_header header;
    for (uint64_t at = LOG_SEGMENT_START; at + LOG_BLOCK_HEADER_BYTES <= recovery->bytes.size;
         at += LOG_BLOCK_ALIGNMENT) {
        if (!log_format_take_block(bytes_from(recovery, at), later->seed, later->number, &header)) {
            continue;
        }
        return header.previous == before->blocks
                   ? STATUS_OK
                   : damaged(recovery, before->number, before->end,
                             "a block that was synced, as the next segment proves, is not as it was written");
    }
    return STATUS_OK;
}

/* Where the blocks end that a later block states to be synced. */
static uint64_t proven_end(const struct recovery *recovery, const struct log_segment *segment)
{
    uint64_t synced = 0;
    uint64_t end = LOG_SEGMENT_START;
    for (int pass = 0; pass < 2; pass++) {
        uint64_t at = LOG_SEGMENT_START;
        for (uint64_t i = 1; i <= segment->blocks; i++) {
            struct log_block_header header = {0};
            (void)log_format_take_block(bytes_from(recovery, at), segment->seed, segment->number, &header);
            synced = header.synced > synced ? header.synced : synced;
            at += LOG_BLOCK_HEADER_BYTES + header.body_size;
            end = i <= synced ? at : end;
        }
    }
    return end;
}

/* Makes the bytes behind the segment's end zeros, and writes those again that are not proven to be synced: after a
 * failed sync, reads give what the disk may not have, and only a new write brings it there. */
static enum status rewrite_tail(struct recovery *recovery, const struct log_segment *segment)
{
    struct log *log = recovery->log;
    uint64_t last = recovery->bytes.size;
    while (last > segment->end && recovery->bytes.data[last - 1] == 0) {
        last--;
    }
    if (last > segment->end) {
        memset(recovery->bytes.data + segment->end, 0, last - segment->end);
        log->stats.cut_bytes += last - segment->end;
    }
    last = last > segment->end ? last : segment->end;
    uint64_t first = proven_end(recovery, segment);
    if (first == last) {
        return STATUS_OK;
    }
    struct iovec part = {recovery->bytes.data + first, last - first};
    enum status status = env_write(log->env, segment->file, first, &part, 1);
    return status == STATUS_OK ? status : refuse_segment(recovery, status, segment->number, "settle the end");
}

static enum status recover_segment(struct recovery *recovery, uint64_t number)
{
    struct log *log = recovery->log;
    enum status status = open_segment(recovery, number);
    if (status != STATUS_OK) {
        return status;
    }
    size_t at = log->segment_count - 1;
    struct log_segment *segment = &log->segments[at];
    if (at > 0) {
        status = check_previous(recovery, &log->segments[at - 1], segment);
    }
    if (status == STATUS_OK) {
        status = walk_blocks(recovery, segment);
    }
    if (status == STATUS_OK) {
        status = look_behind(recovery, segment);
    }
    if (status == STATUS_OK && at == 0 && number > 1 && segment->blocks == 0) {
        /* Segments before this one were removed, which they are only once its first block is synced. */
        return damaged(recovery, number, LOG_SEGMENT_START, "the first block is not as it was written");
    }
    return status;
}

/* Entries that a missing file held must have been trimmed later on. */
static enum status check_complete(struct recovery *recovery)
{
    struct log *log = recovery->log;
    for (size_t i = 0; i < log->group_count; i++) {
        const struct log_group *group = log->groups[i];
        if (group->first != group->trimmed + 1) {
            return refuse(recovery, STATUS_CORRUPT, log->directory,
                          "entries %" PRIu64 " to %" PRIu64 " of group %" PRIu32
                          " are missing: a segment file before %016" PRIu64 ".log is gone",
                          group->trimmed + 1, group->first - 1, group->id, log->segments[0].number);
        }
    }
    return STATUS_OK;
}

/* Tails become zeros; everything found becomes durable. */
static enum status settle(struct recovery *recovery)
{
    struct log *log = recovery->log;
    for (size_t i = log->appending; i < log->segment_count; i++) {
        struct log_segment *segment = &log->segments[i];
        enum status status = read_file(recovery, segment->number, &segment->file);
        if (status != STATUS_OK) {
            return status;
        }
        status = rewrite_tail(recovery, segment);
        if (status != STATUS_OK) {
            return status;
        }
        status = env_sync(log->env, segment->file);
        if (status != STATUS_OK) {
            return refuse_segment(recovery, status, segment->number, "sync");
        }
    }
    enum status status = env_sync_directory(log->env, log->directory);
    return status == STATUS_OK ? status
                               : refuse(recovery, status, log->directory, "cannot sync: %s", status_text(status));
}

/* The first segment of a new log. */
static enum status make_first(struct recovery *recovery)
{
    struct log *log = recovery->log;
    log_segment_add(log, 0);
    log_chore_make(log, &log->segments[0]);
    log_chore_run(&log->chore.work);
    if (log->chore.status != STATUS_OK) {
        return refuse_segment(recovery, log->chore.status, 1, log->chore.operation);
    }
    log->segments[0].made = true;
    log->segments[0].file = log->chore.file;
    log->chore.file = NULL;
    return STATUS_OK;
}

static enum status recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    enum status status = list_files(recovery);
    if (status == STATUS_OK) {
        status = remove_temporary(recovery);
    }
    if (status != STATUS_OK || recovery->count == 0) {
        return status == STATUS_OK ? make_first(recovery) : status;
    }
    for (size_t i = 0; i < recovery->count && status == STATUS_OK; i++) {
        status = recover_segment(recovery, recovery->numbers[i]);
    }
    if (status == STATUS_OK) {
        status = check_complete(recovery);
    }
    if (status == STATUS_OK) {
        log->appending = log->segment_count - 1;
        while (log->appending > 0 && log->segments[log->appending].blocks == 0) {
            log->appending--;
        }
        log->writing = log->appending;
        status = settle(recovery);
    }
    return status;
}

enum status log_recover(struct log *log, char *ret_message, size_t message_capacity)
{
    struct recovery recovery = {.log = log, .message = ret_message, .message_capacity = message_capacity};
    enum status status = recover(&recovery);
    free(recovery.numbers);
    buffer_deinit(&recovery.temporary);
    buffer_deinit(&recovery.bytes);
    return status;
}
