/* Tells the log when shards have no leader that this node could reach, and when they have one again: what its clients
 * see as CLUSTERDOWN, said once for whoever looks after the node, by its first worker for all.
 *
 * One line at the beginning, one at the end; another when it concerns more shards. No beginning is told within
 * LEADERLESS_AGAIN_MS of the last, so shards that come and go fill no log. */
#pragma once

#include "cluster/slot.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LEADERLESS_AFTER_MS = 2000, /* longer than an election takes as a rule */
    LEADERLESS_AGAIN_MS = 10000,
};

struct leaderless {
    bool lost[SLOT_MAXIMUM_SHARDS]; /* it has none, at the last look or as its worker said */
    /* at the first worker, for the whole node */
    int64_t since_ns[SLOT_MAXIMUM_SHARDS]; /* 0: it has a leader */
    uint32_t told;                         /* how many had none, as was told last; 0: all have one */
    int64_t told_ns, began_ns;             /* 0: never */
};

struct cluster;

/* Some times a second. */
void leaderless_look(struct cluster *cluster);
