#include "machine/lock/locks.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/lock/lock.h"
#include "machine/lock/lock_grant.h"
#include "machine/lock/lock_ids.h"
#include "machine/lock/lock_reap.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

static bool asked_before(const void *a, const void *b)
{
    const struct claim *x = a;
    const struct claim *y = b;
    return x->order < y->order;
}

void locks_init(struct locks *locks, uint64_t seed)
{
    *locks = (struct locks){0};
    table_init(&locks->table, seed, offsetof(struct lock, key));
    table_init(&locks->index, seed, offsetof(struct claim, bytes));
    static const struct due_order by_order = {offsetof(struct claim, heap_index), asked_before};
    due_heap_init(&locks->heap, &by_order);
    list_init(&locks->idle);
    list_init(&locks->reserved);
    snapshot_walk_init(&locks->walk, &locks_snapshot, &locks->table);
}

static void free_claims(struct list *claims)
{
    LIST_FOR_EACH_SAFE (at, after, claims) {
        claim_of(at)->heap_index = 0;
        claim_free(claim_of(at));
    }
}

static void free_lock(void *owner, void *item)
{
    struct lock *lock = item;
    (void)owner;
    free_claims(&lock->holders);
    free_claims(&lock->waiters);
    free_claims(&lock->past);
    free(lock);
}

static void free_nothing(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void locks_deinit(struct locks *locks)
{
    while (table_release(&locks->index, 1024, free_nothing, NULL)) {
    }
    while (table_release(&locks->table, 1024, free_lock, NULL)) {
    }
    due_heap_deinit(&locks->heap);
    for (size_t i = 0; i < locks->node_count; i++) {
        free(locks->nodes[i]);
    }
    free(locks->nodes);
    free(locks->refused);
    buffer_deinit(&locks->notices);
    snapshot_walk_deinit(&locks->walk);
}

static struct claim *find_holder(struct locks *locks, struct slice key, struct slice owner, uint64_t token,
                                 const struct lock_now *now)
{
    struct claim *claim = lock_settled_claim(locks, key, owner, now);
    return claim != NULL && claim->state == CLAIM_HOLDS && claim->token == token ? claim : NULL;
}

/* ---- LOCK.RENEW, LOCK.RELEASE ---- */

int64_t locks_renew(struct locks *locks, struct slice key, struct slice owner, uint64_t token, int64_t ttl_ms,
                    const struct lock_now *now)
{
    struct claim *claim = find_holder(locks, key, owner, token, now);
    if (claim == NULL) {
        return 0;
    }
    if (claim->due_ms < now->time_ms + ttl_ms) {
        lock_keep(locks, claim->lock);
        claim_set_due(locks, claim, now->time_ms + ttl_ms);
    }
    return claim->due_ms - now->time_ms;
}

bool locks_release(struct locks *locks, struct slice key, struct slice owner, uint64_t token, struct slice id,
                   const struct lock_now *now)
{
    struct claim *claim = find_holder(locks, key, owner, token, now);
    if (claim == NULL || (id.size > 0 && !claim_has_id(claim, id))) {
        return false;
    }
    struct lock *lock = claim->lock;
    lock_keep(locks, lock);
    if (claim_take_id(locks, claim, id) && claim->id_count > 0) {
        return true;
    }
    lock_end_hold(locks, claim, LOCK_RELEASED, now);
    lock_grant(locks, lock, now);
    locks_tidy(locks);
    return true;
}

bool locks_take_away(struct locks *locks, struct slice key, struct slice owner, uint64_t token,
                     const struct lock_now *now)
{
    struct claim *claim = find_holder(locks, key, owner, token, now);
    if (claim == NULL || MACHINE_MUTATED(FORCE_IDLE)) {
        return claim != NULL;
    }
    struct lock *lock = claim->lock;
    lock_keep(locks, lock);
    if (!MACHINE_MUTATED(FORCE_UNFENCED)) {
        lock->fence = lock->fence > token ? lock->fence : token + 1; /* no later one is smaller */
    }
    lock_end_hold(locks, claim, LOCK_ADMIN, now);
    lock_grant(locks, lock, now);
    locks_tidy(locks);
    return true;
}

/* ---- looking ---- */

bool locks_held(const struct locks *locks, struct slice key, uint64_t token, int64_t time_ms)
{
    const struct lock *lock = lock_find(locks, key);
    if (lock == NULL) {
        return false;
    }
    LIST_FOR_EACH (at, &lock->holders) {
        if (claim_of(at)->token == token) {
            return claim_of(at)->due_ms > time_ms;
        }
    }
    return false;
}

enum lock_asked locks_ask(const struct locks *locks, struct slice key, struct slice owner,
                          const struct lock_origin *origin, int64_t time_ms, struct lock_answer *ret_answer)
{
    const struct lock *lock = lock_find(locks, key);
    const struct claim *claim = lock == NULL ? NULL : lock_claim(locks, lock, owner);
    if (claim == NULL || !lock_same_request(&claim->origin, origin) || claim->due_ms <= time_ms) {
        return LOCK_ASKED_NOTHING;
    }
    int64_t left_ms = claim->tie != NULL ? claim->ttl_ms : claim->due_ms - time_ms;
    *ret_answer = (struct lock_answer){.token = claim->token, .ttl_ms = left_ms};
    return claim->state == CLAIM_WAITS ? LOCK_ASKED_WAITS : LOCK_ASKED_HOLDS;
}

int64_t locks_next_due(const struct locks *locks)
{
    const struct due_item *first = due_heap_first(&locks->heap);
    return first == NULL || first->due_ms == LOCK_NEVER_MS ? INT64_MAX : first->due_ms;
}

/* ---- FENCE.CHECK ---- */

bool locks_fence(struct locks *locks, struct slice key, uint64_t token, const struct lock_now *now)
{
    struct lock *lock = lock_settled(locks, key, now);
    uint64_t seen = lock == NULL ? locks->fence_floor : lock->fence;
    bool good = MACHINE_MUTATED(FENCE_BLIND) || token >= seen || locks_held(locks, key, token, now->time_ms);
    if (token > seen) {
        lock = lock == NULL ? lock_add(locks, key) : lock;
        lock_keep(locks, lock);
        lock->fence = token;
        if (!list_empty(&lock->idle_node)) { /* it was used now */
            lock_busy(locks, lock);
            lock_idle(locks, lock);
        }
        locks_tidy(locks);
    }
    return good;
}

#ifdef COHORT_MUTATIONS
void locks_reset_leases(struct locks *locks, uint64_t term, int64_t time_ms)
{
    if (!MACHINE_MUTATED(LEASE_RESET) || term == locks->term) {
        return;
    }
    struct buffer holders;
    buffer_init(&holders);
    for (uint32_t i = 0; i < locks->heap.count; i++) {
        struct claim *claim = locks->heap.chunks[(i + 3) / 1024][(i + 3) % 1024].of;
        if (claim->state == CLAIM_HOLDS && claim->part == NULL) {
            buffer_append(&holders, &claim, sizeof(claim));
        }
    }
    locks->term = term;
    for (size_t at = 0; at < holders.size; at += sizeof(struct claim *)) {
        struct claim *claim;
        memcpy(&claim, holders.data + at, sizeof(claim));
        lock_keep(locks, claim->lock);
        claim_set_due(locks, claim, time_ms + claim->ttl_ms);
    }
    buffer_deinit(&holders);
}
#endif
