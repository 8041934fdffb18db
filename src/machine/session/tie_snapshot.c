/* Ties as records of snapshots (machine/snapshot_walk.h). Their locks and keys name them in records of their own.
 *
 * After the kind and a version (1), u8 each; numbers are varints:
 *   't' marks   last ordinal; the first one
 *   'T' tie     shard · number · ordinal · state · asked */
#include "machine/session/ties.h"

#include "base/record.h"

enum { RECORD = 'T', RECORD_MARKS = 't', RECORD_VERSION = 1, TIE_NUMBERS = 5 };

static struct ties *ties_of(const struct snapshot_walk *walk) { return CONTAINER_OF(walk, struct ties, walk); }

static void put_tie(struct buffer *out, const void *item)
{
    const struct tie *tie = item;
    struct session_id id = tie_id(tie);
    const uint64_t numbers[TIE_NUMBERS] = {id.shard, id.number, tie->ordinal, tie->state, (uint64_t)tie->asked_ms};
    record_put_head(out, RECORD, RECORD_VERSION);
    record_put_numbers(out, numbers, TIE_NUMBERS);
}

static void put_marks(struct buffer *out, const struct snapshot_walk *walk)
{
    const struct ties *ties = ties_of(walk);
    if (ties->last_ordinal != 0) {
        record_put_head(out, RECORD_MARKS, RECORD_VERSION);
        record_put_number(out, ties->last_ordinal);
    }
}

/* ---- back ---- */

/* Among the asked ones, the oldest first. */
static void enter_asked(struct ties *ties, struct tie *tie)
{
    struct list *at = ties->asked.prev;
    while (at != &ties->asked && CONTAINER_OF(at, struct tie, node)->ordinal > tie->ordinal) {
        at = at->prev;
    }
    list_prepend(at, &tie->node); /* behind it */
}

static enum status tie_load(struct ties *ties, struct slice record)
{
    uint64_t numbers[TIE_NUMBERS];
    if (!record_take_numbers(&record, INT64_MAX, numbers, TIE_NUMBERS) || record.size != 0 || numbers[0] == 0 ||
        numbers[0] > UINT16_MAX || numbers[2] == 0 || numbers[3] >= TIE_STATES || numbers[4] > INT64_MAX / 2) {
        return STATUS_CORRUPT;
    }
    struct session_id id = {.shard = (uint32_t)numbers[0], .number = numbers[1]};
    struct tie *tie = ties_find(ties, id);
    if ((tie != NULL && (tie->ordinal != 0 || numbers[3] == TIE_ASKED)) ||
        (tie == NULL && ties->table.count >= SESSION_TIES) || ties_of_ordinal(ties, numbers[2]) != NULL) {
        return STATUS_CORRUPT;
    }
    tie = ties_enter(ties, id);
    tie_set_ordinal(ties, tie, numbers[2]);
    tie->state = (uint8_t)numbers[3];
    tie->asked_ms = (int64_t)numbers[4];
    if (tie->state == TIE_ASKED) {
        enter_asked(ties, tie);
    }
    return STATUS_OK;
}

static enum status marks_load(struct ties *ties, struct slice record)
{
    uint64_t number;
    if (ties->last_ordinal != 0 || !record_take_number(&record, INT64_MAX, &number) || number == 0 ||
        record.size != 0) {
        return STATUS_CORRUPT;
    }
    ties->last_ordinal = number;
    return STATUS_OK;
}

static enum status load(struct snapshot_walk *walk, uint8_t record_kind, struct slice rest)
{
    return record_kind == RECORD ? tie_load(ties_of(walk), rest) : marks_load(ties_of(walk), rest);
}

const struct snapshot_walk_kind ties_snapshot = {
    .records = {RECORD, RECORD_MARKS},
    .version = RECORD_VERSION,
    .epoch_offset = offsetof(struct tie, epoch),
    .put_marks = put_marks,
    .put_item = put_tie,
    .load = load,
};
