/* Replies of CLUSTER, in the shapes of Redis 7.0 (https://redis.io/commands/cluster-slots/ and its neighbours).
 *
 * What Redis calls a master is here the node that leads a shard; a replica is another voter of it. A node may be both,
 * for different shards. Every slot always has a node in SLOTS and SHARDS, as any node serves any client: when a shard's
 * leader is not known, the one it should have stands in its place, or another voter that is up.
 *
 * A node's id for clients is that of the cluster and its number: 32 and 8 hexadecimal digits. */
#pragma once

#include "cluster/members.h"
#include "wire/resp_writer.h"

enum { CLUSTER_NODE_ID_DIGITS = ID128_DIGITS + 8 };

/* What a node knows. All borrowed. */
struct cluster_view {
    const struct members *members; /* bootstrapped */
    uint64_t self;                 /* this node's id */
    const uint64_t *leaders;       /* by shard − 1: who leads it; 0: not known */
    const bool *up;                /* by place in members->nodes: it can be reached (this node itself: always) */
    uint64_t messages_sent, messages_received;
};

void cluster_reply_slots(const struct cluster_view *view, struct resp_writer *reply);
void cluster_reply_shards(const struct cluster_view *view, struct resp_writer *reply);
void cluster_reply_nodes(const struct cluster_view *view, struct resp_writer *reply);
void cluster_reply_info(const struct cluster_view *view, struct resp_writer *reply);
void cluster_reply_myid(const struct cluster_view *view, struct resp_writer *reply);
