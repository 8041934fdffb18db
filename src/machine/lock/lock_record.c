/* Memory of locks and claims, and what is charged for it: by what is in them, alike on every replica. */
#include "machine/lock/lock.h"
#include "machine/lock/lock_reap.h"

#include "base/assert.h"
#include "base/memory.h"

enum {
    CHARGE_LOCK = 224, /* header, allocator, place in the table */
    CHARGE_CLAIM = 232,
    INDEX_FROM = 8, /* claims of one lock that are worth an index */
};

enum { LINE = 64 };

/* Starts loading it. */
static inline void ask_for(const void *of, size_t size)
{
    for (size_t at = 0; at < size; at += LINE) {
        __builtin_prefetch((const char *)of + at);
    }
}

/* ---- locks ---- */

struct lock *lock_find(const struct locks *locks, struct slice key)
{
    return table_find(&locks->table, table_hash(&locks->table, key), key);
}

static uint64_t lock_charge(const struct lock *lock) { return CHARGE_LOCK + lock->key_size + lock->bytes; }

struct lock *lock_add(struct locks *locks, struct slice key)
{
    struct lock *lock = memory_allocate(sizeof(*lock) + key.size);
    *lock = (struct lock){.key_size = (uint32_t)key.size,
                          .number = ++locks->last_number,
                          .epoch = locks->walk.epoch,
                          .fence = locks->fence_floor};
    list_init(&lock->holders);
    list_init(&lock->waiters);
    list_init(&lock->past);
    list_init(&lock->idle_node);
    if (key.size > 0) {
        memcpy(lock->key, key.data, key.size);
    }
    table_insert(&locks->table, table_hash(&locks->table, key), lock);
    locks->memory_bytes += lock_charge(lock);
    lock_idle(locks, lock);
    return lock;
}

static void forget_past(struct locks *locks, struct lock *lock)
{
    while (!list_empty(&lock->past)) {
        struct claim *claim = claim_of(lock->past.next);
        claim_leave(locks, claim);
        claim_free(claim);
    }
}

void lock_forget(struct locks *locks, struct lock *lock)
{
    ASSERT(claim_count(lock) == 0 && !lock->indexed);
    lock_keep(locks, lock);
    lock_busy(locks, lock);
    forget_past(locks, lock);
    if (lock->fence > locks->fence_floor) {
        locks->fence_floor = lock->fence;
    }
    table_remove(&locks->table, table_hash(&locks->table, lock_key(lock)), lock);
    locks->memory_bytes -= lock_charge(lock);
    free(lock);
}

void lock_busy(struct locks *locks, struct lock *lock)
{
    if (list_empty(&lock->idle_node)) {
        return;
    }
    list_remove(&lock->idle_node);
    locks->idle_count--;
    locks->idle_bytes -= lock_charge(lock);
}

void lock_idle(struct locks *locks, struct lock *lock)
{
    if (claim_count(lock) != 0 || !list_empty(&lock->idle_node)) {
        return;
    }
    lock->used = ++locks->last_used;
    list_append(&locks->idle, &lock->idle_node);
    locks->idle_count++;
    locks->idle_bytes += lock_charge(lock);
}

static struct lock *lock_of_idle(struct list *node) { return CONTAINER_OF(node, struct lock, idle_node); }

/* Merge sort of the list, by `used`: once, after a snapshot was loaded. */
static void sort_idle(struct list *list)
{
    struct list *middle = list->next;
    for (struct list *at = list->next; at != list && at->next != list; at = at->next->next) {
        middle = middle->next;
    }
    if (list->next == list || list->next->next == list) {
        return;
    }
    struct list right;
    right.next = middle;
    right.prev = list->prev;
    list->prev = middle->prev;
    list->prev->next = list;
    right.next->prev = &right;
    right.prev->next = &right;
    sort_idle(list);
    sort_idle(&right);
    struct list *at = list->next;
    while (!list_empty(&right)) {
        struct list *first = right.next;
        while (at != list && lock_of_idle(at)->used < lock_of_idle(first)->used) {
            at = at->next;
        }
        list_remove(first);
        list_append(at, first);
    }
}

