/* Barriers and latches as records of snapshots, while they change, and their digest, which is that of the records. As
 * lock/lock_snapshot.c: whoever changes one that the cursor has not passed puts down what it was first (meet_keep).
 *
 * After the kind and a version (1), u8 each; numbers are varints, texts a size and bytes:
 *   'b' marks   last order; the first one
 *   'B' meet    kind and name · count · order · due · waiting · passed, then so many members, each: owner · order · due
 * · node · start · client · number */
#include "base/assert.h"
#include "base/hash.h"
#include "base/varint.h"
#include "machine/machine_mutation.h"
#include "machine/meet/meet.h"

enum { RECORD_VERSION = 1, MEET_NUMBERS = 5, MEMBER_NUMBERS = 6 };

static void put_number(struct buffer *out, uint64_t value)
{
    uint8_t *at = buffer_reserve(out, VARINT_MAXIMUM_BYTES);
    out->size += (size_t)(varint_put(at, value) - at);
}

static void put_text(struct buffer *out, struct slice text)
{
    put_number(out, text.size);
    buffer_append_slice(out, text);
}

static void put_members(struct buffer *out, const struct list *members)
{
    LIST_FOR_EACH (at, members) {
        const struct member *member = member_of(at);
        const uint64_t numbers[MEMBER_NUMBERS] = {member->order,         (uint64_t)member->due_ms,
                                                  member->origin.node,   member->origin.start,
                                                  member->origin.client, member->origin.number};
        put_text(out, member_owner(member));
        for (size_t i = 0; i < MEMBER_NUMBERS; i++) {
            put_number(out, numbers[i]);
        }
    }
}

static void put_meet(struct buffer *out, const struct meet *meet, bool passed)
{
    const uint64_t numbers[MEET_NUMBERS] = {meet->count, meet->order, (uint64_t)meet->due_ms, meet->waiting_count,
                                            passed ? meet->passed_count : 0};
    buffer_append_byte(out, MEET_RECORD);
    buffer_append_byte(out, RECORD_VERSION);
    put_text(out, slice_of(meet->key, meet->key_size));
    for (size_t i = 0; i < MEET_NUMBERS; i++) {
        put_number(out, numbers[i]);
    }
    put_members(out, &meet->waiting);
    if (passed) {
        put_members(out, &meet->passed);
    }
}

static void put_marks(struct buffer *out, const struct meets *meets)
{
    buffer_append_byte(out, MEET_RECORD_MARKS);
    buffer_append_byte(out, RECORD_VERSION);
    put_number(out, meets->last_order);
}

static bool unused(const struct meets *meets) { return meets->last_order == 0 && meets->table.count == 0; }

/* ---- out ---- */

void meet_keep(struct meets *meets, struct meet *meet)
{
    if (meets->snapshot && meet->epoch != meets->epoch) {
        struct buffer record;
        buffer_init(&record);
        put_meet(&record, meet, !MACHINE_MUTATED(PASSED_NOT_KEPT));
        put_text(&meets->pending, buffer_slice(&record));
        buffer_deinit(&record);
        meet->epoch = meets->epoch;
    }
}

void meets_snapshot_begin(struct meets *meets)
{
    ASSERT(!meets->snapshot);
    meets->snapshot = true;
    meets->epoch++;
    meets->cursor = 0;
    meets->walked = meets->table.count == 0;
    buffer_clear(&meets->pending);
    if (!unused(meets)) {
        struct buffer record;
        buffer_init(&record);
        put_marks(&record, meets);
        put_text(&meets->pending, buffer_slice(&record));
        buffer_deinit(&record);
    }
}

static void walk_meet(void *owner, void *item) { meet_keep(owner, item); }

bool meets_snapshot_step(struct meets *meets, struct buffer *out, size_t budget_bytes)
{
    ASSERT(meets->snapshot);
    while (!meets->walked && meets->pending.size < budget_bytes) {
        meets->cursor = table_walk(&meets->table, meets->cursor, walk_meet, meets);
        meets->walked = meets->cursor == 0;
    }
    buffer_append_slice(out, buffer_slice(&meets->pending));
    buffer_clear(&meets->pending);
    return !meets->walked;
}

void meets_snapshot_end(struct meets *meets)
{
    meets->snapshot = false;
    buffer_deinit(&meets->pending);
}

struct digesting {
    struct buffer record;
    uint64_t sum;
};

static void add_digest(struct digesting *digesting)
{
    digesting->sum += hash_bytes(0, digesting->record.data, digesting->record.size);
    buffer_clear(&digesting->record);
}

static void digest_meet(void *owner, void *item)
{
    struct digesting *digesting = owner;
    put_meet(&digesting->record, item, true);
    add_digest(digesting);
}

uint64_t meets_digest(const struct meets *meets)
{
    struct digesting digesting = {0};
    if (!unused(meets)) {
        put_marks(&digesting.record, meets);
        add_digest(&digesting);
    }
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&meets->table, cursor, digest_meet, &digesting);
    } while (cursor != 0);
    buffer_deinit(&digesting.record);
    return digesting.sum;
}

/* ---- back: whatever the bytes are, what was taken before stays sound ---- */

static bool take_numbers(struct slice *from, uint64_t *ret_numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!varint_take(from, &ret_numbers[i]) || ret_numbers[i] > INT64_MAX / 2) {
            return false;
        }
    }
    return true;
}

static bool take_text(struct slice *from, size_t most, struct slice *ret_text)
{
    uint64_t size;
    if (!varint_take(from, &size) || size > from->size || size > most) {
        return false;
    }
    *ret_text = slice_of(from->data, size);
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

static bool take_members(struct meets *meets, struct meet *meet, struct slice *from, uint64_t count, bool passed)
{
    for (uint64_t i = 0; i < count; i++) {
        struct slice owner;
        uint64_t numbers[MEMBER_NUMBERS];
        if (!take_text(from, MEET_OWNER_BYTES, &owner)) {
            return false;
        }
        for (size_t j = 0; j < MEMBER_NUMBERS; j++) {
            if (!varint_take(from, &numbers[j]) || (j < 2 && numbers[j] > INT64_MAX / 2)) {
                return false;
            }
        }
        if (numbers[0] > meets->last_order || numbers[2] == 0 || member_find(meets, meet, owner) != NULL) {
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
    if (!take_text(&record, MEET_NAME_BYTES + 1, &key) || key.size == 0 || key.data[0] >= MEET_KINDS) {
        return STATUS_CORRUPT;
    }
    enum meet_kind kind = (enum meet_kind)key.data[0];
    struct slice name = slice_of(key.data + 1, key.size - 1);
    if (meet_find(meets, kind, name) != NULL || !take_numbers(&record, numbers, MEET_NUMBERS) ||
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
    return STATUS_OK;
}

enum status meets_load(struct meets *meets, struct slice record)
{
    ASSERT(meets_record(record));
    if (record.size < 2) {
        return STATUS_CORRUPT;
    }
    if (record.data[1] != RECORD_VERSION) {
        return record.data[1] > RECORD_VERSION ? STATUS_VERSION : STATUS_CORRUPT;
    }
    struct slice rest = slice_of(record.data + 2, record.size - 2);
    if (record.data[0] == MEET_RECORD) {
        return meet_load(meets, rest);
    }
    uint64_t last_order;
    if (!unused(meets) || !take_numbers(&rest, &last_order, 1) || rest.size != 0) {
        return STATUS_CORRUPT;
    }
    meets->last_order = last_order;
    return STATUS_OK;
}
