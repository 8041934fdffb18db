/* Barriers and latches of a shard, where owners wait for each other: who is in, how many are missing. Pure; a part of
 * the machine, beside keys and locks and never touched by commands about these.
 *
 *   barrier   empty ──first one enters──▶ COUNT is known ──COUNT are in: all of them pass──▶ empty
 *                                           └─the last one leaves, or its wait ends───────▶ empty
 *   latch     none ──SET n──▶ closed ──n downs, or SET 0: all who wait pass──▶ open ──SET n──▶ closed
 *                                                                               └─forgotten──▶ none
 *
 * Invariants
 * 1. Of a barrier all pass who are in, at one moment, when they are COUNT; else nobody does.
 * 2. A latch opens with its n-th down, and nobody waits at an open one.
 * 3. An owner is in a barrier once: whoever asks again keeps the place, and its earlier request is told so.
 * 4. A wait ends once: passed, at its deadline, or since its client is gone; who passed is known for MEET_PASSED_MS, so
 *    that nobody who missed the news enters again (meets_ask).
 * 5. All of it is bounded, see below. */
#pragma once

#include "base/buffer.h"
#include "machine/due_heap.h"
#include "machine/keys/table.h"
#include "machine/lock/locks.h"
#include "machine/snapshot_walk.h"

/* What users can grow, and how far. Beyond, they are refused in words. */
enum {
    MEET_NAME_BYTES = 512,
    MEET_OWNER_BYTES = 256,
    MEET_MEMBERS = 4096,        /* that are in a barrier, or wait at a latch, … */
    MEETS_MEMBERS = 128 << 10,  /* … and in all of a shard */
    MEETS_PASSED = 128 << 10,   /* of a shard, that are known to have passed: the last ones */
    MEETS_BUSY = 64 << 10,      /* barriers that somebody is in, and closed latches, of a shard */
    MEETS_OPEN = 64 << 10,      /* latches that are known to be open: those opened last */
    MEET_PASSED_MS = 60 * 1000, /* what passed is known so long */
    LATCH_COUNT = 1 << 30,
};
#define LATCH_OPEN_MS (INT64_C(24) * 60 * 60 * 1000) /* that a latch is open is known so long */

enum meet_kind { MEET_BARRIER, MEET_LATCH, MEET_KINDS };

enum meet_outcome {
    MEET_PASSED, /* or it is open */
    MEET_NOT_YET,
    MEET_QUEUED,
    MEET_OTHER_COUNT, /* those who are in gave another one */
    MEET_NO_LATCH,
    MEET_MANY_MEMBERS,
    MEET_MANY_MEMBERS_IN_ALL,
    MEET_MANY,
};

struct meet_request {
    struct slice name, owner;
    uint32_t count; /* of a barrier */
    int64_t wait_ms;
    struct lock_origin origin;
};

struct meet_node;

struct meets {
    struct table table;    /* of struct meet */
    struct table index;    /* of struct member */
    struct due_heap waits; /* members, by the end of their waits */
    struct due_heap gone;  /* members that have passed, by when that is forgotten */
    struct due_heap open;  /* latches, by the same */
    struct meet_node **nodes;
    size_t node_count, node_capacity;
    uint64_t busy;
    uint64_t memory_bytes;
    uint64_t last_order; /* of all that ever entered, passed or were opened */
    /* No part of the state. */
    struct locks *news; /* borrowed: notices go there, and whether they are wanted */
    uint64_t last_number;
    uint64_t passed;           /* since the process started */
    struct snapshot_walk walk; /* kind: meets_snapshot */
};

void meets_init(struct meets *meets, uint64_t seed, struct locks *news);
void meets_deinit(struct meets *meets);

/* ---- changes; each ends some waits that are due, first ---- */

/* With MEET_OTHER_COUNT, ret_count is theirs. */
enum meet_outcome meets_enter(struct meets *meets, const struct meet_request *request, const struct lock_now *now,
                              uint32_t *ret_count);
/* Closes a latch that is not closed, or with 0 opens and forgets it. MEET_NOT_YET: nothing changed. */
enum meet_outcome meets_latch_set(struct meets *meets, struct slice name, uint32_t count, const struct lock_now *now);
/* What is left; or MEET_NO_LATCH. */
enum meet_outcome meets_latch_down(struct meets *meets, struct slice name, const struct lock_now *now,
                                   uint32_t *ret_left);
/* The owner is the request's own. */
enum meet_outcome meets_latch_wait(struct meets *meets, const struct meet_request *request, const struct lock_now *now);
/* The client of this request is gone, or waits no longer. True: it has passed. */
bool meets_take_back(struct meets *meets, enum meet_kind kind, struct slice name, struct slice owner,
                     const struct lock_origin *origin, const struct lock_now *now);
/* The same for all waits of a node that are of an earlier start than this; returns how many those were. */
size_t meets_reap(struct meets *meets, uint64_t node, uint64_t start);
/* Ends and forgets what is due, at most `limit`; returns how many. */
size_t meets_expire(struct meets *meets, const struct lock_now *now, size_t limit);

/* ---- looking ---- */

/* What became of a request that waited: MEET_PASSED, MEET_QUEUED, or MEET_NOT_YET when nothing is known of it. Who
 * found a latch open is not known; it is told that it is open. */
enum meet_outcome meets_ask(const struct meets *meets, enum meet_kind kind, struct slice name, struct slice owner,
                            const struct lock_origin *origin, int64_t time_ms);
/* As locks_waiting_node. */
bool meets_waiting_node(const struct meets *meets, size_t place, uint64_t *ret_node, uint64_t *ret_oldest_start);
/* When something is due next; INT64_MAX: never. */
int64_t meets_next_due(const struct meets *meets);
static inline uint64_t meets_waiting(const struct meets *meets) { return meets->waits.count; }
/* What is wrong with the state, by the invariants; NULL. Walks everything: for tests and the simulator. */
const char *meets_problem(const struct meets *meets);
