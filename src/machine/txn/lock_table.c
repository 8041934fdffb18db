#include "machine/txn/lock_table.h"

#include "machine/machine_mutation.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

struct lock {
    uint32_t key_size; /* first: struct table_item */
    uint32_t readers;
    const void *writer; /* NULL: it is read */
    const void *reader; /* the one that came last */
    uint8_t key[];
};

void lock_table_init(struct lock_table *locks, uint64_t seed)
{
    table_init(&locks->table, seed, offsetof(struct lock, key));
}

static void release_lock(void *owner, void *item)
{
    (void)owner;
    free(item);
}

void lock_table_deinit(struct lock_table *locks)
{
    while (table_release(&locks->table, 1024, release_lock, NULL)) {
    }
}

#ifdef COHORT_MUTATIONS
enum machine_mutation machine_mutation_of_all;

void machine_mutate(enum machine_mutation mutation) { machine_mutation_of_all = mutation; }
#endif

/* Never true but in tests of known bugs. */
static bool leaves_out(bool writes) { return MACHINE_MUTATED(NO_LOCKS) || (MACHINE_MUTATED(NO_READ_LOCKS) && !writes); }

static struct lock *find(const struct lock_table *locks, struct slice key)
{
    return table_find(&locks->table, table_hash(&locks->table, key), key);
}

bool lock_table_blocks(const struct lock_table *locks, struct slice key, bool writes, const void **ret_holder)
{
    const struct lock *lock = find(locks, key);
    if (lock == NULL || (!writes && lock->writer == NULL)) {
        return false;
    }
    if (ret_holder != NULL) {
        *ret_holder = lock->writer != NULL ? lock->writer : lock->reader;
    }
    return true;
}

void lock_table_take(struct lock_table *locks, struct slice key, bool writes, const void *holder)
{
    struct lock *lock = find(locks, key);
    if (leaves_out(writes)) {
        return;
    }
    if (lock == NULL) {
        lock = memory_allocate(sizeof(*lock) + key.size);
        *lock = (struct lock){.key_size = (uint32_t)key.size};
        if (key.size > 0) {
            memcpy(lock->key, key.data, key.size);
        }
        table_insert(&locks->table, table_hash(&locks->table, key), lock);
    }
    ASSERT(lock->writer == NULL && (!writes || lock->readers == 0));
    if (writes) {
        lock->writer = holder;
    } else {
        lock->readers++;
        lock->reader = holder;
    }
}

void lock_table_release(struct lock_table *locks, struct slice key, bool writes, const void *holder)
{
    struct lock *lock = find(locks, key);
    if (leaves_out(writes)) {
        return;
    }
    ASSERT(lock != NULL && (writes ? lock->writer == holder : lock->writer == NULL && lock->readers > 0));
    lock->readers -= writes ? 0 : 1;
    if (lock->reader == holder) {
        lock->reader = NULL;
    }
    if (writes || lock->readers == 0) {
        table_remove(&locks->table, table_hash(&locks->table, key), lock);
        free(lock);
    }
}
