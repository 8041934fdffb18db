/* Sessions as records of snapshots (machine/snapshot_walk.h).
 *
 * After the kind and a version (1), u8 each; numbers are varints:
 *   's' marks     last number; the first one
 *   'S' session   number · ttl · due · ended · count of shards · the shards, in rising order */
#include "machine/session/sessions.h"

#include "base/record.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { RECORD = 'S', RECORD_MARKS = 's', RECORD_VERSION = 1 };

static struct sessions *sessions_of(const struct snapshot_walk *walk)
{
    return CONTAINER_OF(walk, struct sessions, walk);
}

static int by_number(const void *a, const void *b) { return *(const uint16_t *)a - *(const uint16_t *)b; }

static void put_session(struct buffer *out, const void *item)
{
    const struct session *session = item;
    uint16_t shards[SESSION_SHARDS];
    record_put_head(out, RECORD, RECORD_VERSION);
    record_put_number(out, session->number);
    record_put_number(out, (uint64_t)session->ttl_ms);
    record_put_number(out, (uint64_t)session->due_ms);
    record_put_number(out, session->ended ? 1 : 0);
    uint16_t count = MACHINE_MUTATED(SHARDS_NOT_KEPT) && !session->ended ? 0 : session->count;
    record_put_number(out, count);
    for (uint16_t i = 0; i < session->count; i++) {
        shards[i] = session_shard(session, i);
    }
    qsort(shards, session->count, sizeof(shards[0]), by_number);
    for (uint16_t i = 0; i < count; i++) {
        record_put_number(out, shards[i]);
    }
}

static void put_marks(struct buffer *out, const struct snapshot_walk *walk)
{
    const struct sessions *sessions = sessions_of(walk);
    if (sessions->last_number != 0) {
        record_put_head(out, RECORD_MARKS, RECORD_VERSION);
        record_put_number(out, sessions->last_number);
    }
}

/* ---- back ---- */

/* Rising, so none twice. */
static bool take_shards(struct slice *from, uint64_t count, uint16_t shards[static SESSION_SHARDS])
{
    uint64_t last = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t shard;
        if (!record_take_number(from, UINT16_MAX, &shard) || shard <= last) {
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
    bool good = record_take_number(&record, sessions->last_number, &number) && number > 0 &&
                record_take_number(&record, (uint64_t)SESSION_TTL_MS, &ttl_ms) &&
                record_take_number(&record, INT64_MAX / 2, &due_ms) && record_take_number(&record, 1, &ended) &&
                record_take_number(&record, SESSION_SHARDS, &count) && take_shards(&record, count, shards);
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
    if (sessions->last_number != 0 || !record_take_number(&record, INT64_MAX, &number) || number == 0 ||
        record.size != 0) {
        return STATUS_CORRUPT;
    }
    sessions->last_number = number;
    return STATUS_OK;
}

static enum status load(struct snapshot_walk *walk, uint8_t record_kind, struct slice rest)
{
    return record_kind == RECORD ? session_load(sessions_of(walk), rest) : marks_load(sessions_of(walk), rest);
}

const struct snapshot_walk_kind sessions_snapshot = {
    .records = {RECORD, RECORD_MARKS},
    .version = RECORD_VERSION,
    .epoch_offset = offsetof(struct session, epoch),
    .put_marks = put_marks,
    .put_item = put_session,
    .load = load,
};
