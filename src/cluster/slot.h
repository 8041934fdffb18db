/* Which shard a slot belongs to.
 *
 * Shards are numbered from 1 (group 0 is the meta group). Each owns one run of slots; runs follow one another in the
 * order of the shards and differ in size by at most one. The number of shards is chosen when the cluster is made and
 * never changes, so this needs no table. Keys to slots: base/key_slot.h. */
#pragma once

#include "base/key_slot.h"

enum { SLOT_MAXIMUM_SHARDS = 1024 };

struct slot_range {
    uint16_t first, last; /* both belong to it */
};

/* 1 … shard_count; slot < KEY_SLOTS, 0 < shard_count <= SLOT_MAXIMUM_SHARDS. */
static inline uint32_t slot_shard(uint16_t slot, uint32_t shard_count)
{
    return (((uint32_t)slot + 1) * shard_count - 1) / KEY_SLOTS + 1;
}

/* The slots of a shard, 1 … shard_count. */
struct slot_range slot_range(uint32_t shard, uint32_t shard_count);
