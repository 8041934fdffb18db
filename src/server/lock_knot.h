/* Owners that wait for each other at locks, found in two looks at all shards. Pure.
 *
 * What counts is what both looks saw: who waits, and holds, by the same claim in each (lock_queue_claim.order: one that
 * was ended and made anew has another). The first look is over before the second begins, so all of that was there at
 * one moment between them, though the shards were asked one after the other. What else was there could only have kept
 * more owners waiting.
 *
 * Of these owners those go, one after the other, who need not wait for ever: who waits for nothing, or would be granted
 * all that they wait for if those who went had released everything (Holt, Computing Surveys 1972: reduction of a graph
 * with countable resources; a semaphore is one, an exclusive lock has one unit). Who is left waits for somebody who is
 * left.
 *
 * A part that a LOCK.MACQUIRE has reserved holds a lock only as long as that request waits for a part behind it, in the
 * order in which all of them wait (lock_many.h). Any other goes whatever the rest of the crowd does: it is given back,
 * if not at once then when its node is no longer cut off, or its request is granted.
 *
 * A knot is a set of these within which everybody reaches everybody, and from which nobody waits for somebody outside:
 * with exclusive and shared locks alone, circles; with semaphores nothing less will do, since whoever waits for one of
 * several holders is not lost while another can go on. In each knot the youngest wait is to end. Whoever is only behind
 * a knot is left alone. In one order there is no circle of requests: where nobody of a knot has anything that was
 * granted, what an owner has reserved is another request's than that by which it waits, and that one's end opens it. So
 * such a knot is none.
 *
 * Of two waits the younger is that which asked later by the wall clocks of the nodes where they were asked
 * (waiter_set_number), but in one queue that which stands behind: a choice, which every node makes alike. Were it by
 * clocks alone, a wait could be chosen whose owner has nothing, and is waited for only since it stands before others in
 * a queue; ending it would change nothing. */
#pragma once

#include "machine/lock/lock_waits.h"

enum {
    LOCK_KNOT_CLAIMS = 64 << 10, /* more are not looked at */
    LOCK_KNOT_STEPS = 2 << 20,   /* comparisons of two claims; who needs more finds nothing */
    LOCK_KNOT_LINKS = 8,         /* that are told */
    LOCK_KNOT_NAME_BYTES = 64,   /* of each name */
};

/* What a shard answered to COHORT.LOCK.WAITS; empty when it did not. */
struct lock_sight {
    uint32_t shard;
    struct slice before, now;
};

struct lock_knot_events {
    /* This wait is the youngest of its knot; `text` is its error, valid during the call. */
    void (*victim)(void *owner, const struct lock_origin *waiter, const char *text);
};

/* Returns how many knots there are. */
size_t lock_knots(const struct lock_sight *sights, size_t count, const struct lock_knot_events *events, void *owner);
