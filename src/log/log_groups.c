/* What each group has in the log: where its entries lie, its hard state, its trim point.
 *
 * Invariant: a segment's `live` is the number of positions that point into it, over all groups. */
#include "log/log_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

static size_t lower_bound(const struct log *log, uint32_t id)
{
    size_t low = 0;
    size_t high = log->group_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->groups[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct log_group *log_group_find(const struct log *log, uint32_t id)
{
    size_t at = lower_bound(log, id);
    return at < log->group_count && log->groups[at]->id == id ? log->groups[at] : NULL;
}

struct log_group *log_group_get(struct log *log, uint32_t id)
{
    struct log_group *found = log_group_find(log, id);
    if (found != NULL) {
        return found;
    }
    ASSERT(log->group_count < LOG_MAXIMUM_GROUPS);
    if (log->group_count == log->group_capacity) {
        log->group_capacity = log->group_capacity == 0 ? 8 : log->group_capacity * 2;
        log->groups = memory_resize(log->groups, log->group_capacity * sizeof(struct log_group *));
    }
    struct log_group *group = memory_allocate_zeroed(1, sizeof(*group));
    group->id = id;
    group->first = 1;
    size_t at = lower_bound(log, id);
    memmove(&log->groups[at + 1], &log->groups[at], (log->group_count - at) * sizeof(struct log_group *));
    log->groups[at] = group;
    log->group_count++;
    return group;
}

void log_groups_deinit(struct log *log)
{
    for (size_t i = 0; i < log->group_count; i++) {
        free(log->groups[i]->positions);
        free(log->groups[i]);
    }
    free(log->groups);
}

uint64_t log_group_last(const struct log_group *group) { return group->first + group->count - 1; }

const struct log_position *log_group_at(const struct log_group *group, uint64_t index)
{
    if (index < group->first || index - group->first >= group->count) {
        return NULL;
    }
    return &group->positions[group->start + (index - group->first)];
}

/* One position less in its segment. */
static void drop_position(struct log *log, const struct log_position *position, uint64_t ticket)
{
    ASSERT(position != NULL);
    struct log_segment *segment = log_segment_by_number(log, position->segment);
    ASSERT(segment != NULL && segment->live > 0);
    segment->live--;
    segment->live_bytes -= position->size;
    if (segment->live == 0) {
        segment->dead_ticket = ticket;
    }
}

/* Room for more at the end: by moving to the front what lies behind a gap as large as itself, else by growing. */
static void make_room(struct log_group *group)
{
    if (group->start + group->count < group->capacity) {
        return;
    }
    if (group->start >= group->count && group->start > 0) {
        memcpy(group->positions, group->positions + group->start, group->count * sizeof(group->positions[0]));
        group->start = 0;
        return;
    }
    group->capacity = group->capacity == 0 ? 16 : group->capacity * 2;
    group->positions = memory_resize(group->positions, group->capacity * sizeof(group->positions[0]));
}

/* Gives memory back after most of it was trimmed. */
static void shrink(struct log_group *group)
{
    if (group->capacity <= 1024 || group->count > group->capacity / 8) {
        return;
    }
    memmove(group->positions, group->positions + group->start, group->count * sizeof(group->positions[0]));
    group->start = 0;
    group->capacity /= 4;
    group->positions = memory_resize(group->positions, group->capacity * sizeof(group->positions[0]));
}

void log_group_cut(struct log *log, struct log_group *group, uint64_t index, uint64_t ticket)
{
    while (group->count > 0 && log_group_last(group) >= index) {
        drop_position(log, &group->positions[group->start + group->count - 1], ticket);
        group->count--;
    }
    if (group->count == 0 && index < group->first) {
        group->first = index; /* only in recovery: entries that are not there any more are replaced */
    }
}

void log_group_add(struct log *log, struct log_group *group, const struct log_position *position)
{
    make_room(group);
    group->positions[group->start + group->count] = *position;
    group->count++;
    struct log_segment *segment = log_segment_by_number(log, position->segment);
    ASSERT(segment != NULL);
    segment->live++;
    segment->live_bytes += position->size;
}

void log_group_trim(struct log *log, struct log_group *group, uint64_t index, uint64_t term, uint64_t ticket)
{
    const struct log_position *at = log_group_at(group, index);
    if (at != NULL && at->term != term) {
        log_group_cut(log, group, group->first, ticket);
    }
    while (group->count > 0 && group->first <= index) {
        drop_position(log, &group->positions[group->start], ticket);
        group->start++;
        group->count--;
        group->first++;
    }
    group->trimmed = index;
    group->trimmed_term = term;
    if (group->count == 0 && group->first <= index) {
        group->first = index + 1;
    }
    shrink(group);
}

size_t log_checkpoint_bytes(const struct log *log) { return log->group_count * LOG_CHECKPOINT_GROUP_BYTES; }

void log_checkpoint_put(const struct log *log, uint8_t *at)
{
    for (size_t i = 0; i < log->group_count; i++, at += LOG_CHECKPOINT_GROUP_BYTES) {
        const struct log_group *group = log->groups[i];
        put_u32(at, group->id);
        put_u32(at + 4, 0);
        put_u64(at + 8, group->hard_state.term);
        put_u64(at + 16, group->hard_state.vote);
        put_u64(at + 24, group->hard_state.committed);
        put_u64(at + 32, group->trimmed);
        put_u64(at + 40, group->trimmed_term);
        put_u64(at + 48, log_group_last(group));
    }
}

bool log_checkpoint_take(struct log *log, const struct log_record *record)
{
    const uint8_t *at = record->payload.data;
    size_t count = record->payload.size / LOG_CHECKPOINT_GROUP_BYTES;
    if (record->payload.size % LOG_CHECKPOINT_GROUP_BYTES != 0 || record->a != count || count > LOG_MAXIMUM_GROUPS) {
        return false;
    }
    for (size_t i = 0; i < count; i++, at += LOG_CHECKPOINT_GROUP_BYTES) {
        uint64_t trimmed = get_u64(at + 32);
        uint64_t last = get_u64(at + 48);
        if (last < trimmed || last == UINT64_MAX || log_group_find(log, get_u32(at)) != NULL) {
            return false;
        }
        struct log_group *group = log_group_get(log, get_u32(at));
        group->hard_state = (struct log_hard_state){get_u64(at + 8), get_u64(at + 16), get_u64(at + 24)};
        group->trimmed = trimmed;
        group->trimmed_term = get_u64(at + 40);
        group->first = last + 1;
    }
    return true;
}
