/* The judge of transactions: is there one order of all transactions and operations over some keys, each at one moment
 * between its start and its end, that explains every reply (strict serializability: Papadimitriou 1979; Herlihy and
 * Wing 1990)?
 *
 * Not a search but a proof, as in Adya's thesis (1999) and Elle (Kingsbury and Alvaro, 2020): who wrote what each read
 * saw, and what overwrote it, follows from the values, which the clients made unique; from lists made by appends even
 * the order of all writes follows. These are edges of a graph, real time is edges too, and:
 *  1. a circle has no order: the history is bad, and the circle says why;
 *  2. without a circle, an order of the graph is replayed, reply by reply. Where it does not fit (a blind write stood
 * in the wrong place), the edge that was missing is added: the one that must hold, else one of two that may;
 *  3. "good" is said only after a replay without fault, "bad" only for what no order explains; what is left over is
 *     undecided: equal values written twice, numbers made by increments of unknown outcome, and the like.
 *
 * A transaction of unknown outcome is left out unless somebody saw what it wrote; then it took effect, all of it. */
#pragma once

#include "check/search.h"

enum serial_kind {
    SERIAL_NONE,
    SERIAL_OWN_WRITE,     /* it did not see what it wrote itself, or saw two things */
    SERIAL_NEVER_WRITTEN, /* it saw what nobody wrote */
    SERIAL_ABORTED,       /* it saw what only `other`, which failed, wrote */
    SERIAL_INTERMEDIATE,  /* it saw what `other` wrote and then overwrote itself */
    SERIAL_TWICE,         /* it saw an append twice */
    SERIAL_LISTS_DIFFER,  /* it saw appends in another order than `other` */
    SERIAL_LOST_UPDATE,   /* the rest are circles: two saw the same and both overwrote it */
    SERIAL_CIRCULAR,      /* each saw, or overwrote, what another wrote */
    SERIAL_FRACTURED,     /* one saw a part of another, and missed a part */
    SERIAL_WRITE_SKEW,    /* each overwrote what another had seen */
    SERIAL_LONG_FORK,     /* two saw two writes in different orders */
    SERIAL_STALE,         /* one did not see what was overwritten before it began */
    SERIAL_REAL_TIME,     /* another circle with real time in it */
    SERIAL_NO_ORDER,
    SERIAL_KINDS,
};

enum serial_reason {
    SERIAL_OVERWROTE,    /* from wrote what to overwrote */
    SERIAL_WAS_SEEN,     /* from wrote what to saw */
    SERIAL_SAW_BEFORE,   /* from saw what to overwrote */
    SERIAL_ENDED_BEFORE, /* from ended before to began */
};

struct serial_edge {
    uint32_t from; /* the first operations of both, in the history */
    uint32_t to;
    uint32_t object; /* of the objects judged; any for SERIAL_ENDED_BEFORE */
    enum serial_reason reason;
};

struct serial_finding {
    enum serial_kind kind;
    uint32_t operation;        /* unless it is a circle: numbers in the history */
    uint32_t other;            /* or TEXTS_NONE */
    struct serial_edge *edges; /* of a circle, in order */
    uint32_t edge_count;
};

/* A string key or hash field, borrowed. */
struct serial_object {
    const uint32_t *operations; /* in the history's order, those that failed behind the others */
    uint32_t count;
    uint32_t failed;
};

const char *serial_name(enum serial_kind kind);

/* Judges what was done to the objects; every transaction has all its operations in them. `scratch` has a place for each
 * operation of the history, all TEXTS_NONE before and after. The finding is for SEARCH_NOT_LINEARIZABLE. */
enum search_result serial_run(const struct history *history, const struct serial_object *objects, uint32_t count,
                              size_t memory_bytes, uint32_t *scratch, struct serial_finding *ret_finding);
void serial_finding_deinit(struct serial_finding *finding);
