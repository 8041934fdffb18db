/* Looks for owners that wait for each other (lock_knot.h): a worker whose clients wait for locks for a second or longer
 * asks all shards who waits for whom, once a second. Of a circle that was seen in two looks, one behind the other, the
 * youngest wait is to end; only the worker whose client's wait that is ends it, so nobody has to be told, and no state
 * of the shards is about it.
 *
 * Nobody looks while nobody waits. The worker with a victim may be gone, or slow: then the wait ends as that worker's
 * waits do. A shard that does not answer seems to have no locks, and what is not seen is no circle. */
#pragma once

#include <stdbool.h>

struct lock_look;
struct server;

enum {
    LOCK_LOOK_AGE_MS = 1000,  /* a wait is worth a look */
    LOCK_LOOK_MS = 1000,      /* between two looks, at least, … */
    LOCK_LOOK_SOON_MS = 250,  /* … but once when there may be a circle */
    LOCK_LOOK_BYTES = 1 << 20 /* of answers in a second: who is told more looks less often */
};

/* Ten times a second; `waits`: a client of this worker waits for LOCK_LOOK_AGE_MS or longer. */
void lock_look_after(struct server *server, bool waits);
/* Takes NULL. */
void lock_look_destroy(struct lock_look *look);
