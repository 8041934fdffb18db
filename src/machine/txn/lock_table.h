/* Who holds which key, and who holds all of them: many readers, or one writer. Holders are pointers that mean nothing
 * here.
 *
 * A holder takes each of its keys once; lock_table_release gives back exactly what was taken. Reading and writing one
 * key at once is writing it. Whoever reads all keys takes that first, and then each key that it writes; whoever writes
 * all takes nothing else. */
#pragma once

#include "machine/keys/table.h"

struct lock_table {
    struct table table;     /* of struct lock */
    uint64_t written;       /* keys that have a writer */
    uint32_t all_readers;   /* of all keys */
    const void *all_reader; /* the one that came last */
    const void *all_writer; /* NULL: nobody writes all */
};

void lock_table_init(struct lock_table *locks, uint64_t seed);
void lock_table_deinit(struct lock_table *locks);

/* Whether somebody stands in the way; *ret_holder (may be NULL) becomes one of them, or NULL when it is a reader that
 * has outlasted the one that came last. */
bool lock_table_blocks(const struct lock_table *locks, struct slice key, bool writes, const void **ret_holder);
/* The only holder in the way of whoever would write this key; NULL: there is none, or there are several, or it is not
 * known. */
const void *lock_table_sole(const struct lock_table *locks, struct slice key);
/* Nobody may stand in the way (asserted). The key is copied. */
void lock_table_take(struct lock_table *locks, struct slice key, bool writes, const void *holder);
void lock_table_release(struct lock_table *locks, struct slice key, bool writes, const void *holder);
/* The same for all keys at once; *ret_holder is NULL when single keys stand in the way. */
bool lock_table_blocks_all(const struct lock_table *locks, bool writes, const void **ret_holder);
void lock_table_take_all(struct lock_table *locks, bool writes, const void *holder);
void lock_table_release_all(struct lock_table *locks, bool writes, const void *holder);
/* Nothing is held. */
static inline bool lock_table_empty(const struct lock_table *locks)
{
    return locks->table.count == 0 && locks->all_readers == 0 && locks->all_writer == NULL;
}
