/* Which keys, or all of them, somebody is going to lock: counted, not exclusive, for whoever comes behind. */
#pragma once

#include "machine/keys/table.h"

struct claims {
    struct table table;                /* of struct claim */
    uint32_t written;                  /* keys that somebody claims to write */
    uint32_t all_readers, all_writers; /* of all keys */
};

void claims_init(struct claims *claims, uint64_t seed);
void claims_deinit(struct claims *claims);
void claims_add(struct claims *claims, struct slice key, bool writes);
/* One that was added. */
void claims_remove(struct claims *claims, struct slice key, bool writes);
/* Whether somebody claims to write it; for one who writes: whether somebody claims it at all. */
bool claims_block(const struct claims *claims, struct slice key, bool writes);
/* The same of all keys at once. */
void claims_add_all(struct claims *claims, bool writes);
void claims_remove_all(struct claims *claims, bool writes);
bool claims_block_all(const struct claims *claims, bool writes);
static inline bool claims_empty(const struct claims *claims)
{
    return claims->table.count == 0 && claims->all_readers == 0 && claims->all_writers == 0;
}
