/* Records that recovery found, taken in the order in which they were appended. Checksums were right, but it is a disk
 * that they come from: what no log of ours could contain is refused, whatever it is. */
#include "log/log_internal.h"

static const char *take_entry(struct log *log, const struct log_segment *segment, const struct log_record *record,
                              uint64_t offset)
{
    struct log_group *group = log_group_find(log, record->group);
    group = group == NULL && log->group_count < LOG_MAXIMUM_GROUPS ? log_group_get(log, record->group) : group;
    if (group == NULL) {
        return "too many groups";
    }
    if (record->a <= group->trimmed || record->a > log_group_last(group) + 1 || record->a == UINT64_MAX) {
        return "an entry is out of order";
    }
    log_group_cut(log, group, record->a, 0);
    log_group_add(log, group,
                  &(struct log_position){.term = record->b,
                                         .segment = (uint32_t)segment->number,
                                         .offset = (uint32_t)offset,
                                         .size = (uint32_t)(LOG_RECORD_HEADER_BYTES + record->payload.size)});
    return NULL;
}

static const char *take_other(struct log *log, const struct log_record *record)
{
    struct log_group *group = log_group_find(log, record->group);
    group = group == NULL && log->group_count < LOG_MAXIMUM_GROUPS ? log_group_get(log, record->group) : group;
    if (group == NULL) {
        return "too many groups";
    }
    if (record->type == LOG_RECORD_HARD_STATE && record->payload.size == sizeof(uint64_t)) {
        group->hard_state = (struct log_hard_state){record->a, record->b, get_u64(record->payload.data)};
        return NULL;
    }
    if (record->type == LOG_RECORD_TRIM && record->a > group->trimmed && record->a < UINT64_MAX) {
        log_group_trim(log, group, record->a, record->b, 0);
        return NULL;
    }
    return "a record of no known type";
}

/* Takes one record; NULL, or what is wrong with it. */
static const char *take_record(struct log *log, struct log_segment *segment, const struct log_record *record,
                               uint64_t offset)
{
    if ((record->type == LOG_RECORD_CHECKPOINT) == segment->started) {
        return "a segment begins with a checkpoint, and has no other";
    }
    if (record->type == LOG_RECORD_CHECKPOINT) {
        bool oldest = segment == &log->segments[0];
        segment->started = true;
        segment->fresh = true;
        return !oldest || log_checkpoint_take(log, record) ? NULL : "a malformed checkpoint";
    }
    segment->fresh = false;
    return record->type == LOG_RECORD_ENTRY ? take_entry(log, segment, record, offset) : take_other(log, record);
}

const char *log_replay_body(struct log *log, struct log_segment *segment, struct slice body, uint64_t *offset)
{
    while (body.size >= LOG_RECORD_HEADER_BYTES) {
        struct log_record record;
        size_t size;
        if (!log_format_take_record(body, segment->seed, &record, &size)) {
            return "a record in a good block is malformed";
        }
        const char *wrong = take_record(log, segment, &record, *offset);
        if (wrong != NULL) {
            return wrong;
        }
        body = slice_of(body.data + size, body.size - size);
        *offset += size;
    }
    return body.size < LOG_BLOCK_ALIGNMENT ? NULL : "a good block ends with half a record";
}
