#include "machine/session/sessions.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { CHARGE_SESSION = 112, CHARGE_SHARD = 2, FIRST_SHARDS = 4 };

void sessions_init(struct sessions *sessions, uint64_t seed)
{
    *sessions = (struct sessions){0};
    table_init(&sessions->table, seed, offsetof(struct session, number));
    list_init(&sessions->ended);
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
    free(sessions->heap);
    buffer_deinit(&sessions->pending);
}

static struct slice key_of(const uint64_t *number) { return slice_of(number, sizeof(*number)); }

struct session *sessions_find(const struct sessions *sessions, uint64_t number)
{
    return table_find(&sessions->table, table_hash(&sessions->table, key_of(&number)), key_of(&number));
}

/* ---- the heap: a heartbeat leaves it as it is; what stands too early in it is moved when it comes up ---- */

static bool before(const struct session_due *a, const struct session_due *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->session->number < b->session->number;
}

static void place(struct sessions *sessions, uint32_t at, struct session_due due)
{
    sessions->heap[at] = due;
    due.session->heap_index = at;
}

static void sift_up(struct sessions *sessions, uint32_t at, struct session_due due)
{
    while (at > 0 && before(&due, &sessions->heap[(at - 1) / 4])) {
        place(sessions, at, sessions->heap[(at - 1) / 4]);
        at = (at - 1) / 4;
    }
    place(sessions, at, due);
}

static void sift_down(struct sessions *sessions, uint32_t at, struct session_due due)
{
    for (;;) {
        uint32_t first = 4 * at + 1;
        uint32_t end = first + 4 < sessions->heap_count ? first + 4 : sessions->heap_count;
        uint32_t least = first;
        for (uint32_t child = first; child < end; child++) {
            least = before(&sessions->heap[child], &sessions->heap[least]) ? child : least;
        }
        if (first >= end || !before(&sessions->heap[least], &due)) {
            break;
        }
        place(sessions, at, sessions->heap[least]);
        at = least;
    }
    place(sessions, at, due);
}

static void heap_insert(struct sessions *sessions, struct session *session)
{
    if (sessions->heap_count == sessions->heap_capacity) {
        sessions->heap_capacity = sessions->heap_capacity == 0 ? 16 : 2 * sessions->heap_capacity;
        sessions->heap = memory_resize(sessions->heap, sessions->heap_capacity * sizeof(*sessions->heap));
    }
    sift_up(sessions, sessions->heap_count++, (struct session_due){session->due_ms, session});
}

static void heap_remove(struct sessions *sessions, struct session *session)
{
    uint32_t at = session->heap_index;
    ASSERT(at < sessions->heap_count && sessions->heap[at].session == session);
    struct session_due last = sessions->heap[--sessions->heap_count];
    if (at == sessions->heap_count) {
        return;
    }
    if (at > 0 && before(&last, &sessions->heap[(at - 1) / 4])) {
        sift_up(sessions, at, last);
    } else {
        sift_down(sessions, at, last);
    }
}

/* The session that is due first, if that is by this time. */
static struct session *first_due(struct sessions *sessions, int64_t time_ms)
{
    while (sessions->heap_count > 0 && sessions->heap[0].due_ms <= time_ms) {
        struct session *first = sessions->heap[0].session;
        if (first->due_ms == sessions->heap[0].due_ms) {
            return first;
        }
        sift_down(sessions, 0, (struct session_due){first->due_ms, first});
    }
    return NULL;
}

int64_t sessions_next_due(const struct sessions *sessions)
{
    return sessions->heap_count == 0 ? INT64_MAX : sessions->heap[0].due_ms;
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
    session->epoch = sessions->epoch;
    list_init(&session->node);
    table_insert(&sessions->table, table_hash(&sessions->table, key_of(&session->number)), session);
    if (ended) {
        list_append(&sessions->ended, &session->node);
        sessions->ended_count++;
    } else {
        heap_insert(sessions, session);
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
    heap_remove(sessions, session);
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
