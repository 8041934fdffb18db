/* Reads that need not be strong, answered by this node's replica of a shard as soon as that is known to be new enough.
 * For the files of the façade only.
 *
 *   arrived ──the replica is within the bound──▶ read here
 *      └─▶ waits ──the replica comes within the bound──▶ read here
 *             └──that takes LEVEL_PATIENCE_MS, or a transaction holds a key──▶ asked of the leader, a strong read
 *
 * Two bounds (struct cluster_bound):
 *
 * *An index.* The replica has applied all entries up to it. Entries are the same at all replicas, so what was seen
 * wherever the index was told is in the state here, or something that came later.
 *
 * *An age.* How old is a replica's state? Not as old as its last message from a leader: that may have been under way
 * for long, and its sender may have led no longer when it sent it. So this node asks: at its own time q it sends the
 * leader a strong read, whose round of a majority begins when it has arrived, so not before q; the answer tells an
 * index i. Whatever was acknowledged to anybody before q is in the entries up to i: it was committed before the round
 * began. As soon as the replica has applied i, its state is *of q* at least, and its age is at most now − q, both on
 * this node's own clock. However long question and answer travel, whichever clocks others have: that makes the age that
 * is reckoned larger than the true one, never smaller. What remains to be trusted is that this clock does not count
 * less time between q and now than passes; where it runs slow by one part in a thousand, 250 ms may be 250.25. (Counted
 * from the answer's arrival, the age would leave out how long the answer was under way: a mutation.) A read that
 * arrived before q is answered by it whatever its bound: that is what a strong read would have seen.
 *
 * A committed transaction is acknowledged before all its shards have logged its outcome (machine/txn/README.md). But
 * its PREPARE was committed in each of them before, so a replica that is new enough has it, and its locks: a read of a
 * key that is held there goes to the leader, where it waits for the outcome as every strong read does.
 *
 * Invariants
 * 1. One question of a lane is under way at a time. It is asked when a read needs it, and again, while reads come, as
 *    soon as half of the bound that was asked for last has passed: then nobody waits for it.
 * 2. What one requester asks is answered in its order, and never shows less than what it was answered before: a read
 *    waits while an earlier one of the same requester does, and after a strong one its index is at least what that saw.
 * 3. Bounded: LEVEL_WAITING_BYTES of reads wait in a lane (then FULL), until their time is over (then STALE). */
#pragma once

#include "cluster/cluster_internal.h"

enum {
    LEVEL_WAITING_BYTES = 16 << 20,
    LEVEL_PATIENCE_MS = 200,
};

struct level_reads;

/* Each turn, behind the shards': what can be answered now is. */
void level_reads_turn(struct cluster *cluster);
/* Ten times a second: what has waited for long goes to the leader, and what waits since before this time fails. */
void level_reads_look_after(struct cluster *cluster, int64_t before_ns);
/* Takes NULL. */
void level_reads_destroy(struct level_reads *reads);
