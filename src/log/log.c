/* The door of the log: open and close, append, read, look. */
#include "log/log_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

enum { WINDOW_BYTES = 256 * 1024 };

enum status log_open(struct env *env, const struct log_options *options, const struct log_events *events, void *owner,
                     struct log **ret_log, char *ret_message, size_t message_capacity)
{
    ASSERT(options->segment_bytes == 0 || (options->segment_bytes >= LOG_MINIMUM_SEGMENT_BYTES &&
                                           options->segment_bytes <= LOG_MAXIMUM_SEGMENT_BYTES));
    ASSERT(!id128_is_zero(&options->folder.incarnation));
    struct log *log = memory_allocate_zeroed(1, sizeof(*log));
    ASSERT(strlen(options->directory) < sizeof(log->directory));
    memcpy(log->directory, options->directory, strlen(options->directory) + 1);
    log->env = env;
    log->segment_bytes = options->segment_bytes == 0 ? LOG_DEFAULT_SEGMENT_BYTES : options->segment_bytes;
    log->folder = options->folder;
    log->events = events;
    log->owner = owner;
    log->chore = (struct log_chore){.work = {.run = log_chore_run, .done = log_chore_done}, .log = log};
    log_write_init(log);
    log_segments_init(log);
    enum status status = log_recover(log, ret_message, message_capacity);
    if (status != STATUS_OK) {
        log->failed = true;
        log_close(log);
        return status;
    }
    *ret_log = log;
    return STATUS_OK;
}

bool log_free_when_idle(struct log *log)
{
    if (!log->closing || log->job.running || log->chore.running) {
        return false;
    }
    log_segments_deinit(log);
    log_groups_deinit(log);
    log_write_deinit(log);
    free(log);
    return true;
}

void log_close(struct log *log)
{
    if (log == NULL) {
        return;
    }
    log->closing = true;
    env_timer_stop(log->env, &log->mark_timer);
    env_timer_stop(log->env, &log->prepare_timer);
    if (!log->failed) {
        log_write_mark(log);
    }
    (void)log_free_when_idle(log);
}

/* ---- appending ---- */

uint64_t log_append(struct log *log, uint32_t group_id, const struct log_entry *entry, const struct slice *parts,
                    int count)
{
    struct log_group *group = log_group_get(log, group_id);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].size;
    }
    ASSERT(size <= LOG_MAXIMUM_ENTRY_BYTES);
    ASSERT(entry->index > group->trimmed && entry->index <= log_group_last(group) + 1);
    struct log_position position;
    uint8_t *at = log_write_begin(log, size, &position);
    uint8_t *to = at + LOG_RECORD_HEADER_BYTES;
    for (int i = 0; i < count; i++) {
        if (parts[i].size > 0) {
            memcpy(to, parts[i].data, parts[i].size);
        }
        to += parts[i].size;
    }
    uint64_t ticket = log_write_end(log, at,
                                    &(struct log_record){.group = group_id,
                                                         .type = LOG_RECORD_ENTRY,
                                                         .kind = entry->kind,
                                                         .a = entry->index,
                                                         .b = entry->term,
                                                         .payload = {at + LOG_RECORD_HEADER_BYTES, size}});
    position.term = entry->term;
    log_group_cut(log, group, entry->index, ticket);
    log_group_add(log, group, &position);
    return ticket;
}

uint64_t log_append_hard_state(struct log *log, uint32_t group_id, const struct log_hard_state *state)
{
    struct log_group *group = log_group_get(log, group_id);
    struct log_position position;
    uint8_t *at = log_write_begin(log, sizeof(uint64_t), &position);
    put_u64(at + LOG_RECORD_HEADER_BYTES, state->committed);
    group->hard_state = *state;
    return log_write_end(log, at,
                         &(struct log_record){.group = group_id,
                                              .type = LOG_RECORD_HARD_STATE,
                                              .a = state->term,
                                              .b = state->vote,
                                              .payload = {at + LOG_RECORD_HEADER_BYTES, sizeof(uint64_t)}});
}

uint64_t log_append_trim(struct log *log, uint32_t group_id, uint64_t index, uint64_t term)
{
    struct log_group *group = log_group_get(log, group_id);
    ASSERT(index < UINT64_MAX);
    if (index <= group->trimmed) {
        return log->ticket;
    }
    struct log_position position;
    uint8_t *at = log_write_begin(log, 0, &position);
    uint64_t ticket =
        log_write_end(log, at, &(struct log_record){.group = group_id, .type = LOG_RECORD_TRIM, .a = index, .b = term});
    log_group_trim(log, group, index, term, ticket);
    return ticket;
}

/* ---- looking ---- */

bool log_syncing(const struct log *log) { return log->job.running; }

uint64_t log_durable_ticket(const struct log *log) { return log->durable_ticket; }

struct log_hard_state log_hard_state(const struct log *log, uint32_t group_id)
{
    const struct log_group *group = log_group_find(log, group_id);
    return group == NULL ? (struct log_hard_state){0} : group->hard_state;
}

void log_bounds(const struct log *log, uint32_t group_id, uint64_t *ret_trimmed, uint64_t *ret_trimmed_term,
                uint64_t *ret_last, uint64_t *ret_last_term)
{
    const struct log_group *group = log_group_find(log, group_id);
    *ret_trimmed = group == NULL ? 0 : group->trimmed;
    *ret_trimmed_term = group == NULL ? 0 : group->trimmed_term;
    *ret_last = group == NULL ? 0 : log_group_last(group);
    *ret_last_term = log_term(log, group_id, *ret_last);
}