/* The lock that is to be forgotten next, which was asked for when the one before it went: what hangs on it is asked
 * for; and the one behind it. They are those not used for longest, so all that is far from the processor. */
static void ask_for_next(const struct locks *locks)
{
    const struct list *next = locks->idle.next;
    const struct lock *lock = lock_of_idle((struct list *)(uintptr_t)next);
    if (next == &locks->idle || next->next == &locks->idle) {
        return;
    }
    table_prefetch_bucket(&locks->table, table_hash(&locks->table, lock_key(lock)));
    ask_for(claim_of(lock->past.next), sizeof(struct claim));
    ask_for(lock_of_idle(next->next), sizeof(struct lock) + CLAIM_PREFIX);
}

void locks_tidy(struct locks *locks)
{
    if (locks->idle_count <= LOCKS_IDLE && locks->idle_bytes <= LOCKS_IDLE_BYTES) {
        return;
    }
    if (locks->idle_loaded) {
        sort_idle(&locks->idle);
        locks->idle_loaded = false;
    }
    while (locks->idle_count > LOCKS_IDLE || locks->idle_bytes > LOCKS_IDLE_BYTES) {
        lock_forget(locks, lock_of_idle(locks->idle.next));
        ask_for_next(locks);
    }
}

/* ---- claims ---- */

struct claim *claim_create(const struct lock *lock, struct slice owner, struct slice note)
{
    struct claim *claim = memory_allocate(sizeof(*claim) + CLAIM_PREFIX + owner.size + note.size);
    *claim = (struct claim){.key_size = (uint32_t)(CLAIM_PREFIX + owner.size), .note_size = (uint16_t)note.size};
    list_init(&claim->node);
    list_init(&claim->node_of);
    list_init(&claim->tie_node);
    memcpy(claim->bytes, &lock->number, CLAIM_PREFIX);
    if (owner.size > 0) {
        memcpy(claim->bytes + CLAIM_PREFIX, owner.data, owner.size);
    }
    if (note.size > 0) {
        memcpy(claim->bytes + claim->key_size, note.data, note.size);
    }
    return claim;
}

void claim_free_ids(struct claim *claim)
{
    if (claim->ids != NULL) {
        buffer_deinit(claim->ids);
        free(claim->ids);
        claim->ids = NULL;
        claim->id_count = 0;
    }
}

void claim_free(struct claim *claim)
{
    ASSERT(claim->heap_index == 0);
    claim_free_ids(claim);
    free(claim->part);
    free(claim);
}

uint32_t claim_charge(const struct claim *claim)
{
    uint32_t part = claim->part == NULL ? 0 : (uint32_t)sizeof(*claim->part) + claim->part->home_size;
    return CHARGE_CLAIM + claim->key_size + claim->note_size + part +
           (claim->ids == NULL ? 0 : (uint32_t)claim->ids->size);
}

static struct list *list_of(struct lock *lock, enum claim_state state)
{
    switch (state) {
    case CLAIM_WAITS: return &lock->waiters;
    case CLAIM_HOLDS: return &lock->holders;
    case CLAIM_PAST: break;
    }
    return &lock->past;
}

static uint64_t claim_hash(const struct locks *locks, const struct claim *claim)
{
    return table_hash(&locks->index, slice_of(claim->bytes, claim->key_size));
}

static void index_list(struct locks *locks, const struct list *claims)
{
    LIST_FOR_EACH (at, claims) {
        table_insert(&locks->index, claim_hash(locks, claim_of(at)), claim_of(at));
    }
}

/* A claim lives from now on, or no more, and the lock's claims are counted with it. */
static void index_claim(struct locks *locks, struct lock *lock, struct claim *claim, bool lives)
{
    if (lock->indexed && lives) {
        table_insert(&locks->index, claim_hash(locks, claim), claim);
    } else if (lock->indexed) {
        table_remove(&locks->index, claim_hash(locks, claim), claim);
        lock->indexed = claim_count(lock) != 0;
    } else if (lives && claim_count(lock) > INDEX_FROM) {
        lock->indexed = true;
        index_list(locks, &lock->holders);
        index_list(locks, &lock->waiters);
    }
}

