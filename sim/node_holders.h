/* Holders: clients that contend for one lock of the first shard and use it, and the resources that they show their
 * tokens to. For node_*.c only.
 *
 * A holder believes to hold the lock from the moment it is told until its time to live, from before it asked, is over.
 * It looks at its clock, and only then uses the lock; between the two it may be stopped for longer than its time to
 * live, and knows nothing of it. It does one of these, and after a stop all:
 *  - FENCE.CHECK (in the history: uses of "lock");
 *  - LOCK.GUARD with a read (uses of "lock@guard");
 *  - a read, and behind it a write, of a resource that is no part of the cluster and refuses tokens older than the
 *    newest that it has seen (uses of "lock@resource").
 * Who holds nothing takes away, now and then and as an administrator, what another one holds (LOCK.RELEASE … FORCE):
 * from the moment this is asked nobody counts on that one's belief, and it hears of it when it is refused.
 *
 * Always true
 * 1. What a holder writes to the resource follows what it has read: nobody else has written in between.
 * 2. check/holds.h of all holds and uses: no two believe at once, tokens grow, no old one passes, no holder is
 *    refused.
 * 3. A token whose lock was taken away by force passes nowhere in the cluster that is asked later. */
#pragma once

#include "node_world.h"

enum { NODE_HOLDERS = 4 };

/* NULL when the profile has none. */
struct node_holders *node_holders_create(struct node_world *world);
void node_holders_destroy(struct node_holders *all);
/* Nobody asks any more: what was held goes to the history. */
void node_holders_finish(struct node_holders *all);
