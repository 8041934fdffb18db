#include "machine/lock/locks.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/lock/lock.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { STEP = 16 /* claims that are due, ended on the way of another command */, LOOK = 8 };

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

/* ---- news ---- */

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

/* Others wait for this lock, or were refused: counted in few places (the space-saving algorithm; Metwally, Agrawal, El
 * Abbadi, ICDT 2005). */
void lock_note_heat(struct locks *locks, const struct lock *lock)
{
    struct lock_heat *least = &locks->heat[0];
    for (size_t i = 0; i < LOCKS_HOT; i++) {
        if (locks->heat[i].number == lock->number) {
            locks->heat[i].count++;
            return;
        }
        least = locks->heat[i].count < least->count ? &locks->heat[i] : least;
    }
    least->number = lock->number;
    least->count++;
    least->key_size = lock->key_size < LOCK_HEAT_KEY_BYTES ? (uint16_t)lock->key_size : LOCK_HEAT_KEY_BYTES;
    memcpy(least->key, lock->key, least->key_size);
}

void lock_heat_add(struct lock_heat sum[static LOCKS_HOT], const struct lock_heat more[static LOCKS_HOT])
{
    for (size_t i = 0; i < LOCKS_HOT; i++) {
        struct lock_heat *least = &sum[0];
        for (size_t j = 1; j < LOCKS_HOT; j++) {
            least = sum[j].count < least->count ? &sum[j] : least;
        }
        if (more[i].count > least->count) {
            *least = more[i];
        }
    }
}

/* ---- grants and ends ---- */

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

/* What a claim becomes when it is granted; it is in no list. */
void lock_make_grant(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    claim->state = CLAIM_HOLDS;
    claim->token = MACHINE_MUTATED(TOKEN_REUSED) ? 1 : next_token(locks, now);
    claim->since_ms = now->time_ms;
    claim->due_ms = claim->tie != NULL ? LOCK_NEVER_MS : now->time_ms + claim->ttl_ms;
    claim->lock->grants++;
    locks->granted++;
}

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
    if (end == LOCK_EXPIRED || end == LOCK_SESSION) {
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

/* Whoever waits first and fits holds; nobody is granted behind his deadline, or the end of his session. Then the lock
 * may be idle. */
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

/* The claim of this owner that is not due. */
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

static struct claim *find_holder(struct locks *locks, struct slice key, struct slice owner, uint64_t token,
                                 const struct lock_now *now)
{
    struct claim *claim = lock_settled_claim(locks, key, owner, now);
    return claim != NULL && claim->state == CLAIM_HOLDS && claim->token == token ? claim : NULL;
}

/* ---- LOCK.RENEW, LOCK.RELEASE ---- */

/* The lease ends then, or later. */
void claim_set_due(struct locks *locks, struct claim *claim, int64_t due_ms)
{
    claim->due_ms = due_ms;
    due_heap_change(&locks->heap, claim, due_ms);
}

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

/* ---- clients that are gone ---- */

bool lock_same_request(const struct lock_origin *a, const struct lock_origin *b)
{
    return a->node == b->node && a->start == b->start && a->number == b->number;
}

bool claim_is_of(const struct claim *claim, const struct lock_origin *origin)
{
    return claim->origin.node == origin->node && claim->origin.start == origin->start &&
           (claim->origin.number & ~LOCK_TOLD_OTHERS) == origin->number;
}

static void take_back(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    struct lock *lock = claim->lock;
    lock_keep(locks, lock);
    if (claim->state == CLAIM_WAITS) {
        lock_end_wait(locks, claim, false);
    } else {
        lock_end_hold(locks, claim, LOCK_CLIENT_GONE, now);
    }
    lock_grant(locks, lock, now);
}

static int by_order(const void *a, const void *b)
{
    const struct claim *const *x = a;
    const struct claim *const *y = b;
    return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

size_t locks_reap(struct locks *locks, uint64_t node, uint64_t start, const struct lock_now *now)
{
    struct lock_node *waits = lock_node_find(locks, node);
    size_t count = 0;
    struct claim **gone = memory_allocate((waits == NULL ? 1 : waits->count) * sizeof(struct claim *));
    for (struct list *at = waits == NULL ? NULL : waits->claims.next; at != NULL && at != &waits->claims;
         at = at->next) {
        struct claim *claim = CONTAINER_OF(at, struct claim, node_of);
        if (claim->origin.start < start) {
            gone[count++] = claim;
        }
    }
    qsort(gone, count, sizeof(struct claim *), by_order); /* tokens are given in the order of what follows */
    struct lock **left = memory_allocate((count + 1) * sizeof(struct lock *));
    for (size_t i = 0; i < count; i++) {
        left[i] = gone[i]->lock;
        lock_keep(locks, left[i]);
        lock_end_wait(locks, gone[i], false);
    }
    for (size_t i = 0; i < count; i++) {
        lock_grant(locks, left[i], now);
    }
    waits = lock_node_find(locks, node);
    if (waits != NULL && waits->oldest_start < start) {
        waits->oldest_start = start;
    }
    free(left);
    free(gone);
    locks_tidy(locks);
    return count;
}

void locks_take_back(struct locks *locks, struct slice key, struct slice owner, const struct lock_origin *origin,
                     const struct lock_now *now)
{
    struct claim *claim = lock_settled_claim(locks, key, owner, now);
    if (claim != NULL && lock_same_request(&claim->origin, origin)) {
        take_back(locks, claim, now);
        locks_tidy(locks);
    }
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

bool locks_waiting_node(const struct locks *locks, size_t place, uint64_t *ret_node, uint64_t *ret_oldest_start)
{
    if (place >= locks->node_count) {
        return false;
    }
    *ret_node = locks->nodes[place]->node;
    *ret_oldest_start = locks->nodes[place]->oldest_start;
    return true;
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
