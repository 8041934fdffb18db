/* Ties as records of snapshots, while they change, and their digest, which is that of the records: as
 * session_snapshot.c does it for sessions. Their locks and keys name them in records of their own.
 *
 * After the kind and a version (1), u8 each; numbers are varints:
 *   't' marks   last ordinal; the first one
 *   'T' tie     shard · number · ordinal · state · asked */
#include "machine/session/ties.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/varint.h"

enum { RECORD_VERSION = 1, TIE_NUMBERS = 5 };

static void put_number(struct buffer *out, uint64_t value)
{
    uint8_t *at = buffer_reserve(out, VARINT_MAXIMUM_BYTES);
    out->size += (size_t)(varint_put(at, value) - at);
}

static void put_head(struct buffer *out, uint8_t kind)
{
    buffer_append_byte(out, kind);
    buffer_append_byte(out, RECORD_VERSION);
}

static void put_tie(struct buffer *out, const struct tie *tie)
{
    struct session_id id = tie_id(tie);
    const uint64_t numbers[TIE_NUMBERS] = {id.shard, id.number, tie->ordinal, tie->state, (uint64_t)tie->asked_ms};
    put_head(out, TIE_RECORD);
    for (size_t i = 0; i < TIE_NUMBERS; i++) {
        put_number(out, numbers[i]);
    }
}

static void put_marks(struct buffer *out, const struct ties *ties)
{
    put_head(out, TIE_RECORD_MARKS);
    put_number(out, ties->last_ordinal);
}

static void emit(struct buffer *out, struct buffer *record)
{
    put_number(out, record->size);
    buffer_append_slice(out, buffer_slice(record));
    buffer_deinit(record);
}

/* ---- out ---- */

void tie_keep(struct ties *ties, struct tie *tie)
{
    if (ties->snapshot && tie->epoch != ties->epoch) {
        struct buffer record;
        buffer_init(&record);
        put_tie(&record, tie);
        emit(&ties->pending, &record);
        tie->epoch = ties->epoch;
    }
}

void ties_snapshot_begin(struct ties *ties)
{
    ASSERT(!ties->snapshot);
    ties->snapshot = true;
    ties->epoch++;
    ties->cursor = 0;
    ties->walked = ties->table.count == 0;
    buffer_clear(&ties->pending);
    if (ties->last_ordinal != 0) {
        struct buffer record;
        buffer_init(&record);
        put_marks(&record, ties);
        emit(&ties->pending, &record);
    }
}

static void walk_tie(void *owner, void *item) { tie_keep(owner, item); }

bool ties_snapshot_step(struct ties *ties, struct buffer *out, size_t budget_bytes)
{
    ASSERT(ties->snapshot);
    while (!ties->walked && ties->pending.size < budget_bytes) {
        ties->cursor = table_walk(&ties->table, ties->cursor, walk_tie, ties);
        ties->walked = ties->cursor == 0;
    }
    buffer_append_slice(out, buffer_slice(&ties->pending));
    buffer_clear(&ties->pending);
    return !ties->walked;
}

void ties_snapshot_end(struct ties *ties)
{
    ties->snapshot = false;
    buffer_deinit(&ties->pending);
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

static void digest_tie(void *owner, void *item)
{
    struct digesting *digesting = owner;
    put_tie(&digesting->record, item);
    add_digest(digesting);
}

uint64_t ties_digest(const struct ties *ties)
{
    struct digesting digesting = {0};
    if (ties->last_ordinal != 0) {
        put_marks(&digesting.record, ties);
        add_digest(&digesting);
    }
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&ties->table, cursor, digest_tie, &digesting);
    } while (cursor != 0);
    buffer_deinit(&digesting.record);
    return digesting.sum;
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
    for (size_t i = 0; i < TIE_NUMBERS; i++) {
        if (!varint_take(&record, &numbers[i]) || numbers[i] > INT64_MAX) {
            return STATUS_CORRUPT;
        }
    }
    struct session_id id = {.shard = (uint32_t)numbers[0], .number = numbers[1]};
    if (record.size != 0 || numbers[0] == 0 || numbers[0] > UINT16_MAX || numbers[2] == 0 || numbers[3] >= TIE_STATES ||
        numbers[4] > INT64_MAX / 2) {
        return STATUS_CORRUPT;
    }
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
    if (ties->last_ordinal != 0 || !varint_take(&record, &number) || number == 0 || number > INT64_MAX ||
        record.size != 0) {
        return STATUS_CORRUPT;
    }
    ties->last_ordinal = number;
    return STATUS_OK;
}

enum status ties_load(struct ties *ties, struct slice record)
{
    ASSERT(ties_record(record));
    if (record.size < 2) {
        return STATUS_CORRUPT;
    }
    if (record.data[1] != RECORD_VERSION) {
        return record.data[1] > RECORD_VERSION ? STATUS_VERSION : STATUS_CORRUPT;
    }
    struct slice rest = slice_of(record.data + 2, record.size - 2);
    return record.data[0] == TIE_RECORD ? tie_load(ties, rest) : marks_load(ties, rest);
}
