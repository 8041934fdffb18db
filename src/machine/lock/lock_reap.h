/* Whose request a claim is, from where somebody waits, and what ends when that client or node is gone. For the files of
 * this folder alone.
 *
 * Invariants
 * 1. A claim that waits, and whose origin has a node, is in the list of that node; a node that has none is forgotten.
 * 2. What ends together ends in the order of asking: of what follows, tokens are given in that order, alike on every
 *    replica. */
#pragma once

#include "machine/lock/lock.h"

/* Whose clients wait: to find these waits when the node is gone. */
struct lock_node {
    uint64_t node;
    struct list claims; /* that wait, in any order */
    size_t count;
    uint64_t oldest_start; /* of these claims, or older; no part of the state */
};
struct lock_node *lock_node_find(const struct locks *locks, uint64_t node);
void lock_node_enter(struct locks *locks, struct claim *claim);
void lock_node_leave(struct locks *locks, struct claim *claim);

bool lock_same_request(const struct lock_origin *a, const struct lock_origin *b);
/* It is of this request, whoever else was told of the grant. */
bool claim_is_of(const struct claim *claim, const struct lock_origin *origin);
static inline bool claim_told_others(const struct claim *claim)
{
    return (claim->origin.number & LOCK_TOLD_OTHERS) != 0;
}
