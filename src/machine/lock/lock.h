/* What a lock looks like in memory. For the files of this folder alone.
 *
 * Who asks for a lock makes one claim, and it is the same memory from the first to the last:
 *
 *    asks ──▶ WAITS ──its turn──▶ HOLDS ──▶ PAST (with why it ended), forgotten when LOCK_HISTORY newer ones ended
 *      │        └─end of the wait, its client is gone──▶ nothing
 *      └────────the lock is free─▶ HOLDS
 *
 * Invariants
 * 1. An owner has at most one claim of a lock that waits or holds.
 * 2. Holders are of one mode: one EXCLUSIVE, or some SHARED, or PERMITS that sum up to `limit` at most.
 * 3. Waiters stand in the order in which they asked. When there are some, the first of them does not fit beside the
 *    holders, or there are LOCK_HOLDERS.
 * 4. A claim that waits or holds is in the heap, under the end of its wait or lease.
 * 5. A lock nobody has a claim of is idle, and in the list of these. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "machine/keys/table.h"
#include "machine/lock/lock_limits.h"
#include "machine/lock/lock_notice.h"
#include "machine/lock/lock_parts.h"
#include "machine/lock/locks.h"
#include "machine/session/ties.h"

enum claim_state { CLAIM_WAITS, CLAIM_HOLDS, CLAIM_PAST };

struct lock;

struct claim {
    uint32_t key_size;    /* first: struct table_item; of the index: number of the lock, owner */
    uint32_t heap_index;  /* 0: in none */
    struct list node;     /* of the lock's waiters, holders or past */
    struct list node_of;  /* while it waits: of lock_node.claims */
    struct list tie_node; /* while it lives and `tie` is not NULL: of tie->claims */
    struct tie *tie;      /* it ends with this session; NULL */
    struct lock *lock;
    uint64_t order;            /* larger than of all that asked earlier */
    uint64_t token;            /* of a grant */
    int64_t due_ms;            /* the wait, the lease ends; of a past one: it ended */
    int64_t since_ms;          /* it waits, it holds */
    int64_t ttl_ms;            /* of the lease, as asked */
    struct lock_origin origin; /* its number may be with LOCK_TOLD_OTHERS */
    struct buffer *ids;        /* of REENTRANT: each its size u8 and bytes; NULL: it does not count */
    struct lock_part *part;    /* lock_parts.h; NULL: it is none, or granted */
    uint32_t id_count;
    uint32_t permits;
    uint16_t note_size;
    uint8_t state;   /* enum claim_state */
    uint8_t mode;    /* enum lock_mode */
    uint8_t end;     /* enum lock_end */
    uint8_t bytes[]; /* number of the lock u64, owner, note */
};

enum { CLAIM_PREFIX = sizeof(uint64_t) };

struct lock {
    uint32_t key_size; /* first: struct table_item */
    uint32_t epoch;    /* of the last snapshot that has it, or need not */
    uint64_t number;   /* in this process */
    uint64_t used;     /* of an idle one: larger than of all that are idle for longer */
    uint64_t fence;    /* the newest token that FENCE.CHECK has seen; 0: none */
    uint64_t grants;
    struct list idle_node;
    struct list holders, waiters, past; /* the oldest first */
    uint64_t permits_held;
    uint32_t holder_count, waiter_count, past_count;
    uint32_t permit_claims; /* live ones of mode PERMITS, … */
    uint32_t limit;         /* … and what they all gave as LIMIT */
    uint32_t bytes;         /* of its past, as charged */
    bool indexed;           /* its claims are in locks.index: since they became many */
    uint8_t key[];
};

static inline struct slice lock_key(const struct lock *lock) { return slice_of(lock->key, lock->key_size); }

static inline struct slice claim_owner(const struct claim *claim)
{
    return slice_of(claim->bytes + CLAIM_PREFIX, claim->key_size - CLAIM_PREFIX);
}

static inline struct slice claim_note(const struct claim *claim)
{
    return slice_of(claim->bytes + claim->key_size, claim->note_size);
}

static inline struct claim *claim_of(const struct list *node) { return CONTAINER_OF(node, struct claim, node); }

static inline uint64_t claim_count(const struct lock *lock)
{
    return (uint64_t)lock->holder_count + lock->waiter_count;
}

/* ---- lock_record.c: memory of locks and claims ---- */

struct lock *lock_find(const struct locks *locks, struct slice key);
/* Makes one that is not there, idle. */
struct lock *lock_add(struct locks *locks, struct slice key);
/* Forgets one that is idle. */
void lock_forget(struct locks *locks, struct lock *lock);
/* Idle ones go, until they are within their limits. */
void locks_tidy(struct locks *locks);
/* It is going to have a claim; it has none any more, if that is so. */
void lock_busy(struct locks *locks, struct lock *lock);
void lock_idle(struct locks *locks, struct lock *lock);

struct claim *claim_create(const struct lock *lock, struct slice owner, struct slice note);
void claim_free(struct claim *claim);
/* The claim of this owner that waits or holds, or NULL. */
struct claim *lock_claim(const struct locks *locks, const struct lock *lock, struct slice owner);
/* Puts a claim behind the others of its state, and in the heap if it lives; its memory counts. */
void claim_enter(struct locks *locks, struct claim *claim);
/* Takes it out again. */
void claim_leave(struct locks *locks, struct claim *claim);
/* It does not count any more. What is charged for it changes. */
void claim_free_ids(struct claim *claim);
/* Bytes charged for it. */
uint32_t claim_charge(const struct claim *claim);

/* ---- lock_acquire.c ---- */

/* Several requests of the owner are told of this grant, so the end of one of their clients does not end it. */
void claim_tell_another(struct locks *locks, struct claim *claim, const struct lock_origin *origin);

/* ---- lock_parts.c ---- */

struct lock_part *lock_part_create(const struct lock_part_ask *ask, int64_t deadline_ms);
/* What a claim that is a part becomes when its turn has come; it is in no list. */
void lock_part_reserve(struct claim *claim);
/* Of two requests of one owner, the earlier one's claim or the later request is a part. */
enum lock_outcome lock_part_again(struct locks *locks, struct claim *claim, const struct lock_request *request,
                                  const struct lock_now *now, struct lock_answer *ret_answer);
/* Home has refused this request; no part is made of it. */
bool lock_part_refused(const struct locks *locks, const struct lock_origin *origin);
/* It is reserved, and holds nothing. */
static inline bool claim_is_reserved(const struct claim *claim)
{
    return claim->state == CLAIM_HOLDS && claim->part != NULL;
}

/* ---- lock_parts_snapshot.c: behind the record of a lock, those of its parts, each behind its size ---- */

void lock_parts_put(struct buffer *out, const struct lock *lock);
void lock_refused_put(struct buffer *out, const struct locks *locks);
MUST_USE enum status lock_part_load(struct locks *locks, struct slice record);
MUST_USE enum status lock_refused_load(struct locks *locks, struct slice record);

/* ---- lock_snapshot.c ---- */

enum {
    LOCK_RECORD = 'L',
    LOCK_RECORD_MARKS = 'l',
    LOCK_RECORD_PART = 'Q',
    LOCK_RECORD_REFUSED = 'q',
    LOCK_RECORD_VERSION = 1,
};
extern const struct snapshot_walk_kind locks_snapshot;

/* Before each change of a lock: the running snapshot has it as it was. */
static inline void lock_keep(struct locks *locks, struct lock *lock) { snapshot_walk_keep(&locks->walk, lock); }
