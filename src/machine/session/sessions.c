#include "machine/session/sessions.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { CHARGE_SESSION = 112, CHARGE_SHARD = 2, FIRST_SHARDS = 4 };

static bool opened_before(const void *a, const void *b)
{
    const struct session *x = a;
    const struct session *y = b;
    return x->number < y->number;
}

void sessions_init(struct sessions *sessions, uint64_t seed)
{
    *sessions = (struct sessions){0};
    table_init(&sessions->table, seed, offsetof(struct session, number));
    static const struct due_order by_number = {offsetof(struct session, heap_index), opened_before};
    due_heap_init(&sessions->heap, &by_number);
    list_init(&sessions->ended);
    snapshot_walk_init(&sessions->walk, &sessions_snapshot, &sessions->table);
}

static void free_session(void *owner, void *item)
{
    struct session *session = item;
    (void)owner;
    free(session->shards);
    free(session);
}

void sessions_deinit(struct sessions *sessions)
{
    while (table_release(&sessions->table, 1024, free_session, NULL)) {
    }
    due_heap_deinit(&sessions->heap);
    snapshot_walk_deinit(&sessions->walk);
}

static struct slice key_of(const uint64_t *number) { return slice_of(number, sizeof(*number)); }

struct session *sessions_find(const struct sessions *sessions, uint64_t number)
{
    return table_find(&sessions->table, table_hash(&sessions->table, key_of(&number)), key_of(&number));
}

/* ---- what is due: a heartbeat leaves the heap as it is; what stands too early in it is moved when it comes up ---- */

static struct session *first_due(struct sessions *sessions, int64_t time_ms)
{
    const struct due_item *first;
    while ((first = due_heap_first(&sessions->heap)) != NULL && first->due_ms <= time_ms) {
        struct session *session = first->of;
        if (session->due_ms == first->due_ms) {
            return session;
        }
        due_heap_change(&sessions->heap, session, session->due_ms);
    }
    return NULL;
}

int64_t sessions_next_due(const struct sessions *sessions)
{
    const struct due_item *first = due_heap_first(&sessions->heap);
    return first == NULL ? INT64_MAX : first->due_ms;
}

/* ---- life ---- */

struct session *sessions_enter(struct sessions *sessions, uint64_t number, int64_t ttl_ms, int64_t due_ms, bool ended)
{
    struct session *session = memory_allocate_zeroed(1, sizeof(*session));
    session->key_size = sizeof(session->number);
    session->number = number;
    session->ttl_ms = ttl_ms;
    session->due_ms = due_ms;
    session->ended = ended;
    session->epoch = sessions->walk.epoch;
    list_init(&session->node);
    table_insert(&sessions->table, table_hash(&sessions->table, key_of(&session->number)), session);
    if (ended) {
        list_append(&sessions->ended, &session->node);
        sessions->ended_count++;
    } else {
        due_heap_insert(&sessions->heap, session, due_ms);
        sessions->live++;
    }
    sessions->memory_bytes += CHARGE_SESSION;
    return session;
}

static void forget(struct sessions *sessions, struct session *session)
{
    ASSERT(session->ended);
    list_remove(&session->node);
    sessions->ended_count--;
    sessions->memory_bytes -= CHARGE_SESSION + (session->shards == NULL ? 0 : (uint64_t)CHARGE_SHARD * session->count);
    table_remove(&sessions->table, table_hash(&sessions->table, key_of(&session->number)), session);
    free_session(NULL, session);
}

static void end(struct sessions *sessions, struct session *session)
{
    session_keep(sessions, session);
    due_heap_remove(&sessions->heap, session);
    session->ended = true;
    list_append(&sessions->ended, &session->node);
    sessions->live--;
    sessions->ended_count++;
    if (session->count == 0) {
        forget(sessions, session);
    }
}

static struct session *find_live(const struct sessions *sessions, uint64_t number, int64_t time_ms)
{
    struct session *session = sessions_find(sessions, number);
    return session == NULL || session->ended || session->due_ms <= time_ms ? NULL : session;
}

