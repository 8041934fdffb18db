#include "machine/txn/part.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/record.h"
#include "machine/events.h"
#include "machine/keys/dump.h"
#include "machine/session/ties.h"
#include "machine/txn/part_internal.h"

#include <stdlib.h>

/* The moves that there are; every other one is a mistake of ours. Pre-commit and pre-abort do not bind the outcome: it
 * belongs to the quorum, which may have been others'. */
static const bool moves[PART_STATES][PART_STATES] = {
    [PART_NONE] = {[PART_HELD] = true, [PART_WAIT] = true, [PART_ABORTED] = true},
    [PART_HELD] = {[PART_ABORTED] = true},
    [PART_WAIT] = {[PART_PRECOMMIT] = true, [PART_PREABORT] = true, [PART_COMMITTED] = true, [PART_ABORTED] = true},
    [PART_PRECOMMIT] = {[PART_COMMITTED] = true, [PART_ABORTED] = true},
    [PART_PREABORT] = {[PART_COMMITTED] = true, [PART_ABORTED] = true},
};

const char *part_state_name(enum part_state state)
{
    static const char *const names[PART_STATES] = {"NONE",      "WAIT",    "PRECOMMIT", "PREABORT",
                                                   "COMMITTED", "ABORTED", "HELD"};
    return names[state];
}

void parts_init(struct parts *parts, uint64_t seed)
{
    *parts = (struct parts){0};
    table_init(&parts->table, seed, offsetof(struct part, id));
    lock_table_init(&parts->locks, seed);
    list_init(&parts->prepared);
    list_init(&parts->finished);
}

void part_free(struct part *part)
{
    buffer_deinit(&part->body);
    free(part->participants);
    free(part);
}

static void release_part(void *owner, void *item)
{
    (void)owner;
    part_free(item);
}

void parts_deinit(struct parts *parts)
{
    while (table_release(&parts->table, 1024, release_part, NULL)) {
    }
    lock_table_deinit(&parts->locks);
    free(parts->epochs);
}

struct part *parts_find(const struct parts *parts, struct slice id)
{
    return table_find(&parts->table, table_hash(&parts->table, id), id);
}

bool parts_see_epoch(struct parts *parts, uint32_t home, uint64_t epoch)
{
    ASSERT(home > 0 && home <= TXN_PARTICIPANTS);
    if (home > parts->epoch_count) {
        parts->epochs = memory_resize(parts->epochs, home * sizeof(*parts->epochs));
        memset(parts->epochs + parts->epoch_count, 0, (home - parts->epoch_count) * sizeof(*parts->epochs));
        parts->epoch_count = home;
    }
    uint64_t *newest = &parts->epochs[home - 1];
    if (epoch < *newest) {
        return false;
    }
    *newest = epoch;
    return true;
}

/* ---- the body: flags u8 · size, key unless it is about all · size, value when it is written and not deleted; sizes
 * are varints ---- */

enum { BODY_EXCLUSIVE = 1, BODY_WRITTEN = 2, BODY_DELETED = 4, BODY_ALL = 8 };

void part_add_key(struct buffer *body, const struct part_key *key)
{
    ASSERT((!key->written || key->exclusive) && (!key->all || (body->size == 0 && key->written == key->deleted)));
    int flags = (key->exclusive ? BODY_EXCLUSIVE : 0) | (key->written ? BODY_WRITTEN : 0) |
                (key->written && key->deleted ? BODY_DELETED : 0) | (key->all ? BODY_ALL : 0);
    buffer_append_byte(body, (uint8_t)flags);
    if (key->all) {
        return;
    }
    record_put_text(body, key->key);
    if (flags == (BODY_EXCLUSIVE | BODY_WRITTEN)) {
        record_put_text(body, key->value);
    }
}

bool part_next(struct slice *from, struct part_key *ret_key)
{
    if (from->size == 0) {
        return false;
    }
    uint8_t flags = from->data[0];
    struct part_key key = {.exclusive = (flags & BODY_EXCLUSIVE) != 0,
                           .written = (flags & BODY_WRITTEN) != 0,
                           .deleted = (flags & BODY_DELETED) != 0,
                           .all = (flags & BODY_ALL) != 0};
    *from = slice_of(from->data + 1, from->size - 1);
    if (flags > 15 || (key.written && !key.exclusive) || (key.deleted && !key.written) ||
        (key.all && key.written != key.deleted) || (!key.all && !record_take_text(from, SIZE_MAX, &key.key)) ||
        (key.written && !key.deleted && !record_take_text(from, SIZE_MAX, &key.value))) {
        return false;
    }
    *ret_key = key;
    return true;
}

