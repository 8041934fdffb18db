/* The locks of a shard: who holds what until when, who waits, and what was before. Pure; a part of the machine, beside
 * the keys and never touched by them.
 *
 * Invariants
 * 1. Of one lock a later grant has a larger token, for ever: also when the lock was forgotten meanwhile.
 * 2. A lease ends by cluster time, in an apply, not before its time to live is over; nothing shortens it but a release
 * or an administrator's force, and only its owner makes it longer.
 * 3. First come, first served: nobody is granted while another who asked earlier waits for the same lock.
 * 4. Whoever asks again gets what it has: the same token, or the same place among those who wait.
 * 5. A wait ends once: with a grant, at its deadline, or since its client is gone. What ends it is told by one notice,
 *    in the apply that ends it; whoever missed that may ask (locks_ask).
 * 6. All of it is bounded by lock_limits.h.
 *
 * A token is restores × 2^56 + the position of the command, or of the time entry, that granted it; one more than the
 * last one when several were granted by the same. Positions grow by 2^16 an entry: at ten thousand entries a second
 * that is enough for three years of one restore's, and then still grows. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "base/status.h"
#include "machine/due_heap.h"
#include "machine/keys/table.h"
#include "machine/lock/lock_heat.h"
#include "machine/session/session_id.h"
#include "machine/snapshot_walk.h"

enum { LOCK_TOKEN_RESTORE_SHIFT = 56 };

enum lock_mode { LOCK_EXCLUSIVE, LOCK_SHARED, LOCK_PERMITS_MODE, LOCK_MODES };
enum lock_end { LOCK_RELEASED, LOCK_EXPIRED, LOCK_SESSION, LOCK_ADMIN, LOCK_CLIENT_GONE, LOCK_ENDS };

/* Where the answer to a wait goes, and the news that a lock is lost. */
struct lock_origin {
    uint64_t node; /* 0: nobody waits for news */
    uint64_t start;
    uint64_t client; /* of the node */
    uint64_t number; /* of the request there; never the same twice in one start */
};

/* Beside the number, in a claim's origin: other requests of the owner were told of the grant, so this one does not take
 * it back. */
#define LOCK_TOLD_OTHERS (UINT64_C(1) << 63)

struct tie;
struct ties;
struct lock_part_ask;

struct lock_request {
    struct slice key, owner, note, id; /* id: of REENTRANT; empty: not given */
    int64_t ttl_ms, wait_ms;
    enum lock_mode mode;
    uint32_t permits, limit; /* of PERMITS */
    struct lock_origin origin;
    struct slice session; /* its name, as it was asked for; empty: none */
    struct tie *tie;      /* the lock ends with this session, and ttl_ms is what that one lives at least; NULL */
    const struct lock_part_ask *part; /* of a LOCK.MACQUIRE (lock_parts.h); NULL: it is none */
};

enum lock_outcome {
    LOCK_GRANTED, /* token and ttl */
    LOCK_HELD_BY_OTHERS,
    LOCK_QUEUED,
    LOCK_IS_HELD_OTHERWISE, /* this owner has it, or waits, in another mode or with other permits */
    LOCK_OTHER_LIMIT,       /* the present LIMIT is another: `limit` */
    LOCK_MANY_HOLDERS,
    LOCK_MANY_WAITERS,
    LOCK_MANY_WAITERS_IN_ALL,
    LOCK_MANY_LOCKS,
    LOCK_MANY_IDS,
    LOCK_MANY_OF_SESSION,
    /* with LOCK.MACQUIRE */
    LOCK_RESERVED,
    LOCK_IS_PART,       /* this owner has asked for it by a LOCK.MACQUIRE that is under way */
    LOCK_OTHER_REQUEST, /* this part's owner has asked for the lock by another request that is under way */
    LOCK_NUMBER_REFUSED,
};

/* How an owner has a lock, or asks for it. */
struct lock_manner {
    bool waits;
    enum lock_mode mode;
    uint32_t permits, limit;   /* of PERMITS */
    struct session_id session; /* shard 0: it has a time to live of its own */
};

struct lock_answer {
    uint64_t token;
    int64_t ttl_ms;
    uint32_t limit;
    struct lock_manner had; /* of LOCK_IS_HELD_OTHERWISE */
};

/* What changes when it is asked at: position and time of the apply. */
struct lock_now {
    uint64_t position;
    int64_t time_ms;
};

struct lock_node;

/* A worker of a node, and up to which of its requests home has refused (lock_parts.h). */
struct lock_refused {
    uint64_t node, start, number;
};

