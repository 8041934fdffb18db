/* Who waits for whom at the locks of a shard, as COHORT.LOCK.WAITS tells it: of each lock that somebody waits for, who
 * holds it and who waits, in the order of the queue. What is due is left out.
 *
 *   lock    key · limit · holders · waiters, then so many claims, those that hold first
 *   claim   owner · order · node · start · number · mode · permits
 *
 * Numbers are varints, texts a size and bytes. The mode of a LOCK.MACQUIRE's part is LOCK_MODES until it is granted; it
 * is an exclusive one. A node of an older version reads no further in that answer; an older leader tells parts like
 * other claims.
 *
 * It is a look within bounds: of a crowded shard some locks are left out, of a long queue its end, never its beginning.
 * Whoever is left out seems not to wait, so what is found in the rest is true all the same. */
#pragma once

#include "machine/lock/locks.h"

enum {
    LOCK_WAITS_BYTES = 256 << 10, /* of an answer, about */
    LOCK_WAITS_LOOKS = 16 << 10,  /* waits that are looked at */
    LOCK_WAITS_HOLDERS = 512,     /* of a lock; one with more is left out */
    LOCK_WAITS_WAITERS = 512,     /* of a lock; the rest is left out */
};

struct lock_queue {
    struct slice key;
    uint32_t limit, holders, waiters;
};

struct lock_queue_claim {
    struct slice owner;
    uint64_t
        order; /* in its shard there is one claim with it, for ever; a claim that waited has the same as it holds */
    struct lock_origin origin; /* without `client` */
    enum lock_mode mode;
    uint32_t permits;
    bool part; /* of a LOCK.MACQUIRE, and not granted: it waits, or is reserved (lock_parts.h) */
};

void locks_put_waits(const struct locks *locks, int64_t time_ms, struct buffer *out);
void lock_queue_put(struct buffer *out, const struct lock_queue *queue);
void lock_queue_claim_put(struct buffer *out, const struct lock_queue_claim *claim);
/* Take one from the front of *from, and point into it. False: that is none. */
MUST_USE bool lock_queue_take(struct slice *from, struct lock_queue *ret_queue);
MUST_USE bool lock_queue_claim_take(struct slice *from, struct lock_queue_claim *ret_claim);