/* ---- lists and locks ---- */

static bool is_prepared(const struct part *part)
{
    return part->state != PART_COMMITTED && part->state != PART_ABORTED;
}

struct part *part_create(struct slice id)
{
    struct part *part = memory_allocate_zeroed(1, sizeof(*part) + id.size);
    part->id_size = (uint32_t)id.size;
    memcpy(part->id, id.data, id.size);
    list_init(&part->node);
    return part;
}

static void lock(struct parts *parts, const struct part_key *key, const struct part *part, bool take)
{
    if (key->all) {
        (take ? lock_table_take_all : lock_table_release_all)(&parts->locks, key->exclusive, part);
    } else {
        (take ? lock_table_take : lock_table_release)(&parts->locks, key->key, key->exclusive, part);
    }
}

/* Takes or gives back all locks of a body. */
static void lock_body(struct parts *parts, const struct part *part, bool take)
{
    struct slice rest = buffer_slice(&part->body);
    struct part_key key;
    bool covered = false; /* by the lock of all keys */
    while (part_next(&rest, &key)) {
        if (!covered) {
            lock(parts, &key, part, take);
        }
        covered = covered || (key.all && key.exclusive);
    }
    ASSERT(rest.size == 0);
}

void part_enter(struct parts *parts, struct part *part)
{
    bool prepared = is_prepared(part);
    table_insert(&parts->table, table_hash(&parts->table, part_id(part)), part);
    list_append(prepared ? &parts->prepared : &parts->finished, &part->node);
    parts->prepared_count += prepared ? 1 : 0;
    parts->finished_count += prepared ? 0 : 1;
    parts->bytes += part->body.size;
    lock_body(parts, part, true);
}

static void set_participants(struct part *part, const struct txn_prepare *prepare)
{
    if (prepare->shard_count == 0) {
        return;
    }
    part->participants = memory_allocate(prepare->shard_count * sizeof(*part->participants));
    for (uint32_t i = 0; i < prepare->participant_count; i++) {
        uint32_t shard;
        uint32_t last;
        ASSERT(txn_shards_parse(prepare->participants[i], &shard, &last));
        for (; shard <= last; shard++) {
            part->participants[part->participant_count++] = shard;
        }
    }
}

struct part *parts_prepare(struct parts *parts, const struct part_prepare *prepare, struct buffer *body)
{
    enum part_state to = prepare->prepare->mode == PREPARE_HOLD ? PART_HELD : PART_WAIT;
    ASSERT(moves[PART_NONE][to] && parts->prepared_count < TXN_PARTS);
    struct part *part = part_create(prepare->prepare->id);
    part->state = (uint8_t)to;
    part->protocol = (uint8_t)prepare->prepare->protocol;
    part->home = prepare->prepare->home;
    part->epoch = prepare->prepare->epoch;
    part->vote = prepare->position;
    part->since_ms = prepare->time_ms;
    part->key_count = prepare->key_count;
    part->runner = prepare->prepare->runner;
    set_participants(part, prepare->prepare);
    part->body = *body;
    buffer_init(body);
    part_enter(parts, part);
    return part;
}

struct part *parts_refuse(struct parts *parts, struct slice id, uint32_t home, uint64_t epoch, uint64_t position,
                          int64_t time_ms)
{
    ASSERT(moves[PART_NONE][PART_ABORTED]);
    struct part *part = part_create(id);
    part->state = PART_ABORTED;
    part->protocol = TXN_3PC;
    part->home = home;
    part->epoch = epoch;
    part->vote = position;
    part->since_ms = time_ms;
    part_enter(parts, part);
    return part;
}

bool part_move(struct part *part, enum part_state to, int64_t time_ms)
{
    ASSERT(to == PART_PRECOMMIT || to == PART_PREABORT);
    if (!moves[part->state][to] || part->protocol != TXN_3PC) {
        return false;
    }
    part->state = (uint8_t)to;
    part->since_ms = time_ms;
    return true;
}

/* ---- the outcome ---- */

/* What is known is the value, not what the client has said: it is told as a command would be told that makes such a
 * value of the former one. A dump is its head, its expiry and its value (keys/dump.h). */
