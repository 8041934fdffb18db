/* The inside of struct cluster; for cluster*.c and lane*.c only. */
#pragma once

#include "cluster/cluster.h"

/* The way to one shard. */
struct lane {
    struct cluster *cluster;
    uint32_t shard;      /* 0: the meta group */
    struct shard *local; /* NULL: this node does not vote in it */
    uint64_t leader, term;
    bool leading; /* this node leads, and takes requests */
};

struct cluster {
    struct env *env;
    struct cluster_options options;
    struct cluster_events events;
    void *owner;
    char *directory, *worker_directory;
    struct store *store;
    struct members *members;
    uint32_t shard_count;
    struct lane *lanes; /* shard_count + 1 */
    uint64_t leaders[SLOT_MAXIMUM_SHARDS];
    bool up[PLACEMENT_MAXIMUM_NODES];
    int64_t told_refused_ns; /* when the log was told of the last refused write; 0: never */
    bool failed;
};

/* The node must stop. */
void cluster_fail(struct cluster *cluster, enum status status, const char *what);

/* ---- lane.c ---- */
extern const struct shard_sink lane_sink; /* its owner is the lane */
static inline struct lane *lane_of(const struct cluster *cluster, uint32_t shard) { return &cluster->lanes[shard]; }
