/* Who holds which key: many readers, or one writer. Holders are pointers that mean nothing here.
 *
 * A holder takes each of its keys once; lock_table_release gives back exactly what was taken. Reading and writing one
 * key at once is writing it. */
#pragma once

#include "machine/keys/table.h"

struct lock_table {
    struct table table; /* of struct lock */
};

void lock_table_init(struct lock_table *locks, uint64_t seed);
void lock_table_deinit(struct lock_table *locks);

/* Whether somebody stands in the way; *ret_holder (may be NULL) becomes one of them, or NULL when it is a reader that
 * has outlasted the one that came last. */
bool lock_table_blocks(const struct lock_table *locks, struct slice key, bool writes, const void **ret_holder);
/* Nobody may stand in the way (asserted). The key is copied. */
void lock_table_take(struct lock_table *locks, struct slice key, bool writes, const void *holder);
void lock_table_release(struct lock_table *locks, struct slice key, bool writes, const void *holder);
/* Keys that are held. */
static inline uint64_t lock_table_count(const struct lock_table *locks) { return locks->table.count; }
