/* Ids of transactions.
 *
 * One that Cohort makes says where its home is, and which position of home's log its maker knew: of ids whose position
 * is before home's watermark none is opened any more, so home need not remember them. As text:
 *
 *   ~ home . position . node . start . sequence       lower-case hexadecimal, without leading zeros
 *
 * (node, start, sequence) never come twice. The lowest bit of the sequence is set when it is of a command or a MULTI:
 * the node that runs such a one relies on nobody else deciding COMMIT, so no client may finish it. An id that a client
 * chooses is any other text; its home is the shard of its hash slot. */
#pragma once

#include "base/slice.h"

enum { TXN_ID_BYTES = 128 };

struct txn_id {
    bool made;     /* by Cohort; else the rest is 0 */
    bool runs;     /* of a command or a MULTI */
    uint32_t home; /* shard */
    uint64_t position, node, start;
    uint64_t sequence; /* less than 2^63 */
};

/* The process that runs a transaction for its client: a start of a node (cluster/lineage.h). Nothing that is replicated
 * depends on whether it lives. */
struct txn_runner {
    uint64_t node, start; /* 0: not known */
};

/* Writes the text; returns its size. */
size_t txn_id_make(char at[static TXN_ID_BYTES], const struct txn_id *id);
/* False on what can be no id: empty, too long, or one that begins as ours and is not. */
bool txn_id_parse(struct slice text, struct txn_id *ret_id);
