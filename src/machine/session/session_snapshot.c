/* Sessions as records of snapshots, while they change, and their digest, which is that of the records: as
 * machine/lock/lock_snapshot.c does it for locks.
 *
 * After the kind and a version (1), u8 each; numbers are varints:
 *   's' marks     last number; the first one
 *   'S' session   number · ttl · due · ended · count of shards · the shards, in rising order */
#include "machine/session/sessions.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { RECORD_VERSION = 1 };

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

static int by_number(const void *a, const void *b) { return *(const uint16_t *)a - *(const uint16_t *)b; }

static void put_session(struct buffer *out, const struct session *session)
{
    uint16_t shards[SESSION_SHARDS];
    put_head(out, SESSION_RECORD);
    put_number(out, session->number);
    put_number(out, (uint64_t)session->ttl_ms);
    put_number(out, (uint64_t)session->due_ms);
    put_number(out, session->ended ? 1 : 0);
    uint16_t count = MACHINE_MUTATED(SHARDS_NOT_KEPT) && !session->ended ? 0 : session->count;
    put_number(out, count);
    for (uint16_t i = 0; i < session->count; i++) {
        shards[i] = session_shard(session, i);
    }
    qsort(shards, session->count, sizeof(shards[0]), by_number);
    for (uint16_t i = 0; i < count; i++) {
        put_number(out, shards[i]);
    }
}

static void put_marks(struct buffer *out, const struct sessions *sessions)
{
    put_head(out, SESSION_RECORD_MARKS);
    put_number(out, sessions->last_number);
}

static void emit(struct buffer *out, struct buffer *record)
{
    put_number(out, record->size);
    buffer_append_slice(out, buffer_slice(record));
    buffer_deinit(record);
}

/* ---- out ---- */

void session_keep(struct sessions *sessions, struct session *session)
{
    if (sessions->snapshot && session->epoch != sessions->epoch) {
        struct buffer record;
        buffer_init(&record);
        put_session(&record, session);
        emit(&sessions->pending, &record);
        session->epoch = sessions->epoch;
    }
}

void sessions_snapshot_begin(struct sessions *sessions)
{
    ASSERT(!sessions->snapshot);
    sessions->snapshot = true;
    sessions->epoch++;
    sessions->cursor = 0;
    sessions->walked = sessions->table.count == 0;
    buffer_clear(&sessions->pending);
    if (sessions->last_number != 0) {
        struct buffer record;
        buffer_init(&record);
        put_marks(&record, sessions);
        emit(&sessions->pending, &record);
    }
}

static void walk_session(void *owner, void *item) { session_keep(owner, item); }

bool sessions_snapshot_step(struct sessions *sessions, struct buffer *out, size_t budget_bytes)
{
    ASSERT(sessions->snapshot);
    while (!sessions->walked && sessions->pending.size < budget_bytes) {
        sessions->cursor = table_walk(&sessions->table, sessions->cursor, walk_session, sessions);
        sessions->walked = sessions->cursor == 0;
    }
    buffer_append_slice(out, buffer_slice(&sessions->pending));
    buffer_clear(&sessions->pending);
    return !sessions->walked;
}

void sessions_snapshot_end(struct sessions *sessions)
{
    sessions->snapshot = false;
    buffer_deinit(&sessions->pending);
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

static void digest_session(void *owner, void *item)
{
    struct digesting *digesting = owner;
    put_session(&digesting->record, item);
    add_digest(digesting);
}

uint64_t sessions_digest(const struct sessions *sessions)
{
    struct digesting digesting = {0};
    if (sessions->last_number != 0) {
        put_marks(&digesting.record, sessions);
        add_digest(&digesting);
    }
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&sessions->table, cursor, digest_session, &digesting);
    } while (cursor != 0);
    buffer_deinit(&digesting.record);
    return digesting.sum;
}

/* ---- back ---- */

static bool take_number(struct slice *from, uint64_t most, uint64_t *ret_value)
{
    return varint_take(from, ret_value) && *ret_value <= most;
}

/* Rising, so none twice. */
static bool take_shards(struct slice *from, uint64_t count, uint16_t shards[static SESSION_SHARDS])
{
    uint64_t last = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t shard;
        if (!take_number(from, UINT16_MAX, &shard) || shard <= last) {
            return false;
        }
        shards[i] = (uint16_t)shard;
        last = shard;
    }
    return from->size == 0;
}

static enum status session_load(struct sessions *sessions, struct slice record)
{
    uint64_t number;
    uint64_t ttl_ms;
    uint64_t due_ms;
    uint64_t ended;
    uint64_t count;
    uint16_t shards[SESSION_SHARDS];
    bool good = take_number(&record, sessions->last_number, &number) && number > 0 &&
                take_number(&record, (uint64_t)SESSION_TTL_MS, &ttl_ms) &&
                take_number(&record, INT64_MAX / 2, &due_ms) && take_number(&record, 1, &ended) &&
                take_number(&record, SESSION_SHARDS, &count) && take_shards(&record, count, shards);
    if (!good || sessions_find(sessions, number) != NULL || sessions->table.count >= SESSIONS ||
        (ended == 1 && count == 0)) {
        return STATUS_CORRUPT;
    }
    struct session *session = sessions_enter(sessions, number, (int64_t)ttl_ms, (int64_t)due_ms, ended == 1);
    for (uint64_t i = 0; i < count; i++) {
        session_add_shard(sessions, session, shards[i]);
    }
    return STATUS_OK;
}

static enum status marks_load(struct sessions *sessions, struct slice record)
{
    uint64_t number;
    if (sessions->last_number != 0 || !take_number(&record, INT64_MAX, &number) || number == 0 || record.size != 0) {
        return STATUS_CORRUPT;
    }
    sessions->last_number = number;
    return STATUS_OK;
}

enum status sessions_load(struct sessions *sessions, struct slice record)
{
    ASSERT(sessions_record(record));
    if (record.size < 2) {
        return STATUS_CORRUPT;
    }
    if (record.data[1] != RECORD_VERSION) {
        return record.data[1] > RECORD_VERSION ? STATUS_VERSION : STATUS_CORRUPT;
    }
    struct slice rest = slice_of(record.data + 2, record.size - 2);
    return record.data[0] == SESSION_RECORD ? session_load(sessions, rest) : marks_load(sessions, rest);
}
