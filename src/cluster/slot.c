#include "cluster/slot.h"

#include "base/assert.h"

/* Shard s (from 1) of S begins at floor((s − 1) × 16384 / S). */
static uint32_t first_slot(uint32_t shard, uint32_t shard_count) { return (shard - 1) * KEY_SLOTS / shard_count; }

struct slot_range slot_range(uint32_t shard, uint32_t shard_count)
{
    ASSERT(shard_count <= SLOT_MAXIMUM_SHARDS && shard >= 1 && shard <= shard_count);
    return (struct slot_range){(uint16_t)first_slot(shard, shard_count),
                               (uint16_t)(first_slot(shard + 1, shard_count) - 1)};
}
