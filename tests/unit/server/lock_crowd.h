/* A crowd of owners at locks of several shards: a plain model, and what lock_knots() finds in it. */
#pragma once

#include "server/lock_knot.h"

enum { CROWD_OWNERS = 9, CROWD_LOCKS = 8, CROWD_SHARDS = 3, CROWD_QUEUE = 2 * CROWD_OWNERS };

struct crowd_claim {
    int owner;
    bool waits;
    bool part; /* of a LOCK.MACQUIRE that was not granted; all of its parts have its number, and no others have */
    enum lock_mode mode;
    uint32_t permits;
    uint64_t order, number;
};

/* Lock i is in shard 1 + i % CROWD_SHARDS. */
struct crowd {
    struct crowd_claim claims[CROWD_LOCKS][CROWD_QUEUE]; /* those that hold, then those that wait */
    int counts[CROWD_LOCKS];
    uint32_t limits[CROWD_LOCKS]; /* of semaphores; 0: a lock */
    uint64_t clock;
};

struct told {
    uint64_t numbers[CROWD_OWNERS * CROWD_LOCKS]; /* of victims */
    size_t count;
    char text[1024]; /* of the last one */
};

/* Asks as another request, whose number is 64 × the clock then. Nothing, when the owner has or waits for the lock. */
void crowd_ask(struct crowd *crowd, int owner, int lock, enum lock_mode mode, uint32_t permits);
/* For a part of a request for several: it waits, or is reserved. */
void crowd_ask_part(struct crowd *crowd, int owner, int lock, uint64_t number);
/* Its claim ends, and who fits then is granted. */
void crowd_end(struct crowd *crowd, int lock, int owner);
/* The same, but nobody is granted. */
void crowd_remove(struct crowd *crowd, int lock, int at);
/* The place of its claim, or -1. */
int crowd_find(const struct crowd *crowd, int lock, int owner);

/* Whom the model calls victims, by number. */
struct told crowd_victims(const struct crowd *crowd);
/* Whom lock_knots() does, which sees the shards as they were before, and as they are now; by number. */
struct told crowd_look(const struct crowd *before, const struct crowd *now);
/* An event of lock_knots(), whose owner is a struct told. */
void crowd_note_victim(void *owner, const struct lock_origin *waiter, const char *text);