static struct claim *search(const struct list *claims, struct slice owner)
{
    LIST_FOR_EACH (at, claims) {
        if (slice_equal(claim_owner(claim_of(at)), owner)) {
            return claim_of(at);
        }
    }
    return NULL;
}

struct claim *lock_claim(const struct locks *locks, const struct lock *lock, struct slice owner)
{
    if (!lock->indexed) {
        struct claim *holder = search(&lock->holders, owner);
        return holder != NULL ? holder : search(&lock->waiters, owner);
    }
    uint8_t key[CLAIM_PREFIX + LOCK_OWNER_BYTES];
    memcpy(key, &lock->number, CLAIM_PREFIX);
    if (owner.size > LOCK_OWNER_BYTES) {
        return NULL;
    }
    if (owner.size > 0) {
        memcpy(key + CLAIM_PREFIX, owner.data, owner.size);
    }
    struct slice whole = slice_of(key, CLAIM_PREFIX + owner.size);
    return table_find(&locks->index, table_hash(&locks->index, whole), whole);
}

/* ---- in and out ---- */

static void count(struct locks *locks, struct claim *claim, int32_t by)
{
    struct lock *lock = claim->lock;
    uint32_t step = (uint32_t)by;
    switch ((enum claim_state)claim->state) {
    case CLAIM_WAITS:
        lock->waiter_count += step;
        locks->waiters += (uint64_t)(int64_t)by;
        break;
    case CLAIM_HOLDS:
        lock->holder_count += step;
        locks->holders += (uint64_t)(int64_t)by;
        lock->permits_held += (uint64_t)((int64_t)by * claim->permits);
        break;
    case CLAIM_PAST: lock->past_count += step; break;
    }
    if (claim->state != CLAIM_PAST && claim->mode == LOCK_PERMITS_MODE) {
        lock->permit_claims += step;
        lock->limit = lock->permit_claims == 0 ? 0 : lock->limit;
    }
}

static void charge(struct locks *locks, struct lock *lock, int64_t bytes, bool past)
{
    locks->memory_bytes += (uint64_t)bytes;
    if (past) {
        lock->bytes += (uint32_t)bytes;
    }
}

static void tie_enter(struct locks *locks, struct claim *claim)
{
    if (claim->tie != NULL) {
        list_append(&claim->tie->claims, &claim->tie_node);
        claim->tie->claim_count++;
        locks->tied++;
    }
}

static void tie_leave(struct locks *locks, struct claim *claim)
{
    if (claim->tie != NULL) {
        list_remove(&claim->tie_node);
        claim->tie->claim_count--;
        locks->tied--;
    }
}

void claim_enter(struct locks *locks, struct claim *claim)
{
    struct lock *lock = claim->lock;
    bool past = claim->state == CLAIM_PAST;
    if (past) {
        claim_free_ids(claim);
        claim->tie = NULL;
    }
    charge(locks, lock, claim_charge(claim), past);
    count(locks, claim, 1);
    list_append(list_of(lock, claim->state), &claim->node);
    if (!past) {
        due_heap_insert(&locks->heap, claim, claim->due_ms);
        index_claim(locks, lock, claim, true);
        tie_enter(locks, claim);
    }
    if (claim_is_reserved(claim)) {
        list_append(&locks->reserved, &claim->part->node);
    }
    if (claim->state == CLAIM_WAITS) {
        lock_node_enter(locks, claim);
    }
}

void claim_leave(struct locks *locks, struct claim *claim)
{
    struct lock *lock = claim->lock;
    bool past = claim->state == CLAIM_PAST;
    charge(locks, lock, -(int64_t)claim_charge(claim), past);
    count(locks, claim, -1);
    list_remove(&claim->node);
    if (!past) {
        due_heap_remove(&locks->heap, claim);
        index_claim(locks, lock, claim, false);
        tie_leave(locks, claim);
    }
    if (claim_is_reserved(claim)) {
        list_remove(&claim->part->node);
    }
    if (claim->state == CLAIM_WAITS) {
        lock_node_leave(locks, claim);
    }
}