static void tell_written(struct machine_events *events, struct slice key, struct slice former, struct slice written)
{
    enum { HEAD_BYTES = 1 };
    size_t former_due = former.size != 0 ? dump_due_bytes(former.data[0]) : 0;
    size_t due = dump_due_bytes(written.data[0]);
    uint8_t encoding = written.data[0] & 0x0f;
    bool same_due = former.size != 0 && former_due == due && former.data[0] >> 4 == written.data[0] >> 4 &&
                    memcmp(former.data + HEAD_BYTES, written.data + HEAD_BYTES, due) == 0;
    bool same_value =
        former.size != 0 && (former.data[0] & 0x0f) == encoding &&
        slice_equal(slice_of(former.data + HEAD_BYTES + former_due, former.size - HEAD_BYTES - former_due),
                    slice_of(written.data + HEAD_BYTES + due, written.size - HEAD_BYTES - due));
    bool hash = encoding == ENCODING_LISTPACK || encoding == ENCODING_HASHTABLE;
    if (!same_value || same_due) {
        machine_events_note(events, hash ? EVENT_HASH : EVENT_STRING, hash ? "hset" : "set", key);
    }
    if (!same_due && due != 0) {
        machine_events_note(events, EVENT_GENERIC, "expire", key);
    } else if (!same_due && same_value) {
        machine_events_note(events, EVENT_GENERIC, "persist", key);
    }
}

/* It ends with a session that has ended since the vote, or is ending. */
static bool is_over(const struct ties *ties, struct slice value)
{
    struct session_id id;
    if (ties == NULL || !dump_session(value, &id)) {
        return false;
    }
    const struct tie *tie = ties_find(ties, id);
    return tie == NULL || tie->state != TIE_LIVES;
}

static void write_key(struct keyspace *keyspace, struct ties *ties, const struct keyspace_time *time,
                      const struct part_key *key, uint64_t position)
{
    struct entry *former = keyspace_edit(keyspace, time, key->key);
    struct machine_events *events = keyspace_events(keyspace);
    if (key->deleted || is_over(ties, key->value)) {
        if (former != NULL) {
            keyspace_remove(keyspace, former, position);
            machine_events_note(events, EVENT_GENERIC, "del", key->key);
        } else {
            keyspace_touch_absent(keyspace, key->key, position);
        }
        return;
    }
    bool told = events != NULL && events->wanted != 0;
    struct buffer before;
    buffer_init(&before);
    if (former != NULL) {
        if (told) {
            entry_dump(former, ties, &before);
        }
        keyspace_drop(keyspace, former);
        keyspace_listen(keyspace, NULL); /* it is no new one */
    }
    struct entry *entry = NULL;
    enum status status = keyspace_restore(keyspace, ties, key->key, key->value, &entry);
    ASSERT(status == STATUS_OK); /* PREPARE has looked */
    keyspace_tell_whole(keyspace, entry, former != NULL);
    keyspace_changed(keyspace, entry, position);
    keyspace_listen(keyspace, events);
    if (told) {
        tell_written(events, key->key, buffer_slice(&before), key->value);
    }
    buffer_deinit(&before);
}

/* Out of table, list and locks. */
static void part_leave(struct parts *parts, struct part *part)
{
    lock_body(parts, part, false);
    bool prepared = is_prepared(part);
    table_remove(&parts->table, table_hash(&parts->table, part_id(part)), part);
    list_remove(&part->node);
    parts->prepared_count -= prepared ? 1 : 0;
    parts->finished_count -= prepared ? 0 : 1;
    parts->bytes -= part->body.size;
}

void part_finish(struct parts *parts, struct part *part, bool commit, struct keyspace *keyspace,
                 const struct keyspace_time *time, uint64_t position)
{
    enum part_state to = commit ? PART_COMMITTED : PART_ABORTED;
    ASSERT(moves[part->state][to]);
    struct slice rest = buffer_slice(&part->body);
    struct part_key key;
    while (commit && part_next(&rest, &key)) {
        if (key.all && key.deleted) {
            keyspace_clear(keyspace, position);
        } else if (key.written) {
            write_key(keyspace, parts->ties, time, &key, position);
        }
    }
    part_leave(parts, part);
    if (part->protocol != TXN_3PC) {
        part_free(part);
        return;
    }
    buffer_deinit(&part->body);
    part->key_count = 0;
    part->state = (uint8_t)to;
    part->since_ms = time->applied_time_ms;
    part_enter(parts, part);
}

void parts_let_go(struct parts *parts, struct part *part)
{
    ASSERT(part->state == PART_HELD);
    part_leave(parts, part);
    part_free(part);
}

void part_forget(struct parts *parts, struct part *part)
{
    ASSERT(part->state == PART_COMMITTED || part->state == PART_ABORTED);
    part_leave(parts, part);
    part_free(part);
}
