/* The sessions that live in a shard. Pure; a part of the machine. What they have in other shards is in ties.h, there.
 *
 *   open ──▶ LIVES ──closed, or its time is over──▶ ENDED ──every shard that joined has left──▶ forgotten
 *             │  ▲                                  (at once when none has joined)
 *             └──┘ a heartbeat: its time begins anew
 *
 * Invariants
 * 1. A number never comes again: it is restores × 2^56 + the position of the command that opened it.
 * 2. A session ends by cluster time, in an apply, not before its time to live is over since the last heartbeat that
 *    was applied; or since it was closed. What has ended is never open again.
 * 3. A shard that joined is remembered until it has said that nothing is left of the session there; none joins a
 *    session that has ended. So absent and ENDED say the same to everybody else: it is over.
 * 4. The order in which sessions end is (due, number), and the same at every replica, however its heap came about.
 * 5. All of it is bounded by session_limits.h. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "base/status.h"
#include "machine/due_heap.h"
#include "machine/keys/table.h"
#include "machine/session/session_limits.h"
#include "machine/snapshot_walk.h"

struct session {
    uint32_t key_size;   /* first: struct table_item */
    uint32_t heap_index; /* of one that lives */
    int64_t due_ms, ttl_ms;
    struct list node;  /* of the ended ones, in the order of their ends */
    uint16_t *shards;  /* that joined; NULL: the one of `first` */
    uint16_t first;    /* 0: none */
    uint16_t count;    /* of shards */
    uint16_t capacity; /* of `shards` */
    bool ended;
    uint32_t epoch;  /* of the last snapshot that has it, or need not */
    uint64_t number; /* the table's key */
};

struct sessions {
    struct table table;
    struct due_heap heap; /* a session is due when it says, or later */
    struct list ended;    /* those that shards have not left yet */
    uint64_t live, ended_count;
    uint64_t last_number;
    uint64_t memory_bytes;
    /* No part of the state. */
    uint64_t opened, expired, closed, beats, beat_commands; /* since the process started */
    struct snapshot_walk walk;
};

void sessions_init(struct sessions *sessions, uint64_t seed);
void sessions_deinit(struct sessions *sessions);

/* The number; 0: there are SESSIONS. `lowest` is what it must not be below: restores and position. */
uint64_t sessions_open(struct sessions *sessions, int64_t ttl_ms, uint64_t lowest, int64_t time_ms);
/* Its time to live, from now on; 0: it has ended. */
int64_t sessions_beat(struct sessions *sessions, uint64_t number, int64_t time_ms);
/* False: it had ended. */
bool sessions_close(struct sessions *sessions, uint64_t number, int64_t time_ms);
/* What remains of it; 0: it has ended. */
int64_t sessions_left_ms(const struct sessions *sessions, uint64_t number, int64_t time_ms);
/* A shard is going to have something of it. What remains of it; 0: it has ended; -1: too many shards. */
int64_t sessions_join(struct sessions *sessions, uint64_t number, uint32_t shard, int64_t time_ms);
/* Nothing of a session that has ended is left in this shard. */
void sessions_leave(struct sessions *sessions, uint64_t number, uint32_t shard);
/* Ends what is due, at most `limit`; returns how many. */
size_t sessions_expire(struct sessions *sessions, int64_t time_ms, size_t limit);
/* No session is due before; INT64_MAX: there is none. */
int64_t sessions_next_due(const struct sessions *sessions);

struct session *sessions_find(const struct sessions *sessions, uint64_t number);
static inline uint16_t session_shard(const struct session *session, uint16_t at)
{
    return session->shards == NULL ? session->first : session->shards[at];
}
static inline struct session *session_of_ended(const struct list *node)
{
    return CONTAINER_OF(node, struct session, node);
}

/* ---- session_snapshot.c ---- */

extern const struct snapshot_walk_kind sessions_snapshot;
/* Before each change of a session: the running snapshot has it as it was. */
static inline void session_keep(struct sessions *sessions, struct session *session)
{
    snapshot_walk_keep(&sessions->walk, session);
}
/* For loading: into the table, and the heap or the list of those that ended. */
struct session *sessions_enter(struct sessions *sessions, uint64_t number, int64_t ttl_ms, int64_t due_ms, bool ended);
void session_add_shard(struct sessions *sessions, struct session *session, uint32_t shard);
