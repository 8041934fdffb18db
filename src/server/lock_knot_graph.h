/* Locks, claims and owners of two looks, and who of them is left; for lock_knot.c. */
#pragma once

#include "server/lock_knot.h"

#define KNOT_NOBODY UINT32_MAX

struct knot_claim {
    uint32_t lock, owner;
    uint32_t next; /* of the same owner, or KNOT_NOBODY */
    bool waits;
    bool met;     /* it waits, and would be granted */
    bool part;    /* of a LOCK.MACQUIRE, and not granted: when it does not wait, it is reserved, … */
    bool passing; /* … and given back, or granted, whatever the others do: nobody waits for it */
    enum lock_mode mode;
    uint32_t permits;
    uint64_t order;
    struct lock_origin origin;
};

struct knot_lock {
    uint32_t shard;
    struct slice key;
    uint32_t limit;
    uint32_t first, count; /* of its claims: those that hold, then those that wait, in their order */
    bool due;              /* to be looked at */
    uint32_t next_due;
};

struct knot_owner {
    struct slice name;
    uint32_t claims; /* the first of them */
    uint32_t unmet;  /* of its waits; at 0 it goes */
    /* of the search for knots */
    uint32_t index, low, at_claim, at_blocker; /* index 0: not seen */
    bool finished, leaves;
    bool in_knot;                  /* of the knot that is being looked at */
    uint32_t by_claim, by_blocker; /* how a circle came here; KNOT_NOBODY: not */
};

struct knot_graph {
    struct knot_claim *claims;
    struct knot_lock *locks;
    struct knot_owner *owners;
    uint32_t claim_count, lock_count, owner_count;
    uint32_t claim_capacity, lock_capacity, owner_capacity;
    uint32_t *names; /* owners by hash */
    uint32_t name_capacity;
    uint32_t due; /* the first lock that is to be looked at */
    uint32_t steps;
    bool gave_up;
};

/* What both looks saw; slices point into these. */
void knot_graph_init(struct knot_graph *graph, const struct lock_sight *sights, size_t count);
void knot_graph_deinit(struct knot_graph *graph);
/* Lets those go who need not wait for ever. */
void knot_graph_reduce(struct knot_graph *graph);
/* One comparison. False: it has taken too many. */
bool knot_graph_step(struct knot_graph *graph);

static inline bool knot_owner_left(const struct knot_graph *graph, uint32_t owner)
{
    return graph->owners[owner].unmet > 0;
}

/* One of them holds, the other waits, or both do: they cannot hold together by their modes. Of a semaphore each counts.
 */
static inline bool knot_modes_exclude(enum lock_mode a, enum lock_mode b)
{
    return a != LOCK_SHARED || b != LOCK_SHARED;
}
