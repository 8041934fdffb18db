/* Barriers and latches as records of snapshots (machine/snapshot_walk.h).
 *
 * After the kind and a version (1), u8 each; numbers are varints, texts a size and bytes:
 *   'b' marks   last order; the first one
 *   'B' meet    kind and name · count · order · due · waiting · passed, then so many members, each: owner · order · due
 * · node · start · client · number */
#include "base/record.h"
#include "machine/machine_mutation.h"
#include "machine/meet/meet.h"

enum { RECORD = 'B', RECORD_MARKS = 'b', RECORD_VERSION = 1, MEET_NUMBERS = 5, MEMBER_NUMBERS = 6, MEMBER_TIMES = 2 };

static struct meets *meets_of(const struct snapshot_walk *walk) { return CONTAINER_OF(walk, struct meets, walk); }

static void put_members(struct buffer *out, const struct list *members)
{
    LIST_FOR_EACH (at, members) {
        const struct member *member = member_of(at);
        const uint64_t numbers[MEMBER_NUMBERS] = {member->order,         (uint64_t)member->due_ms,
                                                  member->origin.node,   member->origin.start,
                                                  member->origin.client, member->origin.number};
        record_put_text(out, member_owner(member));
        record_put_numbers(out, numbers, MEMBER_NUMBERS);
    }
}

static void put_meet(struct buffer *out, const void *item)
{
    const struct meet *meet = item;
    const uint64_t numbers[MEET_NUMBERS] = {meet->count, meet->order, (uint64_t)meet->due_ms, meet->waiting_count,
                                            meet->passed_count};
    record_put_head(out, RECORD, RECORD_VERSION);
    record_put_text(out, slice_of(meet->key, meet->key_size));
    record_put_numbers(out, numbers, MEET_NUMBERS);
    put_members(out, &meet->waiting);
    put_members(out, &meet->passed);
}

static bool unused(const struct meets *meets) { return meets->last_order == 0 && meets->table.count == 0; }

static void put_marks(struct buffer *out, const struct snapshot_walk *walk)
{
    const struct meets *meets = meets_of(walk);
    if (!unused(meets)) {
        record_put_head(out, RECORD_MARKS, RECORD_VERSION);
        record_put_number(out, meets->last_order);
    }
}

/* ---- back: whatever the bytes are, what was taken before stays sound ---- */

static bool take_members(struct meets *meets, struct meet *meet, struct slice *from, uint64_t count, bool passed)
{
    for (uint64_t i = 0; i < count; i++) {
        struct slice owner;
        uint64_t numbers[MEMBER_NUMBERS];
        if (!record_take_text(from, MEET_OWNER_BYTES, &owner) ||
            !record_take_numbers(from, INT64_MAX / 2, numbers, MEMBER_TIMES) ||
            !record_take_numbers(from, UINT64_MAX, numbers + MEMBER_TIMES, MEMBER_NUMBERS - MEMBER_TIMES) ||
            numbers[0] > meets->last_order || numbers[MEMBER_TIMES] == 0 || member_find(meets, meet, owner) != NULL) {
            return false;
        }
        struct member like = {.order = numbers[0],
                              .due_ms = (int64_t)numbers[1],
                              .origin = {numbers[2], numbers[3], numbers[4], numbers[5]},
                              .passed = passed};
        (void)member_enter(meets, meet, owner, &like);
    }
    return true;
}

/* count, order, due, waiting, passed */
static bool numbers_sound(const struct meets *meets, enum meet_kind kind, const uint64_t numbers[static MEET_NUMBERS])
{
    bool known = numbers[1] != 0;
    if (numbers[0] > LATCH_COUNT || numbers[1] > meets->last_order || known != (numbers[2] != 0) ||
        numbers[3] > MEET_MEMBERS || meets->waits.count + numbers[3] > MEETS_MEMBERS ||
        meets->gone.count + numbers[4] > MEETS_PASSED || (numbers[0] == 0 && numbers[3] != 0)) {
        return false;
    }
    if (kind == MEET_BARRIER) {
        return !known && (numbers[0] == 0 || (numbers[3] != 0 && numbers[3] < numbers[0])) &&
               numbers[3] + numbers[4] != 0;
    }
    return known ? numbers[0] == 0 : numbers[0] != 0 || numbers[4] != 0;
}

static void drop_members(struct meets *meets, struct list *members)
{
    LIST_FOR_EACH_SAFE (at, after, members) {
        member_leave(meets, member_of(at));
    }
}

static enum status meet_load(struct meets *meets, struct slice record)
{
    struct slice key;
    uint64_t numbers[MEET_NUMBERS];
    if (!record_take_text(&record, MEET_NAME_BYTES + 1, &key) || key.size == 0 || key.data[0] >= MEET_KINDS) {
        return STATUS_CORRUPT;
    }
    enum meet_kind kind = (enum meet_kind)key.data[0];
    struct slice name = slice_of(key.data + 1, key.size - 1);
    if (meet_find(meets, kind, name) != NULL || !record_take_numbers(&record, INT64_MAX / 2, numbers, MEET_NUMBERS) ||
        !numbers_sound(meets, kind, numbers)) {
        return STATUS_CORRUPT;
    }
    struct meet *meet = meet_add(meets, kind, name);
    bool good = take_members(meets, meet, &record, numbers[3], false) &&
                take_members(meets, meet, &record, numbers[4], true) && record.size == 0;
    if (!good) {
        drop_members(meets, &meet->waiting);
        drop_members(meets, &meet->passed);
        meet_settle(meets, meet);
        return STATUS_CORRUPT;
    }
    meet_set_count(meets, meet, (uint32_t)numbers[0]);
    if (numbers[1] != 0) {
        meet_open(meets, meet, numbers[1], (int64_t)numbers[2]);
    }
    if (MACHINE_MUTATED(PASSED_NOT_KEPT)) {
        drop_members(meets, &meet->passed);
        meet_settle(meets, meet);
    }
    return STATUS_OK;
}

static enum status marks_load(struct meets *meets, struct slice record)
{
    uint64_t last_order;
    if (!unused(meets) || !record_take_number(&record, INT64_MAX / 2, &last_order) || record.size != 0) {
        return STATUS_CORRUPT;
    }
    meets->last_order = last_order;
    return STATUS_OK;
}

static enum status load(struct snapshot_walk *walk, uint8_t record_kind, struct slice rest)
{
    return record_kind == RECORD ? meet_load(meets_of(walk), rest) : marks_load(meets_of(walk), rest);
}

const struct snapshot_walk_kind meets_snapshot = {
    .records = {RECORD, RECORD_MARKS},
    .version = RECORD_VERSION,
    .epoch_offset = offsetof(struct meet, epoch),
    .put_marks = put_marks,
    .put_item = put_meet,
    .load = load,
};
