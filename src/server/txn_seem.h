/* What looks at all keys (DBSIZE, KEYS, SCAN, RANDOMKEY) must be told of a transaction that runs at its client's node:
 * the shard that looks does not know what was made of its keys here (txn_values.h). It is told their shapes, by a
 * COHORT.TXN.SEEM before the look (machine/txn/whole.h). */
#pragma once

#include "server/txn_values.h"

/* What each shard knows by now of the keys that were read, in their order. */
struct txn_seem {
    uint32_t shard_count;
    struct buffer *told; /* by shard − 1: shapes, u8 */
};

void txn_seem_init(struct txn_seem *seem, uint32_t shard_count);
void txn_seem_deinit(struct txn_seem *seem);
/* The shards know what was read, and all of that is known already. */
void txn_seem_begin(struct txn_seem *seem, const struct txn_values *values);
/* A FLUSHALL stands here among their commands, too. */
void txn_seem_flushed(struct txn_seem *seem);
/* Encodes a SEEM of what has changed since the shard was told last; nothing when it is the same. */
void txn_seem_say(struct txn_seem *seem, const struct txn_values *values, uint32_t shard, struct buffer *out);

/* The same for a shard that knows nothing of it: a SEEM of all that was changed. */
void txn_seem_say_all(const struct txn_values *values, uint32_t shard, struct buffer *out);