struct locks {
    struct table table; /* of struct lock */
    struct table index; /* of struct claim, of locks with many */
    struct due_heap heap;
    struct list idle; /* of struct lock, the longest idle first */
    bool idle_loaded; /* in no order yet */
    uint64_t idle_count, idle_bytes;
    struct lock_node **nodes; /* from where somebody waits */
    size_t node_count, node_capacity;
    uint64_t waiters, holders;
    uint64_t memory_bytes;
    uint64_t restores;    /* times that the cluster was restored */
    uint64_t last_token;  /* of all locks */
    uint64_t last_order;  /* of all claims */
    uint64_t last_used;   /* of all idle locks */
    uint64_t fence_floor; /* no token that was seen of a forgotten lock is larger */
    struct ties *ties;    /* of the same machine: whom claims are tied to; may be NULL */
    uint64_t tied;        /* claims that end with sessions */
    struct list reserved; /* struct lock_part, in any order; a snapshot has them with their claims */
    struct lock_refused *refused;
    uint32_t refused_count;
    /* No part of the state. */
    uint64_t last_number;
    bool tell;             /* notices are wanted, since this replica leads */
    struct buffer notices; /* lock_notice.h */
    uint64_t granted, expired, queued;
    uint64_t term; /* only of a known bug */
    struct lock_heat heat[LOCKS_HOT];
    struct snapshot_walk walk; /* kind: locks_snapshot */
};

void locks_init(struct locks *locks, uint64_t seed);
void locks_deinit(struct locks *locks);

/* ---- changes; each ends some leases and waits that are due, first ---- */

enum lock_outcome locks_acquire(struct locks *locks, const struct lock_request *request, const struct lock_now *now,
                                struct lock_answer *ret_answer);
/* The lease has so much left from now on, or more: a renewal never makes it shorter, for it may be one that was under
 * way for long while a later one was answered. Returns what is left; 0: it is no longer held. */
int64_t locks_renew(struct locks *locks, struct slice key, struct slice owner, uint64_t token, int64_t ttl_ms,
                    const struct lock_now *now);
/* One logical acquire is taken back, that of `id` or else the last one; with the last of them the lock is released.
 * False: it was not held, or not by this id. */
bool locks_release(struct locks *locks, struct slice key, struct slice owner, uint64_t token, struct slice id,
                   const struct lock_now *now);
/* By force, of an administrator: all its acquires at once, and whoever acquired it is told. From then on FENCE.CHECK
 * refuses the token, also when nobody has come with a newer one yet. False: it was not held. */
bool locks_take_away(struct locks *locks, struct slice key, struct slice owner, uint64_t token,
                     const struct lock_now *now);
/* The client of this request is gone: its wait, or what was granted to it meanwhile, ends; but no grant that another
 * request of the same owner was told of. */
void locks_take_back(struct locks *locks, struct slice key, struct slice owner, const struct lock_origin *origin,
                     const struct lock_now *now);
/* The same for all waits of a node that are of an earlier start than this; returns how many those were. */
size_t locks_reap(struct locks *locks, uint64_t node, uint64_t start, const struct lock_now *now);
/* Ends leases and waits that are due, at most `limit`; returns how many. */
size_t locks_expire(struct locks *locks, const struct lock_now *now, size_t limit);
/* The session has ended, or is ending: so do at most `limit` of its locks and waits, in the order of asking; returns
 * how many. */
size_t locks_end_tied(struct locks *locks, struct tie *tie, size_t limit, const struct lock_now *now);
/* FENCE.CHECK. False: a newer token was seen, and this one is not held. */
bool locks_fence(struct locks *locks, struct slice key, uint64_t token, const struct lock_now *now);

#ifdef COHORT_MUTATIONS
/* A known bug: in another term than the last one, every lease has its whole time again. */
void locks_reset_leases(struct locks *locks, uint64_t term, int64_t time_ms);
#endif

/* ---- looking ---- */

/* The token holds the lock at this time. */
bool locks_held(const struct locks *locks, struct slice key, uint64_t token, int64_t time_ms);
/* This owner holds it by this token, and as long as a session lives. */
bool locks_held_by_session(const struct locks *locks, struct slice key, struct slice owner, uint64_t token);
/* What became of a request that waited. */
enum lock_asked { LOCK_ASKED_NOTHING, LOCK_ASKED_WAITS, LOCK_ASKED_HOLDS };
enum lock_asked locks_ask(const struct locks *locks, struct slice key, struct slice owner,
                          const struct lock_origin *origin, int64_t time_ms, struct lock_answer *ret_answer);
/* No token that any lock was granted is larger. */
static inline uint64_t locks_last_token(const struct locks *locks) { return locks->last_token; }
/* Nodes from where somebody waits: the one at this place, and a start that none of these requests is older than.
 * False: there are no more. */
bool locks_waiting_node(const struct locks *locks, size_t place, uint64_t *ret_node, uint64_t *ret_oldest_start);
/* When the next lease or wait ends; INT64_MAX: never. */
int64_t locks_next_due(const struct locks *locks);
/* Locks that are held or waited for. */
static inline uint64_t locks_busy(const struct locks *locks) { return locks->table.count - locks->idle_count; }

/* What is wrong with the state, by the invariants of lock.h; NULL. Walks everything: for tests and the simulator. */
const char *locks_problem(const struct locks *locks);
