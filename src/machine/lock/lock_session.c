/* Locks and waits that end with a session. */
#include "base/assert.h"
#include "base/memory.h"
#include "machine/lock/lock.h"
#include "machine/lock/lock_grant.h"

#include <stdlib.h>

static int by_order(const void *a, const void *b)
{
    const struct claim *const *x = a;
    const struct claim *const *y = b;
    return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

static void end_claim(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    lock_keep(locks, claim->lock);
    if (claim->state == CLAIM_WAITS) {
        lock_end_wait(locks, claim, true);
    } else {
        lock_end_hold(locks, claim, LOCK_SESSION, now);
    }
}

size_t locks_end_tied(struct locks *locks, struct tie *tie, size_t limit, const struct lock_now *now)
{
    if (tie->claim_count == 0 || limit == 0) {
        return 0;
    }
    size_t count = 0;
    struct claim **claims = memory_allocate(tie->claim_count * sizeof(struct claim *));
    LIST_FOR_EACH (at, &tie->claims) {
        claims[count++] = CONTAINER_OF(at, struct claim, tie_node);
    }
    ASSERT(count == tie->claim_count);
    qsort(claims, count, sizeof(struct claim *), by_order); /* the list is in another order after a snapshot */
    count = count < limit ? count : limit;
    struct lock **left = memory_allocate(count * sizeof(struct lock *));
    for (size_t i = 0; i < count; i++) {
        left[i] = claims[i]->lock;
        end_claim(locks, claims[i], now);
    }
    for (size_t i = 0; i < count; i++) { /* to nobody of the same session: its claims in these locks are gone */
        lock_grant(locks, left[i], now);
    }
    free(left);
    free(claims);
    locks_tidy(locks);
    return count;
}

bool locks_held_by_session(const struct locks *locks, struct slice key, struct slice owner, uint64_t token)
{
    const struct lock *lock = lock_find(locks, key);
    const struct claim *claim = lock == NULL ? NULL : lock_claim(locks, lock, owner);
    return claim != NULL && claim->state == CLAIM_HOLDS && claim->tie != NULL && claim->token == token;
}