uint64_t sessions_open(struct sessions *sessions, int64_t ttl_ms, uint64_t lowest, int64_t time_ms)
{
    if (sessions->table.count >= SESSIONS) {
        return 0;
    }
    sessions->last_number = lowest > sessions->last_number ? lowest : sessions->last_number + 1;
    (void)sessions_enter(sessions, sessions->last_number, ttl_ms, time_ms + ttl_ms, false);
    sessions->opened++;
    return sessions->last_number;
}

int64_t sessions_beat(struct sessions *sessions, uint64_t number, int64_t time_ms)
{
    struct session *session = find_live(sessions, number, time_ms);
    if (session == NULL) {
        return 0;
    }
    sessions->beats++;
    if (!MACHINE_MUTATED(BEAT_IGNORED)) {
        session_keep(sessions, session);
        session->due_ms = time_ms + session->ttl_ms;
    }
    return session->ttl_ms;
}

bool sessions_close(struct sessions *sessions, uint64_t number, int64_t time_ms)
{
    struct session *session = find_live(sessions, number, time_ms);
    if (session == NULL) {
        return false;
    }
    sessions->closed++;
    end(sessions, session);
    return true;
}

int64_t sessions_left_ms(const struct sessions *sessions, uint64_t number, int64_t time_ms)
{
    const struct session *session = find_live(sessions, number, time_ms);
    return session == NULL ? 0 : session->due_ms - time_ms;
}

size_t sessions_expire(struct sessions *sessions, int64_t time_ms, size_t limit)
{
    size_t count = 0;
    for (struct session *first; count < limit && (first = first_due(sessions, time_ms)) != NULL; count++) {
        end(sessions, first);
    }
    sessions->expired += count;
    return count;
}

/* ---- shards that have something of it ---- */

static uint16_t *shards_of(struct session *session)
{
    return session->shards == NULL ? &session->first : session->shards;
}

static uint16_t find_shard(struct session *session, uint32_t shard)
{
    uint16_t at = 0;
    while (at < session->count && shards_of(session)[at] != shard) {
        at++;
    }
    return at;
}

void session_add_shard(struct sessions *sessions, struct session *session, uint32_t shard)
{
    ASSERT(session->count < SESSION_SHARDS && shard <= UINT16_MAX);
    if (session->count == 0) {
        session->first = (uint16_t)shard;
        session->count = 1;
        return;
    }
    if (session->shards == NULL) {
        session->capacity = FIRST_SHARDS;
        session->shards = memory_allocate(FIRST_SHARDS * sizeof(uint16_t));
        session->shards[0] = session->first;
        sessions->memory_bytes += CHARGE_SHARD;
    } else if (session->count == session->capacity) {
        session->capacity *= 2;
        session->shards = memory_resize(session->shards, session->capacity * sizeof(uint16_t));
    }
    session->shards[session->count++] = (uint16_t)shard;
    sessions->memory_bytes += CHARGE_SHARD;
}

int64_t sessions_join(struct sessions *sessions, uint64_t number, uint32_t shard, int64_t time_ms)
{
    struct session *session = find_live(sessions, number, time_ms);
    if (session == NULL) {
        return 0;
    }
    if (find_shard(session, shard) == session->count && !MACHINE_MUTATED(JOIN_FORGOTTEN)) {
        if (session->count >= SESSION_SHARDS) {
            return -1;
        }
        session_keep(sessions, session);
        session_add_shard(sessions, session, shard);
    }
    return session->due_ms - time_ms;
}

void sessions_leave(struct sessions *sessions, uint64_t number, uint32_t shard)
{
    struct session *session = sessions_find(sessions, number);
    if (session == NULL || !session->ended) {
        return;
    }
    uint16_t at = find_shard(session, shard);
    if (at == session->count) {
        return;
    }
    session_keep(sessions, session);
    sessions->memory_bytes -= session->shards == NULL ? 0 : CHARGE_SHARD;
    shards_of(session)[at] = shards_of(session)[--session->count];
    if (session->count == 0) {
        forget(sessions, session);
    }
}
