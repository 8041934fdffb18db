#include "machine/lock/lock_grant.h"

#include "machine/lock/lock.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { STEP = 16 /* claims that are due, ended on the way of another command */, LOOK = 8 };

void lock_tell(struct locks *locks, enum lock_notice_kind kind, const struct claim *claim)
{
    if (!locks->tell || claim->origin.node == 0 || locks->notices.size > LOCK_NOTICES_BYTES) {
        return; /* what is not told is asked for */
    }
    struct lock_notice notice = {kind,          claim->origin,         claim->token,
                                 claim->ttl_ms, lock_key(claim->lock), claim_owner(claim)};
    notice.to.number &= ~LOCK_TOLD_OTHERS;
    lock_notice_put(&locks->notices, &notice);
}

/* ---- grants ---- */

bool lock_fits(const struct lock *lock, enum lock_mode mode, uint32_t permits)
{
    if (lock->holder_count == 0 || MACHINE_MUTATED(TWO_HOLDERS)) {
        return true;
    }
    enum lock_mode held = (enum lock_mode)claim_of(lock->holders.next)->mode;
    if (held != mode || mode == LOCK_EXCLUSIVE || lock->holder_count >= LOCK_HOLDERS) {
        return false;
    }
    return mode == LOCK_SHARED || lock->permits_held + permits <= lock->limit;
}

static uint64_t next_token(struct locks *locks, const struct lock_now *now)
{
    uint64_t token = (locks->restores << LOCK_TOKEN_RESTORE_SHIFT) + now->position;
    locks->last_token = token > locks->last_token ? token : locks->last_token + 1;
    return locks->last_token;
}

void lock_make_grant(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    claim->state = CLAIM_HOLDS;
    claim->token = MACHINE_MUTATED(TOKEN_REUSED) ? 1 : next_token(locks, now);
    claim->since_ms = now->time_ms;
    claim->due_ms = claim->tie != NULL ? LOCK_NEVER_MS : now->time_ms + claim->ttl_ms;
    claim->lock->grants++;
    locks->granted++;
}

/* ---- ends ---- */

void lock_end_wait(struct locks *locks, struct claim *claim, bool told)
{
    if (told) {
        bool over = claim->tie != NULL && claim->tie->state == TIE_ENDS;
        lock_tell(locks, over ? LOCK_NOTICE_OVER : LOCK_NOTICE_ENDED, claim);
    }
    claim_leave(locks, claim);
    claim_free(claim);
}

void lock_end_hold(struct locks *locks, struct claim *claim, enum lock_end end, const struct lock_now *now)
{
    if (claim->part != NULL) {
        lock_end_wait(locks, claim, end == LOCK_EXPIRED || end == LOCK_SESSION);
        return;
    }
    struct lock *lock = claim->lock;
    locks->expired += end == LOCK_EXPIRED ? 1 : 0;
    if (end == LOCK_EXPIRED || end == LOCK_SESSION || end == LOCK_ADMIN) {
        lock_tell(locks, LOCK_NOTICE_LOST, claim);
    }
    claim_leave(locks, claim);
    claim->state = CLAIM_PAST;
    claim->end = (uint8_t)end;
    claim->due_ms = now->time_ms;
    claim_enter(locks, claim);
    if (lock->past_count > LOCK_HISTORY) {
        struct claim *oldest = claim_of(lock->past.next);
        claim_leave(locks, oldest);
        claim_free(oldest);
    }
}

/* ---- who is next ---- */

void lock_grant(struct locks *locks, struct lock *lock, const struct lock_now *now)
{
    while (!list_empty(&lock->waiters) && !MACHINE_MUTATED(LOST_WAKEUP)) {
        struct claim *first = claim_of(MACHINE_MUTATED(LAST_COME) ? lock->waiters.prev : lock->waiters.next);
        if (first->due_ms <= now->time_ms || (first->tie != NULL && first->tie->state == TIE_ENDS)) {
            lock_end_wait(locks, first, true);
            continue;
        }
        if (!lock_fits(lock, (enum lock_mode)first->mode, first->permits)) {
            break;
        }
        uint32_t limit = lock->limit;
        claim_leave(locks, first);
        if (MACHINE_MUTATED(PART_HELD_EARLY)) {
            free(first->part);
            first->part = NULL;
        }
        bool part = first->part != NULL;
        if (part) {
            lock_part_reserve(first);
        } else {
            lock_make_grant(locks, first, now);
        }
        claim_enter(locks, first);
        lock->limit = lock->permit_claims == 0 ? 0 : limit;
        lock_tell(locks, part ? LOCK_NOTICE_RESERVED : LOCK_NOTICE_GRANTED, first);
    }
    lock_idle(locks, lock);
}

/* ---- what is due ---- */

void claim_end_due(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    struct lock *lock = claim->lock;
    lock_keep(locks, lock);
    if (claim->state == CLAIM_WAITS) {
        lock_end_wait(locks, claim, true);
    } else {
        lock_end_hold(locks, claim, LOCK_EXPIRED, now);
    }
    lock_grant(locks, lock, now);
}

size_t locks_expire(struct locks *locks, const struct lock_now *now, size_t limit)
{
    size_t ended = 0;
    const struct due_item *first;
    while (ended < limit && (first = due_heap_first(&locks->heap)) != NULL && first->due_ms <= now->time_ms) {
        claim_end_due(locks, first->of, now);
        ended++;
    }
    if (ended > 0) {
        locks_tidy(locks);
    }
    return ended;
}

/* What of this lock is due ends, if it is not very much; more of it is in the heap, and comes by itself. */
static void settle(struct locks *locks, struct lock *lock, const struct lock_now *now)
{
    for (int looks = 0; looks < LOOK; looks++) {
        struct claim *due = NULL;
        int seen = 0;
        for (struct list *at = lock->holders.next; at != &lock->holders && seen < LOOK; at = at->next, seen++) {
            due = claim_of(at)->due_ms <= now->time_ms ? claim_of(at) : due;
        }
        if (due == NULL) {
            return;
        }
        claim_end_due(locks, due, now);
    }
}

struct lock *lock_settled(struct locks *locks, struct slice key, const struct lock_now *now)
{
    (void)locks_expire(locks, now, STEP);
    struct lock *lock = lock_find(locks, key);
    if (lock != NULL && lock->holder_count > 0) {
        settle(locks, lock, now);
    }
    return lock;
}

struct claim *lock_settled_claim(struct locks *locks, struct slice key, struct slice owner, const struct lock_now *now)
{
    struct lock *lock = lock_settled(locks, key, now);
    struct claim *claim = lock == NULL ? NULL : lock_claim(locks, lock, owner);
    if (claim != NULL && claim->due_ms <= now->time_ms) {
        claim_end_due(locks, claim, now);
        return NULL;
    }
    return claim;
}

void claim_set_due(struct locks *locks, struct claim *claim, int64_t due_ms)
{
    claim->due_ms = due_ms;
    due_heap_change(&locks->heap, claim, due_ms);
}
