/* LOCK.MACQUIRE, as clients of this node ask for it: several locks in whichever shards, all or none.
 *
 * Keys have one order, by shard and then by name; the shard of the first one is *home*. Keys of one shard are a part.
 *
 *   TRIES ─reserve all parts, of all shards at once, without waiting─▶ all there: GRANTS
 *     └─one is not─▶ WAITS ─its parts behind that one are given back; the others reserved one by one, in the order,
 *                           each waiting its turn─▶ GRANTS
 *   GRANTS ─at home (from then on it is granted), then at the other shards─▶ answered
 *   nil, an error, the client is gone ─▶ GIVES_BACK: what shards may have is taken back, until they have heard
 *
 * All in one shard: one entry reserves and grants it. Over several: three rounds when nobody else wants them.
 *
 * Invariants
 * 1. Whoever waits has reserved only keys before the one that it waits for: requests never wait in a circle.
 * 2. Nothing is granted at another shard before home has granted; home's answer is the outcome. Should this node be
 * lost in between, the leaders of the other shards ask home (cluster/lock_settle.c).
 * 3. A number is used for one attempt. What home has refused is begun anew with another one, in the time that is left.
 * 4. Of a part one question is under way at a time. What a shard may have of a request that nobody waits for is taken
 *    back; what it takes later still, since it was on its way, ends as a lost node's does. */
#pragma once

#include "command/command.h"

struct connection;

enum {
    LOCK_MANY_POLL_MS = 2000,  /* so often a shard is asked for a part that waits there, if no news come, … */
    LOCK_MANY_OTHER_MS = 100,  /* … for one that another request of the same owner has, … */
    LOCK_MANY_LATE_MS = 400,   /* … and so long its end may be late */
    LOCK_MANY_AGAIN_MS = 200,  /* what failed is said again */
    LOCK_MANY_GRANT_MS = 5000, /* so long it is being granted, then its outcome is UNCERTAIN */
    LOCK_MANY_BACK_MS = 1000,  /* so long an answer waits until all is given back */
};

/* NULL, or why it is refused. */
const char *lock_many_problem(const struct command *command);
/* Nothing of the connection is pending. */
void lock_many_acquire(struct connection *connection, const struct command *command);
