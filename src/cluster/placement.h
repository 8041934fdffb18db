/* Which nodes vote in which shard, and which of them should lead it.
 *
 * What placement_balance gives is
 * 1. whole: each shard has min(replicas, nodes) voters, all different, all of them nodes, and one of them leads;
 * 2. even: over the nodes, the numbers of shards voted in differ by at most one, and so do the numbers of shards led;
 * 3. calm: it starts from what is there. A voter moves only when its node is gone, when there are more of it than
 *    `replicas`, or from a node that has most to one that has fewest: adding a node to an even placement moves
 *    floor(seats / nodes) voters, all of them to the new node, and at most floor(shards / nodes) leaders. Moving a
 *    leader alone costs little (a transfer), and happens only where the numbers of shards led differ by more than one;
 * 4. the same on every machine for the same input.
 *
 * The result is an intention: each shard's own configuration says who votes in it, and is changed towards it step by
 * step. */
#pragma once

#include "cluster/slot.h"

enum { PLACEMENT_MAXIMUM_NODES = 64, PLACEMENT_MAXIMUM_REPLICAS = 7 };

struct placement_shard {
    uint64_t voters[PLACEMENT_MAXIMUM_REPLICAS]; /* ids, ascending */
    uint64_t leader;                             /* preferred: one of the voters; 0 when there are none */
    uint8_t voter_count;
};

struct placement {
    struct placement_shard shards[SLOT_MAXIMUM_SHARDS]; /* shard s is at s − 1 */
    uint32_t shard_count;
};

/* No voters anywhere. */
void placement_init(struct placement *placement, uint32_t shard_count);

/* Changes it to what the nodes (ids, ascending, not zero, at least one) and replicas ask for. */
void placement_balance(struct placement *placement, uint32_t replicas, const uint64_t *nodes, size_t node_count);

bool placement_votes(const struct placement_shard *shard, uint64_t node);

/* The nodes that vote in the meta group: the first of them (ids, ascending). Returns how many. */
size_t placement_meta_voters(const uint64_t *nodes, size_t node_count,
                             uint64_t ret_voters[static PLACEMENT_MAXIMUM_REPLICAS]);
