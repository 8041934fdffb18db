/* What must be true of each lock at every moment (lock.h), for tests and the simulator. */
#include "machine/lock/lock.h"

struct looking {
    const struct locks *locks;
    const char *problem;
    uint64_t claims;
};

static const char *holders_problem(const struct lock *lock)
{
    uint64_t permits = 0;
    uint32_t count = 0;
    LIST_FOR_EACH (at, &lock->holders) {
        const struct claim *claim = claim_of(at);
        if (claim->mode != claim_of(lock->holders.next)->mode) {
            return "holders of two modes";
        }
        permits += claim->permits;
        count++;
    }
    if (count != lock->holder_count || permits != lock->permits_held) {
        return "holders that are not counted";
    }
    const struct claim *first = count == 0 ? NULL : claim_of(lock->holders.next);
    if (first != NULL && first->mode == LOCK_EXCLUSIVE && count > 1) {
        return "two exclusive holders";
    }
    return first != NULL && first->mode == LOCK_PERMITS_MODE && permits > lock->limit ? "more permits than the limit"
                                                                                      : NULL;
}

static const char *waiters_problem(const struct lock *lock)
{
    if (list_empty(&lock->waiters)) {
        return NULL;
    }
    const struct claim *first = claim_of(lock->waiters.next);
    const struct claim *holder = lock->holder_count == 0 ? NULL : claim_of(lock->holders.next);
    uint64_t order = 0;
    if (holder == NULL) {
        return "a free lock with waiters";
    }
    if (first->mode == holder->mode && lock->holder_count < LOCK_HOLDERS &&
        (first->mode == LOCK_SHARED ||
         (first->mode == LOCK_PERMITS_MODE && lock->permits_held + first->permits <= lock->limit))) {
        return "a waiter that fits";
    }
    LIST_FOR_EACH (at, &lock->waiters) {
        if (claim_of(at)->order <= order) {
            return "waiters out of order";
        }
        order = claim_of(at)->order;
    }
    LIST_FOR_EACH (at, &lock->holders) {
        if (claim_of(at)->order > first->order) {
            return "a holder who asked after one that waits";
        }
    }
    return NULL;
}

static void look_at_lock(void *owner, void *item)
{
    struct looking *looking = owner;
    const struct lock *lock = item;
    looking->claims += claim_count(lock);
    const char *problem = holders_problem(lock);
    problem = problem == NULL ? waiters_problem(lock) : problem;
    looking->problem = looking->problem == NULL ? problem : looking->problem;
}

const char *locks_problem(const struct locks *locks)
{
    struct looking looking = {.locks = locks};
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&locks->table, cursor, look_at_lock, &looking);
    } while (cursor != 0);
    if (looking.problem == NULL &&
        (looking.claims != locks->heap.count || looking.claims != locks->holders + locks->waiters)) {
        return "claims that are not counted";
    }
    return looking.problem;
}
