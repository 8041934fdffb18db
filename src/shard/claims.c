#include "shard/claims.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

struct claim {
    uint32_t key_size; /* first: struct table_item */
    uint32_t readers, writers;
    uint8_t key[];
};

void claims_init(struct claims *claims, uint64_t seed)
{
    *claims = (struct claims){0};
    table_init(&claims->table, seed, offsetof(struct claim, key));
}

static void release_claim(void *owner, void *item)
{
    (void)owner;
    free(item);
}

void claims_deinit(struct claims *claims)
{
    uint64_t seed = claims->table.seed;
    while (table_release(&claims->table, 1024, release_claim, NULL)) {
    }
    claims_init(claims, seed);
}

static struct claim *find(const struct claims *claims, struct slice key)
{
    return table_find(&claims->table, table_hash(&claims->table, key), key);
}

void claims_add(struct claims *claims, struct slice key, bool writes)
{
    struct claim *claim = find(claims, key);
    if (claim == NULL) {
        claim = memory_allocate(sizeof(*claim) + key.size);
        *claim = (struct claim){.key_size = (uint32_t)key.size};
        if (key.size > 0) {
            memcpy(claim->key, key.data, key.size);
        }
        table_insert(&claims->table, table_hash(&claims->table, key), claim);
    }
    claim->readers += writes ? 0 : 1;
    claims->written += writes && claim->writers == 0 ? 1 : 0;
    claim->writers += writes ? 1 : 0;
}

void claims_remove(struct claims *claims, struct slice key, bool writes)
{
    struct claim *claim = find(claims, key);
    ASSERT(claim != NULL && (writes ? claim->writers : claim->readers) > 0);
    claim->readers -= writes ? 0 : 1;
    claim->writers -= writes ? 1 : 0;
    claims->written -= writes && claim->writers == 0 ? 1 : 0;
    if (claim->readers == 0 && claim->writers == 0) {
        table_remove(&claims->table, table_hash(&claims->table, key), claim);
        free(claim);
    }
}

bool claims_block(const struct claims *claims, struct slice key, bool writes)
{
    const struct claim *claim = find(claims, key);
    return (claim != NULL && (writes || claim->writers > 0)) || claims->all_writers > 0 ||
           (writes && claims->all_readers > 0);
}

void claims_add_all(struct claims *claims, bool writes)
{
    claims->all_readers += writes ? 0 : 1;
    claims->all_writers += writes ? 1 : 0;
}

void claims_remove_all(struct claims *claims, bool writes)
{
    ASSERT((writes ? claims->all_writers : claims->all_readers) > 0);
    claims->all_readers -= writes ? 0 : 1;
    claims->all_writers -= writes ? 1 : 0;
}

bool claims_block_all(const struct claims *claims, bool writes)
{
    return writes ? !claims_empty(claims) : claims->written > 0 || claims->all_writers > 0;
}
