/* Parts of a LOCK.MACQUIRE: claims that are reserved until all of them are there, and granted together. For the files
 * of this folder, and for those who ask for them (src/server/lock_many.h) or settle them (src/cluster/lock_settle.c).
 *
 *   asks ──▶ WAITS ──its turn──▶ reserved ──GRANT──▶ HOLDS, as any claim
 *     └────the lock is free───────▶ │  └─BACK, or the outcome: nothing
 *
 * A part that is reserved is in the list of holders, so that others wait behind it, but holds nothing: it has no token
 * and no time to live. All parts of a request have one origin. The first one in the order of shard and key is at
 * *home*: the request is granted when the parts at home are, by one entry, and from then on it is.
 *
 * Invariants
 * 1. A part at home ends by itself at its deadline. A part elsewhere does not: whoever wants it to end asks home first
 *    (SETTLE), and it is granted when those at home were, and taken back when they were not.
 * 2. What home has once answered with no stays so: parts at home that were there are gone, and no others of requests
 * with this number, or a smaller one, of the same worker of the same node are made there (`refused`).
 * 3. At home all parts are granted, or none. */
#pragma once

#include "machine/lock/locks.h"

enum {
    LOCK_PARTS = 64,             /* keys of one LOCK.MACQUIRE */
    LOCK_PART_KEEP_MS = 5000,    /* parts are kept beyond the end of the wait: time to grant the others */
    LOCK_ORIGIN_WORKERS = 64,    /* a number of a request, modulo this, is the worker's */
    LOCK_REFUSED_WORKERS = 4096, /* of all nodes, that are remembered by invariant 2 */
};

/* What a LOCK.MACQUIRE asks of a shard, one key after the other, until one is not to be had. */
struct lock_part_ask {
    struct slice home; /* the first key; empty: here is home */
    int64_t keep_ms;   /* from now on; then it may be ended */
};

/* A claim's, while it waits or is reserved. */
struct lock_part {
    struct list node; /* of locks.reserved, while it is reserved */
    struct claim *claim;
    int64_t deadline_ms;
    uint16_t home_size;
    uint8_t home[];
};

/* Of one key, in the order in which they were asked for. */
enum lock_part_state {
    LOCK_PART_RESERVED,
    LOCK_PART_HELD,   /* by this owner: token, ttl */
    LOCK_PART_QUEUED, /* the last one: it waits, … */
    LOCK_PART_BUSY,   /* … is held by others, … */
    LOCK_PART_OTHER,  /* … another request of this owner has or waits for it, and will end, … */
    LOCK_PART_ANEW,   /* … home has refused this number */
    LOCK_PART_STATES,
};

struct lock_part_told {
    enum lock_part_state state;
    uint64_t token;
    int64_t ttl_ms;
};

/* As they stand in answers, one behind the other: state u8 · token u64 · ttl_ms u64. */
enum { LOCK_PART_TOLD_BYTES = 17 };
void lock_part_told_put(struct buffer *out, const struct lock_part_told *told);
MUST_USE bool lock_part_told_take(struct slice *from, struct lock_part_told *ret_told);

/* ---- changes; each ends what is due, first ---- */

/* All parts that this origin has reserved at these keys are granted, in their order, unless one is not there. What the
 * owner holds already counts: what this origin was granted before, and what another of its requests was, which then
 * does not take it back any more. */
bool locks_grant_parts(struct locks *locks, const struct slice *keys, uint32_t count, struct slice owner,
                       const struct lock_origin *origin, const struct lock_now *now, struct lock_answer *ret_answers);
/* What this origin has at these keys ends, but no grant that another request of the owner was told of. False: all of it
 * is such grants, so that one goes by what the others have. */
bool locks_take_back_parts(struct locks *locks, const struct slice *keys, uint32_t count, struct slice owner,
                           const struct lock_origin *origin, const struct lock_now *now);
/* At home: whether the part with this key was granted, and holds. If not, it never will be. */
bool locks_settle(struct locks *locks, struct slice key, struct slice owner, const struct lock_origin *origin,
                  const struct lock_now *now);

/* ---- looking ---- */

/* A part that is reserved, from the one after `after` (NULL: the first); NULL: there are no more. */
const struct lock_part *locks_next_reserved(const struct locks *locks, const struct lock_part *after);
void lock_part_names(const struct lock_part *part, struct slice *ret_key, struct slice *ret_owner,
                     struct lock_origin *ret_origin);
/* Who has an exclusive lock, or has reserved it; owner is empty when it is free. */
struct lock_exclusive {
    struct slice owner, note;
    bool reserved;
    uint64_t number; /* of the request */
    uint64_t grants; /* of the lock, so far */
};
void locks_look(const struct locks *locks, struct slice key, struct lock_exclusive *ret_look);
static inline struct slice lock_part_home(const struct lock_part *part)
{
    return slice_of(part->home, part->home_size);
}
