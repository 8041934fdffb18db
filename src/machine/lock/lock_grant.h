/* How a claim comes to hold its lock, and how it ends. For the files of this folder alone.
 *
 * Invariants
 * 1. Nobody is granted behind the end of his wait, or of his session.
 * 2. A lock of which something has ended is kept (lock_keep) before, and granted to who is next (lock_grant) behind
 * that: then the first of those who wait does not fit, and a lock that nobody has a claim of is idle.
 * 3. What is due does not count for a command that looks at it, whether it has ended already or not: it ends then. */
#pragma once

#include "machine/lock/lock_notice.h"
#include "machine/lock/locks.h"

struct claim;
struct lock;

/* Nobody who holds it is in the way of this. */
bool lock_fits(const struct lock *lock, enum lock_mode mode, uint32_t permits);
/* What a claim becomes when it is granted; it is in no list. */
void lock_make_grant(struct locks *locks, struct claim *claim, const struct lock_now *now);
/* Whoever waits first and fits holds. Then the lock may be idle. */
void lock_grant(struct locks *locks, struct lock *lock, const struct lock_now *now);

void lock_end_wait(struct locks *locks, struct claim *claim, bool told);
void lock_end_hold(struct locks *locks, struct claim *claim, enum lock_end end, const struct lock_now *now);
/* Its time is over. */
void claim_end_due(struct locks *locks, struct claim *claim, const struct lock_now *now);
/* The wait, or the lease, ends then. */
void claim_set_due(struct locks *locks, struct claim *claim, int64_t due_ms);

/* The lock, and the claim of this owner, when what is due has ended; or NULL. */
struct lock *lock_settled(struct locks *locks, struct slice key, const struct lock_now *now);
struct claim *lock_settled_claim(struct locks *locks, struct slice key, struct slice owner, const struct lock_now *now);

/* A notice for who asked, if this replica leads. */
void lock_tell(struct locks *locks, enum lock_notice_kind kind, const struct claim *claim);
