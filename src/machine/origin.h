/* Which forwarded batches were executed, by the node that they come from: what makes a batch that arrives twice, or by
 * two ways, take effect once.
 *
 * For each node a window: its newest start, the sequence below which everything is settled (the node has its answers
 * and sends none of them again), and which sequences from there on were executed.
 *
 *      settled_below                       settled_below + MACHINE_ORIGIN_WINDOW
 *   ────────┤ 1 1 0 1 1 1 1 0 1 0 0 0 …   ├────────
 *   refused │ executed: refused, others: taken │ never asked (machine_origin_valid)
 *
 * Invariants
 * 1. Of one (node, start, sequence) at most one batch is taken; of an older start than one seen, none.
 * 2. settled_below never goes back within a start.
 * 3. Bounded: MACHINE_ORIGIN_NODES windows. When they are all in use, the one forgotten is that of the node which has
 *    not forwarded anything for the longest (in positions, so alike on all replicas). A node's id is never used again,
 *    and a cluster has at most a quarter as many nodes: so the forgotten one has left the cluster, unless three
 *    quarters of MACHINE_ORIGIN_NODES others came and went while it waited for one answer; requests do not wait for
 *    minutes.
 *
 * Its records in snapshots, one for each window: 'O' u8 · version u8 · node u64 · start u64 · settled_below u64 · used
 * u64 (the position of its last batch) · bits from settled_below on, the lowest first, up to the last byte that is not
 * zero. Version 2, when some came in parts: before the bits their size, u16; behind them in the same way the bits of
 * those that did. */
#pragma once

#include "base/buffer.h"
#include "machine/machine.h"

enum { ORIGIN_RECORD = 'O' };

struct origin_window {
    uint64_t node, start, settled_below;
    uint64_t used;                                 /* position of its last batch */
    uint64_t executed[MACHINE_ORIGIN_WINDOW / 64]; /* of sequence s the bit s % MACHINE_ORIGIN_WINDOW */
    uint64_t parts[MACHINE_ORIGIN_WINDOW / 64];    /* … and in parts */
};

struct origins {
    struct origin_window *windows; /* in any order */
    size_t count, capacity;
};

void origins_deinit(struct origins *origins);

/* False: the batch was executed before, or comes too late; else it is noted as executed. One that comes in parts is
 * taken as often as it comes in parts. */
bool origins_take(struct origins *origins, const struct machine_origin *origin, bool part, uint64_t position);

/* 1: executed; 2: in parts, maybe not all of it; 0: not; -1: settled, or of an older start than the one known. */
int origins_outcome(const struct origins *origins, uint64_t node, uint64_t start, uint64_t sequence);

/* Appends all records, each behind its size as a varint. */
void origins_emit(const struct origins *origins, struct buffer *out);
MUST_USE enum status origins_load(struct origins *origins, struct slice record);

/* The same for the same windows in whatever order. */
uint64_t origins_digest(const struct origins *origins);
