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
    *locks = (struct lock_table){0};
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

static bool blocked_by(const void *holder, const void **ret_holder)
{
    if (ret_holder != NULL) {
        *ret_holder = holder;
    }
    return true;
}

bool lock_table_blocks(const struct lock_table *locks, struct slice key, bool writes, const void **ret_holder)
{
    const struct lock *lock = find(locks, key);
    if (lock != NULL && (writes || lock->writer != NULL)) {
        return blocked_by(lock->writer != NULL ? lock->writer : lock->reader, ret_holder);
    }
    if (locks->all_writer != NULL || (writes && locks->all_readers > 0)) {
        return blocked_by(locks->all_writer != NULL ? locks->all_writer : locks->all_reader, ret_holder);
    }
    return false;
}

const void *lock_table_sole(const struct lock_table *locks, struct slice key)
{
    const struct lock *lock = find(locks, key);
    if (lock == NULL || locks->all_readers > 0) {
        return NULL;
    }
    return lock->writer != NULL ? lock->writer : lock->readers == 1 ? lock->reader : NULL;
}

bool lock_table_blocks_all(const struct lock_table *locks, bool writes, const void **ret_holder)
{
    if (locks->all_writer != NULL || (writes && locks->all_readers > 0)) {
        return blocked_by(locks->all_writer != NULL ? locks->all_writer : locks->all_reader, ret_holder);
    }
    return (writes ? locks->table.count : locks->written) > 0 && blocked_by(NULL, ret_holder);
}

/* Never true but in tests of a known bug. */
static bool leaves_out_all(void) { return MACHINE_MUTATED(NO_LOCKS) || MACHINE_MUTATED(NO_LOCK_OF_ALL); }

void lock_table_take_all(struct lock_table *locks, bool writes, const void *holder)
{
    if (leaves_out_all()) {
        return;
    }
    ASSERT(!lock_table_blocks_all(locks, writes, NULL));
    if (writes) {
        locks->all_writer = holder;
    } else {
        locks->all_readers++;
        locks->all_reader = holder;
    }
}

void lock_table_release_all(struct lock_table *locks, bool writes, const void *holder)
{
    if (leaves_out_all()) {
        return;
    }
    ASSERT(writes ? locks->all_writer == holder : locks->all_readers > 0);
    if (writes) {
        locks->all_writer = NULL;
        return;
    }
    locks->all_readers--;
    if (locks->all_reader == holder) {
        locks->all_reader = NULL;
    }
}

/* Whoever reads all may write some of them when nobody else reads all. */
static bool alone(const struct lock_table *locks, const void *holder)
{
    return locks->all_readers == 0 || (locks->all_readers == 1 && locks->all_reader == holder);
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
    ASSERT(locks->all_writer == NULL && (!writes || alone(locks, holder)));
    if (writes) {
        lock->writer = holder;
        locks->written++;
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
    locks->written -= writes ? 1 : 0;
    if (lock->reader == holder) {
        lock->reader = NULL;
    }
    if (writes || lock->readers == 0) {
        table_remove(&locks->table, table_hash(&locks->table, key), lock);
        free(lock);
    }
}