uint64_t log_term(const struct log *log, uint32_t group_id, uint64_t index)
{
    const struct log_group *group = log_group_find(log, group_id);
    if (group == NULL) {
        return 0;
    }
    const struct log_position *position = log_group_at(group, index);
    if (position != NULL) {
        return position->term;
    }
    return index == group->trimmed ? group->trimmed_term : 0;
}

size_t log_groups(const struct log *log, uint32_t *ret_groups, size_t capacity)
{
    for (size_t i = 0; i < log->group_count && i < capacity; i++) {
        ret_groups[i] = log->groups[i]->id;
    }
    return log->group_count;
}

void log_stats(const struct log *log, struct log_stats *ret_stats)
{
    *ret_stats = log->stats;
    ret_stats->prepare_status = log->prepare_status;
    ret_stats->memory_bytes = log->arena_bytes;
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct log_segment *segment = &log->segments[i];
        if (segment->made) {
            ret_stats->segments++;
            ret_stats->bytes_on_disk += segment->written > segment->size ? segment->written : segment->size;
        }
        ret_stats->live_bytes += segment->live_bytes;
    }
}

/* ---- reading ---- */

/* The record's bytes in the window, which is moved there when it is not; for records that fit. */
static enum status read_window(struct log *log, const struct log_segment *segment, const struct log_position *position,
                               const uint8_t **ret_bytes)
{
    struct buffer *bytes = &log->window.bytes;
    uint64_t offset = position->offset;
    if (log->window.segment != segment->number || offset < log->window.offset ||
        offset + position->size > log->window.offset + bytes->size) {
        uint64_t there = segment->written - offset;
        size_t size = there < WINDOW_BYTES ? (size_t)there : WINDOW_BYTES;
        buffer_clear(bytes);
        size_t got = 0;
        enum status status = env_read(log->env, segment->file, offset, buffer_reserve(bytes, size), size, &got);
        if (status != STATUS_OK) {
            return status;
        }
        bytes->size = got;
        log->window.segment = segment->number;
        log->window.offset = offset;
        if (got < position->size) {
            return STATUS_CORRUPT;
        }
    }
    *ret_bytes = bytes->data + (offset - log->window.offset);
    return STATUS_OK;
}

/* The record's bytes: in memory, in the window, or (too large for it) in the room behind out's end. */
static enum status read_record(struct log *log, const struct log_position *position, struct buffer *out,
                               const uint8_t **ret_bytes)
{
    const uint8_t *bytes = log_write_cached(log, position->segment, position->offset);
    if (bytes != NULL) {
        *ret_bytes = bytes;
        return STATUS_OK;
    }
    struct log_segment *segment = log_segment_by_number(log, position->segment);
    ASSERT(position->offset + (uint64_t)position->size <= segment->written);
    enum status status = log_segment_open(log, segment);
    if (status != STATUS_OK) {
        return status;
    }
    if (position->size <= WINDOW_BYTES) {
        return read_window(log, segment, position, ret_bytes);
    }
    size_t got = 0;
    uint8_t *at = buffer_reserve(out, position->size);
    status = env_read(log->env, segment->file, position->offset, at, position->size, &got);
    if (status == STATUS_OK && got < position->size) {
        status = STATUS_CORRUPT;
    }
    *ret_bytes = at;
    return status;
}

size_t log_entry_bytes(const struct log *log, uint32_t group_id, uint64_t index)
{
    const struct log_group *group = log_group_find(log, group_id);
    const struct log_position *position = group == NULL ? NULL : log_group_at(group, index);
    return position == NULL ? 0 : position->size;
}

enum status log_look(struct log *log, uint32_t group_id, uint64_t index, struct buffer *room,
                     struct log_entry *ret_entry)
{
    const struct log_group *group = log_group_find(log, group_id);
    const struct log_position *position = group == NULL ? NULL : log_group_at(group, index);
    if (position == NULL) {
        return STATUS_NOTFOUND;
    }
    const uint8_t *bytes = NULL;
    enum status status = read_record(log, position, room, &bytes);
    if (status != STATUS_OK) {
        log->window.segment = 0;
        return status;
    }
    struct log_record record;
    size_t size;
    uint32_t seed = log_segment_by_number(log, position->segment)->seed;
    if (!log_format_take_record(slice_of(bytes, position->size), seed, &record, &size) || size != position->size ||
        record.type != LOG_RECORD_ENTRY || record.group != group_id || record.a != index ||
        record.b != position->term) {
        log->window.segment = 0;
        return STATUS_CORRUPT;
    }
    *ret_entry = (struct log_entry){.index = index, .term = record.b, .kind = record.kind, .payload = record.payload};
    return STATUS_OK;
}

enum status log_read(struct log *log, uint32_t group_id, uint64_t index, struct buffer *out,
                     struct log_entry *ret_entry)
{
    enum status status = log_look(log, group_id, index, out, ret_entry);
    if (status == STATUS_OK) {
        struct slice *payload = &ret_entry->payload;
        uint8_t *to =
            buffer_reserve(out, payload->size + 1); /* never NULL; does not move what was read behind its end */
        memmove(to, payload->data, payload->size);
        out->size += payload->size;
        payload->data = to;
    }
    return status;
}
